"""What lies in one folder: DICOMDIR, the rest of a series, segmentations, other patients, other sizes."""

from __future__ import annotations

import shutil

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet
from pydicom.sr.codedict import codes

from napari_medreason import io
from napari_medreason.core.cautions import kind_of
from napari_medreason.errors import UnreadableImageError

AFFINE = np.diag([0.7, 0.9, 2.5, 1.0])


def refusal(path, **options) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path, **options)
    assert "SECRET" not in str(caught.value)
    return str(caught.value)


def kinds(volume) -> set[str]:
    return {kind_of(text) for text in volume.warnings}


@pytest.fixture
def disc(tmp_path, series_maker, ramp):
    """A DICOMDIR with the files it names, as pydicom writes it."""

    def change(data, k):
        data.StudyInstanceUID, data.StudyID = "1.2.9", "1"
        data.StudyDate, data.StudyTime = "20200101", "120000"

    files = FileSet()
    for path in series_maker(tmp_path / "source", ramp, AFFINE, series="1.2.3", change=change):
        files.add(path)
    files.write(tmp_path / "disc")
    files._stage["t"].cleanup()  # pydicom leaves it to the garbage collector, with a warning
    return tmp_path / "disc" / "DICOMDIR"


def test_a_dicomdir_opens_the_images_it_names(disc, ramp):
    volume = io.read(disc)
    np.testing.assert_array_equal(volume.voxels, ramp)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.warnings == ()
    assert [entry.uid for entry in io.list_series(disc)] == ["1.2.3"]


def test_names_of_a_dicomdir_are_found_in_any_case_of_letters(disc, ramp):
    for folder in sorted((path for path in disc.parent.rglob("*") if path.is_dir()), reverse=True):
        for file in folder.iterdir():
            file.rename(file.with_name(file.name.lower()))
    for folder in sorted((path for path in disc.parent.rglob("*") if path.is_dir()), reverse=True):
        folder.rename(folder.with_name(folder.name.lower()))
    np.testing.assert_array_equal(io.read(disc).voxels, ramp)


def test_files_missing_from_a_disc_are_told(disc):
    next(path for path in disc.parent.rglob("*") if path.is_file() and path != disc).unlink()
    assert "file that the DICOMDIR names and that is not there (1 file)" in " ".join(io.read(disc).warnings)
    for path in [path for path in disc.parent.rglob("*") if path.is_file() and path != disc]:
        path.unlink()
    assert "names no file that is there" in refusal(disc)


def test_a_dicomdir_names_nothing_outside_its_folder(disc, tmp_path, series_maker, ramp):
    outside = series_maker(tmp_path / "other", ramp, AFFINE)[0]
    shutil.copy(outside, tmp_path / "EVIL")
    data = pydicom.dcmread(disc)
    for record in [entry for entry in data.DirectoryRecordSequence if "ReferencedFileID" in entry]:
        with pytest.warns(UserWarning, match="Invalid value for VR CS"):
            record.ReferencedFileID = ["..", "EVIL"]
    data.save_as(disc)
    assert "names no file that is there" in refusal(disc)


def test_one_file_offers_the_rest_of_its_series(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path, ramp, AFFINE, series="1.2.3")
    series_maker(tmp_path / "deeper", ramp, AFFINE, series="1.2.4")
    alone = io.read(paths[2])
    assert alone.voxels.shape == (1, 5, 6)
    assert "choose the whole series" in " ".join(alone.warnings)
    whole, file = io.list_series(paths[2])
    assert (whole.shape_kji, file.shape_kji) == ((4, 5, 6), (1, 5, 6))
    assert "4 files" in whole.description
    volume = io.read(paths[2], series=whole.uid)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert volume.warnings == ()
    np.testing.assert_array_equal(io.read(paths[2], series=file.uid).voxels, alone.voxels)
    assert len(io.list_series(tmp_path / "deeper")) == 1


def test_a_single_file_without_company_is_one_series(tmp_path, series_maker, ramp):
    (path,) = series_maker(tmp_path, ramp[:1], AFFINE)
    assert len(io.list_series(path)) == 1
    refusal(path, series=f"{io.list_series(path)[0].uid}+folder")


