"""Compressed DICOM: decoded in child processes that may crash, hang or end without harm."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from napari_medreason import io
from napari_medreason.errors import CancelledError, UnreadableImageError
from napari_medreason.io import dicom_process

REQUEST_TAKEN = "import sys, os, time; sys.stdin.readline(); os.write(1, b'taken\\n'); "


@pytest.fixture(autouse=True)
def fresh_children():
    dicom_process._end_idle()
    yield
    dicom_process._end_idle()


@pytest.fixture
def compressed(tmp_path, series_maker):
    """A series in RLE, with its true values."""
    stored = np.random.default_rng(0).integers(0, 3000, (3, 40, 50)).astype(np.int16)
    for path in series_maker(tmp_path / "rle", stored, np.diag([1, 1, 2, 1.0])):
        data = dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    return tmp_path / "rle", stored


def answer_with(monkeypatch, code: str) -> None:
    monkeypatch.setattr(dicom_process, "_COMMAND", (sys.executable, "-c", REQUEST_TAKEN + code))


def test_compressed_slices_are_exact_and_the_child_is_used_again(compressed):
    folder, stored = compressed
    np.testing.assert_array_equal(io.read(folder).voxels, stored)
    pids = {child.pid for child in dicom_process._idle}
    assert pids
    np.testing.assert_array_equal(io.read(folder).voxels, stored)
    assert {child.pid for child in dicom_process._idle} == pids


def test_values_beyond_int16_need_no_new_children(tmp_path, series_maker, monkeypatch):
    stored = np.full((12, 40, 50), 40_000, np.uint16)
    for path in series_maker(tmp_path / "deep", stored, np.eye(4)):
        data = dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    started, start = [], subprocess.Popen

    def counted(*given, **more):
        started.append(given)
        return start(*given, **more)

    monkeypatch.setattr(subprocess, "Popen", counted)
    np.testing.assert_array_equal(io.read(tmp_path / "deep").voxels, stored)
    # Those that met the first value beyond int16 go on to give the same images as float32.
    assert len(started) == len(dicom_process._idle) <= min(4, os.cpu_count() or 1)


def test_an_idle_child_that_ended_is_replaced(compressed):
    folder, stored = compressed
    io.read(folder)
    for child in dicom_process._idle:
        child.kill()
        child.wait()
    np.testing.assert_array_equal(io.read(folder).voxels, stored)


def test_a_crash_of_the_decoder_is_one_clear_line(compressed, monkeypatch):
    answer_with(monkeypatch, "os.abort()")
    with pytest.raises(UnreadableImageError, match="the decoder crashed"):
        io.read(compressed[0])
    assert dicom_process._idle == []


def test_a_frame_cut_off_by_a_crash_is_no_frame(compressed, monkeypatch):
    answer_with(monkeypatch, """os.write(1, b'{"dtype": "<i2", "shape": [40, 50]}\\n' + bytes(100))""")
    with pytest.raises(UnreadableImageError, match="the decoder crashed"):
        io.read(compressed[0])


def test_a_decoder_that_never_ends_can_be_cancelled(compressed, monkeypatch):
    answer_with(monkeypatch, "time.sleep(600)")
    seen: list[int] = []
    start = time.monotonic()

    def cancelled() -> bool:
        seen.append(1)
        return len(seen) > 20

    with pytest.raises(CancelledError):
        io.read(compressed[0], cancelled=cancelled)
    assert time.monotonic() - start < 60


def test_damaged_compressed_pixels_are_refused(compressed):
    folder, _ = compressed
    path = sorted(folder.iterdir())[0]
    whole = path.read_bytes()
    start = whole.find(b"\xe0\x7f\x10\x00") + 40
    path.write_bytes(whole[:start] + bytes(len(whole) - start))
    with pytest.raises(UnreadableImageError, match="can't be decoded"):
        io.read(path)


def test_files_of_the_current_folder_are_not_imported_by_the_child(compressed, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path / "here")
    np.testing.assert_array_equal(io.read(compressed[0]).voxels, compressed[1])
