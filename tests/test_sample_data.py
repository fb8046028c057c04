"""The studies a new user opens first: readable, small, with a truth that fits, and made again bit for bit."""

import hashlib
import re
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from napari_medreason import io
from napari_medreason.core.anatomy import structures
from napari_medreason_sample_data import (
    brain_file,
    ct_folder,
    label_names,
    make_samples,
    real_slice_file,
    truth,
)

LIMIT_BYTES = 8_000_000


@cache
def slices() -> list[pydicom.Dataset]:
    """The slices of the CT from the feet upwards."""
    read = [pydicom.dcmread(path) for path in sorted(ct_folder().glob("*.dcm"))]
    return sorted(read, key=lambda data: float(data.ImagePositionPatient[2]))


@cache
def hounsfield() -> np.ndarray:
    """(k, j, i) float32 HU, straight from pydicom."""
    return np.stack(
        [d.pixel_array * np.float32(d.RescaleSlope) + float(d.RescaleIntercept) for d in slices()]
    )


def series_affine() -> np.ndarray:
    """(i, j, k) to LPS mm, from the tags alone (DICOM PS3.3 C.7.6.2.1.1)."""
    first, last = slices()[0], slices()[-1]
    row, column = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    start, end = (np.array(d.ImagePositionPatient, float) for d in (first, last))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2], affine[:3, 3] = (end - start) / (len(slices()) - 1), start
    return affine


@cache
def labels(study) -> np.ndarray:
    """(k, j, i) label map."""
    return np.asarray(nibabel.load(truth(study)).dataobj).transpose(2, 1, 0)


def mask(study, structure, side="") -> np.ndarray:
    values = [
        v for v, (name, where) in label_names(study).items() if name == structure and side in ("", where)
    ]
    found = np.isin(labels(study), values)
    assert found.any(), f"{structure} {side} is not in the {study} sample"
    return found


def centre_x(affine, found) -> float:
    """How far left of the origin the middle of a (k, j, i) mask lies, in mm."""
    k, j, i = np.nonzero(found)
    return float((affine @ [i.mean(), j.mean(), k.mean(), 1])[0])


def test_everything_together_is_small():
    folder = ct_folder().parent
    files = [path for path in folder.rglob("*") if path.suffix in {".dcm", ".gz", ".json", ".md"}]
    assert len(files) > 80
    assert sum(path.stat().st_size for path in files) < LIMIT_BYTES


def test_ct_is_one_series_with_evenly_spaced_slices():
    assert len({d.SeriesInstanceUID for d in slices()}) == 1
    assert len({d.SOPInstanceUID for d in slices()}) == len(slices()) > 60
    heights = [float(d.ImagePositionPatient[2]) for d in slices()]
    assert np.allclose(np.diff(heights), float(slices()[0].SliceThickness), atol=1e-3)
    assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in slices())


def test_ct_file_names_do_not_tell_the_order():
    paths = sorted(ct_folder().glob("*.dcm"))
    heights = [
        float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]) for path in paths
    ]
    assert heights != sorted(heights)
    assert heights != sorted(heights, reverse=True)


def test_ct_says_that_it_is_synthetic_and_holds_no_patient():
    for data in slices():
        assert str(data.PatientName) == "Synthetic^Phantom"
        assert data.PatientIdentityRemoved == "YES"
        assert data.PatientBirthDate == ""


def test_ct_has_every_attribute_a_viewer_or_archive_needs():
    needed = [
        "SOPClassUID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "Modality",
        "PatientID",
        "PatientSex",
        "StudyID",
        "SeriesNumber",
        "InstanceNumber",
        "ImageType",
        "KVP",
        "RescaleType",
        "WindowCenter",
        "WindowWidth",
    ]
    for data in slices():
        assert [name for name in needed if name not in data] == []
        assert data.RescaleIntercept == -1024
        assert data.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLSLossless


def test_ct_truth_has_the_geometry_of_the_series():
    image = nibabel.load(truth("ct"))
    assert image.shape == hounsfield().shape[::-1]
    ras_from_lps = np.diag([-1, -1, 1, 1])
    assert np.allclose(ras_from_lps @ image.affine, series_affine(), atol=1e-3)


