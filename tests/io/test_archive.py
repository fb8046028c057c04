"""Zip archives: read like the folder they hold, within bounds, leaving nothing behind."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_medreason import io
from napari_medreason.errors import CancelledError, UnreadableImageError
from napari_medreason.io import archive


@pytest.fixture
def zipped(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path / "study" / "series", ramp, np.diag([1, 1, 2, 1.0]), series="1.2.3")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for path in paths:
            target.write(path, f"deep/er/{path.name}")
        target.writestr("README.txt", "notes")
    return tmp_path / "study.zip"


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path)
    assert "\n" not in str(caught.value)
    assert path.stem in str(caught.value)
    return str(caught.value)


def test_a_zipped_series_is_read_and_nothing_stays(zipped, temporary_folder, ramp):
    volume = io.read(zipped)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert io.list_series(zipped)[0].uid == "1.2.3"
    np.testing.assert_array_equal(io.read(zipped, series="1.2.3").voxels, ramp)
    assert list(temporary_folder.iterdir()) == []


def test_a_zipped_nifti_is_read(tmp_path, ramp):
    nib.save(nib.Nifti1Image(ramp.T, np.eye(4)), tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as target:
        target.write(tmp_path / "a.nii.gz", "a.nii.gz")
    np.testing.assert_array_equal(io.read(tmp_path / "one.zip").voxels, ramp)


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/evil.dcm", "//evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:evil.dcm"]
)
def test_no_file_lands_outside(tmp_path, temporary_folder, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as target:
        target.writestr(name, "x")
    assert "outside" in refusal(tmp_path / "evil.zip")
    assert list(temporary_folder.iterdir()) == []
    assert not list(tmp_path.rglob("evil.dcm"))


def test_what_a_mac_adds_and_hidden_files_are_left_out(tmp_path, ramp):
    nib.save(nib.Nifti1Image(ramp.T, np.eye(4)), tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as target:
        target.write(tmp_path / "a.nii.gz", "study/a.nii.gz")
        for name in ("__MACOSX/study/._a.nii.gz", "study/.DS_Store", "study/.cache/a.nii.gz"):
            target.writestr(name, bytes(300))
    np.testing.assert_array_equal(io.read(tmp_path / "mac.zip").voxels, ramp)


def test_a_colon_in_a_name_does_no_harm(tmp_path, zipped, ramp):
    with zipfile.ZipFile(zipped) as source, zipfile.ZipFile(tmp_path / "colon.zip", "w") as target:
        for name in source.namelist():
            target.writestr(f"series 12:30/{name}", source.read(name))
    np.testing.assert_array_equal(io.read(tmp_path / "colon.zip").voxels, ramp)


@pytest.mark.parametrize("count", [1, 2])
def test_archives_in_an_archive_are_refused_as_such(tmp_path, zipped, count):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as target:
        for number in range(count):
            target.write(zipped, f"{number}.zip")
    assert "other zip archives" in refusal(tmp_path / "outer.zip")


def test_too_many_or_too_big_is_refused(tmp_path, zipped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_MAX_FILES", 3)
        assert "5 files" in refusal(zipped)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_MAX_BYTES", 100)
        refusal(zipped)


def test_damaged_empty_and_encrypted(tmp_path, zipped):
    whole = zipped.read_bytes()
    for size in (0, 3, 50, len(whole) - 30):
        (tmp_path / "cut.zip").write_bytes(whole[:size])
        refusal(tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "none.zip", "w"):
        pass
    assert "holds no DICOM image" in refusal(tmp_path / "none.zip")
    locked = bytearray(whole)
    # Bit 0 of the general purpose flags says "encrypted", in local and central headers.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = locked.find(mark)
        while start >= 0:
            locked[start + offset] |= 1
            start = locked.find(mark, start + 4)
    (tmp_path / "locked.zip").write_bytes(locked)
    assert "encrypted" in refusal(tmp_path / "locked.zip")


def test_cancel_leaves_nothing(zipped, temporary_folder):
    asked = iter([False, False] + [True] * 100)
    with pytest.raises(CancelledError):
        io.read(zipped, cancelled=lambda: next(asked))
    assert list(temporary_folder.iterdir()) == []
