"""Real series: masks to every format and back, read by highdicom, SimpleITK, nibabel and pydicom."""

from __future__ import annotations

import zipfile

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.io.exports import Drawing, export_mask
from napari_medreason.io.mask_on_study import load_mask

pytestmark = [pytest.mark.data, pytest.mark.filterwarnings("ignore::UserWarning")]

SERIES = [
    "dicom2nifti/generic_anatomical_001",
    "dicom2nifti/philips_enhanced_anatomical_001",
    "dicom2nifti/siemens_multiframe_anatomical_001",
    "dicom2nifti/ge_fmri_001",
    "dcm_qa_ct/Philips_S21610_s201_tilt-18.5",
    "dcm_qa_ct/GE_variable_tilt_variable_spacing",
    "dcm_qa_decubitus/HFDR_2_t1_fl2d_sag",
    "dcm_qa_decubitus/HFS_3_t1_fl2d_sag",
]


def blob(shape: tuple[int, int, int]) -> np.ndarray:
    """Two labels with a hole, on some slices."""
    k, j, i = np.indices(shape)
    middle = np.array(shape) / 2
    distance = np.hypot((j - middle[1]) / shape[1], (i - middle[2] * 0.8) / shape[2])
    labels = np.where(distance < 0.3, 2, 0) - np.where(distance < 0.1, 2, 0)
    labels[k < shape[0] // 3] = 0
    labels[:, 2:4, 3:7] = 5
    return labels.astype(np.uint8)


@pytest.fixture(params=SERIES)
def drawing(request, real_data, tmp_path) -> Drawing:
    archive = real_data / "conformance" / f"{request.param}.zip"
    if not archive.is_file():
        pytest.skip(f"{request.param} is not among the test data")
    folder = tmp_path / "study"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    image = io.read(folder)
    labels = blob(image.shape_kji)
    return Drawing(labels, image, {2: "liver", 5: "left kidney"}, folder, 0)


def test_every_format_holds_what_was_drawn(drawing, tmp_path):
    for form, name in (
        ("nifti", "a.nii.gz"),
        ("nrrd", "a.seg.nrrd"),
        ("dicom-seg", "a.seg.dcm"),
        ("rtstruct", "a.rtstruct.dcm"),
    ):
        path = tmp_path / name
        receipt = export_mask(path, drawing, form)
        assert receipt.identical, receipt.words
        again = load_mask(path, drawing.image, drawing.place, frame=0).voxels
        np.testing.assert_array_equal(again > 0, drawing.labels > 0)

    corner = tuple(int(count) - 1 for count in drawing.image.shape_kji[::-1])
    expected = index_to_lps(corner, drawing.image.affine)
    found = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj).T, drawing.labels)
    np.testing.assert_allclose((found.affine @ [*corner, 1])[:3] * [-1, -1, 1], expected, atol=1e-3)
    other = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), drawing.labels)
    segmentation = highdicom.seg.segread(tmp_path / "a.seg.dcm")
    count = sum(int((drawing.labels == value).sum()) for value in (2, 5))
    assert int(segmentation.pixel_array.sum()) == count
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == ["liver", "left kidney"]


def test_one_segmentation_in_every_transfer_syntax_is_the_same(real_data):
    folder = real_data / "conformance"
    files = {path.name: path for path in folder.rglob("liver*.dcm")}
    if "liver.dcm" not in files:
        pytest.skip("the segmentations are not among the test data")
    for name in ("liver", "liver_nonbyte_aligned"):
        volumes = [
            io.read(files[f"{name}{syntax}.dcm"])
            for syntax in ("", "_expb", "_deflate", "_rle", "_j2k")
            if f"{name}{syntax}.dcm" in files
        ]
        assert len(volumes) >= 4
        for volume in volumes:
            assert int((volume.voxels > 0).sum()) == 107098
            np.testing.assert_array_equal(volume.voxels, volumes[0].voxels)
            np.testing.assert_allclose(volume.affine, volumes[0].affine, atol=1e-3)


def test_an_archive_is_as_good_as_its_folder(real_data, tmp_path):
    archive = real_data / "conformance" / "dicom2nifti" / "generic_anatomical_001.zip"
    image = io.read(archive)
    receipt = export_mask(tmp_path / "a.dcm", Drawing(blob(image.shape_kji), image, {}, archive), "dicom-seg")
    assert receipt.identical, receipt.words