def segmentation(sources, mask):
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[
            highdicom.seg.SegmentDescription(
                segment_number=1,
                segment_label="Liver",
                segmented_property_category=codes.SCT.Organ,
                segmented_property_type=codes.SCT.Liver,
                algorithm_type="MANUAL",
            )
        ],
        series_instance_uid="1.2.77",
        series_number=9,
        sop_instance_uid="1.2.77.1",
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )


def test_a_segmentation_beside_its_images_can_be_chosen_and_opened(tmp_path, series_maker, ramp):
    def change(data, k):
        data.StudyInstanceUID, data.FrameOfReferenceUID = "1.2.9", "1.2.8"
        data.PatientBirthDate = data.PatientSex = data.AccessionNumber = data.StudyID = ""
        data.StudyDate = data.StudyTime = data.ReferringPhysicianName = ""

    paths = series_maker(tmp_path, ramp, AFFINE, series="1.2.3", change=change)
    mask = ramp % 5 == 0
    made = segmentation([pydicom.dcmread(path) for path in paths], mask.astype(np.uint8))
    made.save_as(tmp_path / "seg.dcm")
    image, labels = io.list_series(tmp_path)
    assert (image.uid, labels.uid, labels.modality) == ("1.2.3", "1.2.77", "SEG")
    assert "another series is there" in " ".join(io.read(tmp_path).warnings)
    for volume in (io.read(tmp_path, series="1.2.77"), io.read(tmp_path / "seg.dcm")):
        np.testing.assert_array_equal(volume.voxels, mask)
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    for path in paths:
        path.unlink()
    np.testing.assert_array_equal(io.read(tmp_path).voxels, mask)


def patient(number):
    def change(data, k):
        data.PatientID = f"SECRET-{number}"

    return change


@pytest.mark.parametrize("uids", [("1.2.3", "1.2.4"), ("1.2.3", "1.2.3")])
def test_two_patients_are_never_mixed(tmp_path, series_maker, ramp, uids):
    for number, uid in enumerate(uids):
        series_maker(tmp_path / str(number), ramp + 500 * number, AFFINE, series=uid, change=patient(number))
    said = refusal(tmp_path)
    assert "images of 2 patients" in said
    assert uids[0] in said
    listed = io.list_series(tmp_path)
    assert [entry.shape_kji for entry in listed] == [(4, 5, 6)] * 2
    volumes = [io.read(tmp_path, series=entry.uid) for entry in listed]
    assert sorted(int(volume.voxels[0, 0, 0]) for volume in volumes) == [0, 500]


def test_slices_of_another_size_between_others_are_refused(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp, AFFINE, series="1.2.3", positions=[0, 1, 3, 4])
    series_maker(tmp_path / "b", ramp[:1, :3, :3], AFFINE, series="1.2.3", positions=[2])
    assert "differ in size" in refusal(tmp_path)
    assert "6 x 5" in refusal(tmp_path)
    volume = io.read(tmp_path, series="1.2.3")
    assert {"mixed", "gaps"} <= kinds(volume)


def test_a_localiser_of_another_size_is_told_and_does_no_harm(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp, AFFINE, series="1.2.3")
    sagittal = np.array([[0, 0, 5, 2], [1, 0, 0, 0], [0, -1, 0, 9], [0, 0, 0, 1.0]])
    series_maker(tmp_path / "b", np.ones((1, 3, 3), np.int16), sagittal, series="1.2.3")
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert "mixed" in kinds(volume)
    assert "gaps" not in kinds(volume)


def test_copies_with_uids_of_their_own_are_used_once(tmp_path, series_maker, ramp):
    for name in ("a", "b"):
        series_maker(tmp_path / name, ramp, AFFINE, series="1.2.3")
    for read in (io.read, io.read_lazily):
        volume = read(tmp_path)
        assert volume.voxels.shape == ramp.shape
        np.testing.assert_array_equal(np.asarray(volume.voxels), ramp)
        assert kinds(volume) == {"duplicates"}


def test_frames_that_only_their_values_tell_apart_are_kept_and_told(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp, AFFINE, series="1.2.3")
    series_maker(tmp_path / "b", ramp + 1, AFFINE, series="1.2.3")
    volume = io.read(tmp_path)
    assert volume.voxels.shape == (2, *ramp.shape)
    assert kinds(volume) == {"order"}