def test_brain_truth_has_the_geometry_of_the_brain():
    brain, image = nibabel.load(brain_file()), nibabel.load(truth("mr"))
    assert brain.shape == image.shape
    assert np.array_equal(brain.affine, image.affine)
    assert brain.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("study", ["ct", "mr"])
def test_label_values_are_named_in_the_vocabulary(study):
    names = label_names(study)
    assert set(np.unique(labels(study))) - {0} <= set(names)
    for name, side in names.values():
        assert name in structures()
        assert side in ("", "left", "right")


@pytest.mark.parametrize(
    ("structure", "low", "high"),
    [
        ("lung", -1000, -650),
        ("liver", 80, 150),
        ("aorta", 120, 220),
        ("urinary_bladder", -20, 50),
        ("femur", 150, 1200),
    ],
)
def test_ct_numbers_under_the_truth_are_those_of_the_tissue(structure, low, high):
    assert low < np.median(hounsfield()[mask("ct", structure)]) < high


def test_ct_has_noise_but_less_than_the_contrast_of_the_organs():
    inside = mask("ct", "liver")
    noise = hounsfield()[inside].std()
    assert 5 < noise < 40
    lies_in = np.abs(np.median(hounsfield()[inside]) - np.median(hounsfield()[mask("ct", "gallbladder")]))
    assert lies_in > 1.5 * noise


@pytest.mark.parametrize("organ", ["kidney", "lung", "femur"])
def test_left_organs_lie_on_the_patients_left_in_our_reader(organ):
    volume = io.read(ct_folder())
    assert volume.shape_kji == hounsfield().shape
    assert np.allclose(volume.affine, series_affine(), atol=1e-3)
    for side, sign in (("left", 1), ("right", -1)):
        assert centre_x(volume.affine, mask("ct", organ, side)) * sign > 20


def test_brain_reads_with_the_left_on_the_left():
    volume = io.read(brain_file())
    assert volume.modality in ("MR", "")
    left, right = (centre_x(volume.affine, mask("mr", "thalamus", side)) for side in ("left", "right"))
    assert left > right + 10


def test_an_independent_reader_sees_the_same_voxels():
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(ct_folder())))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image), hounsfield())
    assert np.allclose(image.GetOrigin(), series_affine()[:3, 3], atol=1e-3)
    assert np.allclose(image.GetSpacing(), np.linalg.norm(series_affine()[:3, :3], axis=0), atol=1e-3)


def test_real_slice_comes_with_pydicom():
    data = pydicom.dcmread(real_slice_file())
    assert Path(pydicom.__file__).parent in real_slice_file().parents
    assert data.pixel_array.shape == (128, 128)


def test_sources_page_has_the_checksums_of_the_files():
    folder = ct_folder().parent
    written = dict(
        re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", (folder / "SOURCES.md").read_text("utf-8"))
    )
    assert written == dict(make_samples.checksums(folder))
    assert set(written) == {"ct", "ct_labels.nii.gz", "labels.json", "mr/brain_t1.nii.gz", "mr_labels.nii.gz"}


def test_samples_are_made_again_byte_for_byte(tmp_path):
    digests = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        ct = make_samples.make_ct(folder, pixels=40, z_range_mm=(0.0, 10.0))
        mr = make_samples.make_mr(folder, spacing_mm=8.0, shape=(24, 32, 24))
        make_samples.write_label_names(folder, ct=ct, mr=mr)
        digests.append(
            {
                path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )
    assert len(digests[0]) == 7
    assert digests[0] == digests[1]


def test_replacing_samples_leaves_only_the_new_ones(tmp_path, monkeypatch):
    def small(folder):
        ct = make_samples.make_ct(folder, pixels=40, z_range_mm=(0.0, 10.0))
        make_samples.write_label_names(folder, ct=ct)

    monkeypatch.setattr(make_samples, "make_all", small)
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "old.dcm").write_bytes(b"left over")
    make_samples.replace_samples(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "ct_labels.nii.gz", "labels.json"]
    assert len(list((tmp_path / "ct").iterdir())) == 3
    assert not (tmp_path / "ct" / "old.dcm").exists()
