"""Real files: against dcm2niix, nibabel, SimpleITK and their own headers; none gives more than one line."""

from __future__ import annotations

import json
import os
import re
import runpy
import zipfile
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.volume import Volume
from napari_medreason.errors import UnreadableImageError

pytestmark = pytest.mark.data

REPORT = runpy.run_path(str(Path(__file__).with_name("conformance_report.py")))
DATA = Path(os.environ.get("MEDREASON_TEST_DATA") or "missing")
REFERENCE = DATA / "conformance" / "REFERENCE.json"
CASES = sorted(json.loads(REFERENCE.read_text())) if REFERENCE.is_file() else ["no data"]

GUESSED = "dicom2nifti/siemens_fmri_001"
TILTED = {
    "dicom2nifti/failing_gantrytilting_001",
    "dcm_qa_ct/GE_variable_tilt_variable_spacing",
    "dcm_qa_ct/Philips_S21610_s201_tilt-18.5",
}
SCALED = {
    "dicom2nifti/generic_anatomical_002_non_isotropic",
    "dicom2nifti/philips_enhanced_anatomical_001",
    "dicom2nifti/philips_enhanced_anatomical_001_implicit",
    "dicom2nifti/philips_enhanced_dti_001",
    "dicom2nifti/philips_enhanced_fmri_001",
    "dcm_qa_enh/Philips",
    "dcm_qa_philips/Magdeburg_fmri",
}


@pytest.mark.parametrize("case", CASES)
def test_series_against_dcm2niix(real_data, case):
    rows = list(REPORT["compare"](real_data, case, REPORT["load_reference"](real_data)[case]))
    outcomes = {row.outcome for row in rows}
    if case == GUESSED:
        assert outcomes == {"guessed"}
    elif case == "dicom2nifti/generic_rgb_001":
        assert outcomes == {"refused"}
        assert "colour" in rows[0].detail
    elif case in TILTED:
        assert outcomes in ({"sheared", "regridded"}, {"sheared", "evened"})
    else:
        assert outcomes == ({"scaled"} if case in SCALED else {"same"}), rows


@pytest.mark.parametrize("case", sorted(set(CASES) - {"dicom2nifti/generic_rgb_001", "no data"}))
def test_every_image_lies_where_its_own_header_says(real_data, tmp_path, case):
    """Pixels are found in our volumes by value; their place is compared with Image Position (Patient)."""
    with zipfile.ZipFile(real_data / "conformance" / f"{case}.zip") as archive:
        archive.extractall(tmp_path)
    images = list(classic_images(tmp_path))
    if not images:
        pytest.skip("multi-frame files and mosaics; their frames are compared with dcm2niix")
    volumes = [io.read(tmp_path, series=found.uid) for found in io.list_series(tmp_path)]
    for image, position in images:
        assert any(nearest(volume, image, position) < allowed(volume) for volume in volumes)


def allowed(volume: Volume) -> float:
    """Distance in mm by which a slice may lie off: what the volume itself warns of, or rounding."""
    stated = [re.search(r"wrong by up to ([\d.]+) mm", warning) for warning in volume.warnings]
    return max([0.01, *(float(match[1]) + 0.05 for match in stated if match)])


def nearest(volume: Volume, image: np.ndarray, position: np.ndarray) -> float:
    """Distance in mm from `position` to the closest slice that shows `image`."""
    if volume.shape_kji[1:] != image.shape:
        return np.inf
    frames = volume.voxels.reshape(-1, *volume.shape_kji)
    slices = np.argwhere((frames == image).all(axis=(2, 3)))[:, 1]
    places = [index_to_lps((0, 0, k), volume.affine) for k in slices]
    return min((float(np.linalg.norm(place - position)) for place in places), default=np.inf)


def classic_images(folder: Path):
    """(real values, position) of every single-frame file, by plain arithmetic on pydicom's pixels."""
    for path in sorted(folder.rglob("*")):
        data = pydicom.dcmread(path) if path.is_file() else None
        if data is None or "PerFrameFunctionalGroupsSequence" in data or "MOSAIC" in data.ImageType:
            continue
        slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
        image = (data.pixel_array.astype(np.float64) * slope + intercept).astype(np.float32)
        yield image, np.array(data.ImagePositionPatient, float)


@pytest.mark.parametrize("kind", ["jpeg", "jpegls", "rle"])
def test_lossless_codecs_give_the_same_volume(real_data, kind):
    folder = real_data / "conformance" / "dicom2nifti"
    plain = io.read(folder / "generic_compressed_j2k_001.zip")
    packed = io.read(folder / f"generic_compressed_{kind}_001.zip")
    np.testing.assert_array_equal(packed.voxels, plain.voxels)
    np.testing.assert_allclose(packed.affine, plain.affine)


