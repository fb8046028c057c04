"""Studies below a folder: which are found, by what path, and what identifies nobody."""

import shutil
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import CancelledError, UnreadableImageError
from napari_medreason.io.find_studies import find_studies

SAMPLE = sorted(Path(str(files("napari_medreason_sample_data") / "ct")).glob("*.dcm"))


@pytest.fixture(autouse=True)
def _key(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_PSEUDONYM_KEY_FILE", str(tmp_path / "secret" / "key"))


def series(folder, count, *, patient, study, skip=0, series_uid=None):
    """`count` slices of the sample as a series of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = series_uid or generate_uid()
    for number, path in enumerate(SAMPLE[skip : skip + count]):
        data = pydicom.dcmread(path)
        data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID = patient, study, uid
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(folder / f"{skip + number}.dcm")
    return uid


def volume(path):
    io.write(path, Volume(np.zeros((3, 4, 5), np.int16), np.eye(4)))


def test_dicom_studies_give_their_largest_series_or_all(tmp_path):
    root = tmp_path / "studies"
    one, two = generate_uid(), generate_uid()
    scout = series(root / "Doe" / "scout", 2, patient="Doe^J", study=one)
    trunk = series(root / "Doe" / "trunk", 5, patient="Doe^J", study=one)
    later = series(root / "Doe" / "later", 3, patient="Doe^J", study=two)
    found = find_studies(root)
    assert [(study.path, study.series) for study in found] == [("Doe/later", later), ("Doe/trunk", trunk)]
    assert {study.series for study in find_studies(root, series="all")} == {scout, trunk, later}
    assert found[0].patient == found[1].patient
    assert found[0].study != found[1].study
    assert found[1].shape_kji == (5, 256, 256)
    assert not any("Doe" in name or one in name for study in found for name in (study.patient, study.study))
    read = io.read(root / found[1].path, series=found[1].series)
    assert read.shape_kji == (5, 256, 256)


def test_pseudonyms_depend_on_the_key_of_the_installation(tmp_path, monkeypatch):
    root = tmp_path / "studies"
    series(root / "a", 2, patient="Doe^J", study=generate_uid())
    (before,) = find_studies(root)
    assert find_studies(root) == (before,)
    monkeypatch.setenv("MEDREASON_PSEUDONYM_KEY_FILE", str(tmp_path / "other"))
    (after,) = find_studies(root)
    assert before.patient != after.patient
    assert before.study != after.study


def test_a_series_in_several_folders_is_one_and_a_copy_is_left_out(tmp_path):
    root, study = tmp_path / "studies", generate_uid()
    uid = series(root / "disk" / "part1", 3, patient="p", study=study)
    series(root / "disk" / "part2", 2, patient="p", study=study, skip=3, series_uid=uid)
    shutil.copytree(root / "disk", tmp_path / "disk")
    (found,) = find_studies(root)
    assert (found.path, found.shape_kji) == ("disk", (5, 256, 256))
    shutil.rmtree(root / "disk" / "part2")
    shutil.copytree(root / "disk" / "part1", root / "copy")
    (found,) = find_studies(root)
    assert (found.path, found.shape_kji) == ("copy", (3, 256, 256))


def test_files_are_found_without_their_label_maps_pictures_and_hidden_files(tmp_path):
    root = tmp_path / "studies"
    (root / "sub-07" / "anat").mkdir(parents=True)
    for name in (
        "a.nii.gz",
        "a_mask.nii.gz",
        "b-seg.nii",
        "mask.nii",
        "x_msk.nii.gz",
        ".c.nii.gz",
        "mask of d.nii.gz",
    ):
        volume(root / name)
    volume(root / "sub-07" / "anat" / "sub-07_T1w.nii.gz")
    volume(root / "sub-07" / "anat" / "sub-07_FLAIR.nii.gz")
    (root / "notes.txt").write_text("none")
    (root / "shot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = find_studies(root)
    names = [
        "a.nii.gz",
        "mask of d.nii.gz",
        "sub-07/anat/sub-07_FLAIR.nii.gz",
        "sub-07/anat/sub-07_T1w.nii.gz",
    ]
    assert [study.path for study in found] == names
    assert found[2].patient == found[3].patient != found[0].patient
    assert len({study.study for study in found}) == 4


def test_dicom_right_in_the_folder_beside_a_dicomdir_and_other_files(tmp_path):
    root = tmp_path / "studies"
    series(root, 3, patient="p", study=generate_uid())
    volume(root / "a.nii.gz")
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert [study.path for study in find_studies(root)] == [".", "a.nii.gz"]


def test_folders_can_be_left_out_and_searching_can_be_cancelled(tmp_path):
    (tmp_path / "out").mkdir()
    volume(tmp_path / "out" / "a.nii.gz")
    assert find_studies(tmp_path, left_out=[tmp_path / "out"]) == ()
    with pytest.raises(CancelledError):
        find_studies(tmp_path, cancelled=lambda: True)
    with pytest.raises(UnreadableImageError, match="no folder"):
        find_studies(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["Scan.img", "lower.img", "Scan.IMG"])
def test_the_two_files_of_a_pair_are_one_study(tmp_path, name):
    header = name.replace(".img", ".hdr").replace(".IMG", ".HDR")
    nibabel.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_filename(tmp_path / "x.img")
    (tmp_path / "x.img").rename(tmp_path / name)
    (tmp_path / "x.hdr").rename(tmp_path / header)
    assert [study.path for study in find_studies(tmp_path)] == [header]
