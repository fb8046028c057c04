"""Files with bytes changed, cut or added: read, or refused in one line, and never anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError
from napari_medreason.io import dicom_seg, rtstruct
from napari_medreason.io.base import ReadOptions
from napari_medreason.io.dicom_planes import planes_of
from napari_medreason.io.exports import Drawing, export_mask

Reader = Callable[[Path], object]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "add"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory, series_maker) -> dict[str, tuple[bytes, Reader]]:
    """By file name: a sound file, and what reads it."""
    folder = tmp_path_factory.mktemp("sound")
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1:3, 1:4] = 1
    volume = Volume(labels, np.diag([0.5, 0.75, 2, 1]), label_names={1: "liver"})
    io.write(folder / "a.seg.nrrd", volume)
    io.write(folder / "b.nii", volume)
    nib.save(nib.MGHImage(labels.T, np.eye(4)), folder / "c.mgh")
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "d.mha"), True)

    uid = generate_uid()

    def same_study(data, k):
        data.StudyInstanceUID = data.FrameOfReferenceUID = uid

    series_maker(folder / "study", np.zeros((3, 4, 5), np.int16), volume.affine, change=same_study)
    image = io.read(folder / "study")
    drawing = Drawing(labels, image, {1: "liver"}, folder / "study")
    export_mask(folder / "e.seg.dcm", drawing, "dicom-seg")
    export_mask(folder / "f.rtstruct.dcm", drawing, "rtstruct")
    readers: dict[str, Reader] = {
        **dict.fromkeys(("a.seg.nrrd", "b.nii", "c.mgh", "d.mha"), io.read),
        "e.seg.dcm": lambda path: dicom_seg.read(path, ReadOptions()),
        "f.rtstruct.dcm": lambda path: [
            roi.mask(image.shape_kji) for roi in rtstruct.read_rois(path, planes_of(image))
        ],
    }
    return {name: ((folder / name).read_bytes(), reader) for name, reader in readers.items()}


def changed(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    data = bytearray(content)
    for what, share, value in changes:
        # the beginning is where headers are
        at = int(share**3 * max(len(data) - 1, 0))
        if what == "cut":
            del data[at:]
        elif what == "add":
            data[at:at] = bytes([value])
        elif data:
            data[at] = value
    return bytes(data)


@pytest.mark.parametrize("name", ["a.seg.nrrd", "b.nii", "c.mgh", "d.mha", "e.seg.dcm", "f.rtstruct.dcm"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_damaged_files_are_read_or_refused(originals, tmp_path, name, changes):
    content, reader = originals[name]
    path = tmp_path / name
    path.write_bytes(changed(content, changes))
    words = ""
    try:
        reader(path)
    except MedReasonError as error:
        words = str(error)
    assert "\n" not in words
    assert str(tmp_path) not in words