def test_one_ct_in_every_transfer_syntax(real_data):
    files = sorted((real_data / "conformance" / "cornerstone").glob("CTImage.dcm*"))
    plain = io.read(files[0]).voxels
    lossy, refused, same = {}, [], []
    for path in files:
        try:
            voxels = io.read(path).voxels
        except UnreadableImageError:
            refused.append(path.suffixes[-2])
            continue
        if np.array_equal(voxels, plain):
            same.append(path)
        else:
            inside = plain > -1024
            lossy[path.name] = float(np.abs(voxels - plain.astype(float))[inside].mean())
    assert len(same) == 10
    assert refused == [".55", ".53"]
    # JPEG 2000, JPEG-LS near-lossless, 8-bit JPEG and 12-bit JPEG: a few HU, none of them shifted.
    assert len(lossy) == 4
    assert max(lossy.values()) < 25


def test_agfa_and_siemens_hold_the_same_voxels(real_data):
    folder = real_data / "conformance" / "dcm_qa_agfa"
    np.testing.assert_array_equal(io.read(folder / "Agfa.zip").voxels, io.read(folder / "Siemens.zip").voxels)


def test_phantom_is_the_same_as_dicom_and_as_nifti(real_data):
    folder = real_data / "conformance" / "ibsi"
    dicom = io.read(folder / "digital_orientation.zip")
    nifti = io.read(folder / "digital_orientation_ref" / "orientation.nii.gz")
    # In this set the same voxels are stored with k to superior as NIfTI and to inferior as DICOM.
    np.testing.assert_array_equal(dicom.voxels[::-1], nifti.voxels)
    np.testing.assert_allclose(dicom.affine[:3, :3], np.diag([2, 2, 2]))
    np.testing.assert_allclose(nifti.affine[:3, :3], np.diag([2, 2, 2]))


def nifti_files() -> list[str]:
    places = [DATA / "conformance" / "nibabel", DATA / "conformance" / "niivue"]
    places += [DATA / "labelled" / name for name in ("ibsi_sts", "totalsegmentator_ref")]
    found = [path for place in places for path in sorted(place.glob("*.nii*"))[:12]]
    small = [path for path in found if path.stat().st_size < 8_000_000]
    return [str(path.relative_to(DATA)) for path in small] or ["no data"]


@pytest.mark.parametrize("name", nifti_files())
def test_real_nifti_against_nibabel_and_back(real_data, tmp_path, name):
    path = real_data / name
    try:
        volume = io.read(path)
    except UnreadableImageError as error:
        assert path.name in ("row_major.dconn.nii",), error  # noqa: PT017
        return
    reference = nib.load(path)
    values = np.asanyarray(reference.dataobj).reshape(volume.voxels.T.shape)
    np.testing.assert_allclose(volume.voxels.T, values, rtol=1e-6)
    if volume.orientation_known:
        np.testing.assert_allclose(REPORT["RAS_FROM_LPS"] @ volume.affine, reference.affine, atol=1e-6)
    io.write(tmp_path / "again.nii.gz", volume)
    again = nib.load(tmp_path / "again.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(again.dataobj), volume.voxels.T)
    np.testing.assert_allclose(again.affine, reference.affine, atol=1e-5)


@pytest.mark.parametrize("name", ["ibsi/digital_sphere", "dicom2nifti/hitachi_anatomical_001"])
def test_real_series_against_simpleitk(real_data, tmp_path, name):
    with zipfile.ZipFile(real_data / "conformance" / f"{name}.zip") as archive:
        archive.extractall(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other, volume = reader.Execute(), io.read(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), volume.voxels)
    last = tuple(size - 1 for size in other.GetSize())
    for index in ((0, 0, 0), last):
        np.testing.assert_allclose(
            other.TransformIndexToPhysicalPoint(index), index_to_lps(index, volume.affine), atol=1e-3
        )


@pytest.mark.slow
def test_every_single_file_is_read_rightly_or_refused_for_a_good_reason(real_data):
    files = REPORT["single_files"](real_data)
    rows = [REPORT["compare_file"](path) for path in files]
    assert [row for row in rows if row.outcome == "differs"] == []
    counts = Counter(row.outcome for row in rows)
    assert counts["agrees"] >= 80
    for row in rows:
        assert "\n" not in row.detail
        assert str(real_data) not in row.detail
        assert len(row.detail) < 400
