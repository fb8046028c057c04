"""Opening studies through the dock and the File menu: picker, progress, cancel, faults."""

import threading
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from napari.components import ViewerModel
from pydicom.data import get_testdata_file
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QInputDialog, QPushButton

from napari_medreason import io
from napari_medreason._qt.open_study import StudyOpener

pytestmark = pytest.mark.window
PATIENCE = 20_000


def write_nifti(path):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def write_two_series(folder):
    """One series of two slices and one of three."""
    folder.mkdir()
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for series, count in (("1.2.3.4.1", 2), ("1.2.3.4.2", 3)):
        for n in range(count):
            source.SeriesInstanceUID = series
            source.SeriesDescription = f"with {count} slices"
            source.SOPInstanceUID = f"{series}.{n}"
            source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
            source.ImagePositionPatient = [0, 0, 5.0 * n]
            source.save_as(folder / f"{series}.{n}.dcm")
    return folder


@pytest.fixture
def opener(notices, qtbot):
    opener = StudyOpener(ViewerModel())
    yield opener
    opener.close()


def test_a_file_becomes_one_layer_off_the_gui_thread(opener, qtbot, tmp_path, monkeypatch):
    threads, read = [], io.read

    def spy(*arguments, **options):
        threads.append(threading.current_thread())
        return read(*arguments, **options)

    monkeypatch.setattr(io, "read", spy)
    with qtbot.waitSignal(opener.done, timeout=PATIENCE):
        opener.open(write_nifti(tmp_path / "a.nii.gz"))
    (layer,) = opener._viewer.layers
    assert layer.data.shape == (5, 4, 3)
    (thread,) = threads
    assert thread is not threading.main_thread()


def test_several_series_are_offered_and_the_chosen_one_opens(opener, qtbot, tmp_path):
    offered = []

    def choose_when_shown():
        for dialog in QApplication.topLevelWidgets():
            if isinstance(dialog, QInputDialog) and dialog.isVisible():
                timer.stop()
                offered.extend(dialog.comboBoxItems())
                dialog.setTextValue(next(name for name in offered if "with 2 slices" in name))
                dialog.accept()

    timer = QTimer()
    timer.timeout.connect(choose_when_shown)
    timer.start(20)
    with qtbot.waitSignal(opener.done, timeout=PATIENCE):
        opener.open(write_two_series(tmp_path / "study"))
    assert len(offered) == 2
    (layer,) = opener._viewer.layers
    assert layer.data.shape[0] == 2


@pytest.mark.parametrize(
    "content",
    [None, b"", b"this is text", b"\0" * 128 + b"DICM" + b"\7" * 40],
    ids=["missing", "empty", "text", "cut"],
)
def test_unreadable_files_are_one_line_and_change_nothing(opener, qtbot, tmp_path, notices, content):
    path = tmp_path / "study.dcm"
    if content is not None:
        path.write_bytes(content)
    with qtbot.waitSignal(opener.done, timeout=PATIENCE):
        opener.open(path)
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    ((severity, message),) = notices
    assert severity == "error"
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert not opener._viewer.layers


def test_cancel_adds_nothing_and_says_nothing(opener, qtbot, tmp_path, notices, monkeypatch):
    started = threading.Event()

    def endless(path, *, series=None, progress=None, cancelled=None):
        progress(1, 100)
        started.set()
        while not cancelled():
            threading.Event().wait(0.01)
        from napari_medreason.errors import CancelledError

        raise CancelledError("stopped")

    monkeypatch.setattr(io, "read", endless)
    opener.open(write_nifti(tmp_path / "a.nii"))
    qtbot.waitUntil(started.is_set, timeout=PATIENCE)
    with qtbot.waitSignal(opener.done, timeout=PATIENCE):
        qtbot.mouseClick(opener._dialog.findChild(QPushButton), Qt.MouseButton.LeftButton)
    assert not opener._viewer.layers
    assert not notices


def test_cancel_after_the_last_slice_adds_nothing(opener, qtbot, tmp_path, monkeypatch, notices):
    read = io.read

    def read_then_cancel(*arguments, **options):
        volume = read(*arguments, **options)
        opener._dialog.canceled.emit()
        return volume

    monkeypatch.setattr(io, "read", read_then_cancel)
    with qtbot.waitSignal(opener.done, timeout=PATIENCE):
        opener.open(write_nifti(tmp_path / "a.nii"))
    assert not opener._viewer.layers
    assert not notices


def test_file_menu_command_opens_the_chosen_file(make_napari_viewer, qtbot, tmp_path, monkeypatch, notices):
    viewer = make_napari_viewer()
    path = str(write_nifti(tmp_path / "a.nii.gz"))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    from napari._app_model import get_app_model

    get_app_model().commands.execute_command("napari-medreason.open_study_file").result()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=PATIENCE)


def test_file_dialog_given_up_changes_nothing(opener, qtbot, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    with qtbot.waitSignal(opener.done, timeout=1000):
        opener.choose_folder()
    assert not opener._viewer.layers


@pytest.mark.data
def test_real_dicom_opens_with_its_geometry(opener, qtbot, real_data):
    path = real_data / "conformance" / "totalsegmentator" / "example_ct_dicom.zip"
    assert Path(path).exists()
    with qtbot.waitSignal(opener.done, timeout=60_000):
        opener.open(path)
    (layer,) = opener._viewer.layers
    volume = io.read(path)
    assert tuple(layer.scale) == pytest.approx(sorted(volume.spacing_kji, reverse=True), rel=1e-3)
    assert layer.axis_labels == ("inferior", "posterior", "left")
