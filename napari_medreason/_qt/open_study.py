"""“Open study…”: choose a file or folder and a series, read it off the GUI thread, add the image."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication, QFileDialog, QInputDialog, QProgressDialog, QWidget
from superqt.utils import FunctionWorker

from napari_medreason import io, layers
from napari_medreason._qt import canvas_letters, notify
from napari_medreason.io import SeriesInfo

FILE_FILTER = (
    "Studies (*.dcm *.nii *.nii.gz *.nrrd *.nhdr *.mgz *.mgh *.mha *.mhd *.zip *.png *.jpg *.jpeg)"
    ";;All files (*)"
)
SHOW_PROGRESS_AFTER_MILLISECONDS = 300

_open: set[StudyOpener] = set()


class StudyOpener(QObject):
    """Reads one study at a time for a viewer; `done` comes at the end, whatever the end was."""

    done = Signal()
    _progressed = Signal(int, int)

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._window = viewer, parent
        self._cancelled = threading.Event()
        self._dialog: QProgressDialog | None = None
        self._picker: QInputDialog | None = None
        self._progressed.connect(self._show_progress)

    def choose_folder(self) -> None:
        """Let the user choose a DICOM folder, then open it."""
        self._open_chosen(QFileDialog.getExistingDirectory(self._window, "Open a DICOM folder"))

    def choose_file(self) -> None:
        """Let the user choose a file, then open it."""
        path, _ = QFileDialog.getOpenFileName(self._window, "Open a study", "", FILE_FILTER)
        self._open_chosen(path)

    def _open_chosen(self, path: str) -> None:
        if path:
            self.open(Path(path))
        else:
            self.done.emit()

    def open(self, path: Path) -> None:
        """Read the study at `path`; asks which series when there are several."""
        if self._dialog is not None:
            return
        self._cancelled.clear()
        self._make_dialog(path.name)
        self._work(partial(io.list_series, path), then=partial(self._pick, path))

    def _make_dialog(self, name: str) -> None:
        dialog = QProgressDialog(f"Opening {name} …", "Cancel", 0, 0, self._window)
        dialog.setWindowTitle("Open study")
        dialog.setMinimumDuration(SHOW_PROGRESS_AFTER_MILLISECONDS)
        dialog.setAutoClose(False)
        dialog.setAutoReset(False)
        dialog.canceled.connect(self._cancelled.set)
        self._dialog = dialog

    def _work(self, job: Callable[..., Any], *, then: Callable[[Any], None]) -> None:
        # not create_worker: that one raises errors a second time, after `errored`
        worker = FunctionWorker(job, progress=self._progressed.emit, cancelled=self._cancelled.is_set)
        worker.returned.connect(partial(self._go_on, then))
        worker.errored.connect(self._fail)
        worker.start()

    def _go_on(self, then: Callable[[Any], None], value: Any) -> None:
        if self._dialog is None:
            return
        if self._cancelled.is_set():  # cancelled after the last slice
            self._finish()
        else:
            then(value)

    def _fail(self, error: Exception) -> None:
        if self._dialog is not None:
            self._finish()
            notify.report(error)

    def _show_progress(self, done: int, total: int) -> None:
        if self._dialog is not None and not self._cancelled.is_set():
            self._dialog.setRange(0, total)
            self._dialog.setValue(done)

    def _pick(self, path: Path, series: tuple[SeriesInfo, ...]) -> None:
        if len(series) < 2:
            self._read(path, "")
            return
        names = [f"{number}: {series_words(entry)}" for number, entry in enumerate(series, 1)]
        picker = QInputDialog(self._window)
        picker.setWindowTitle("Open study")
        picker.setLabelText(f"{path.name} holds {len(series)} series. Open which?")
        picker.setOption(QInputDialog.InputDialogOption.UseListViewForComboBoxItems)
        picker.setComboBoxItems(names)
        picker.textValueSelected.connect(lambda name: self._read(path, series[names.index(name)].uid))
        picker.rejected.connect(self._finish)
        picker.finished.connect(picker.deleteLater)
        self._picker = picker
        picker.open()

    def _read(self, path: Path, uid: str) -> None:
        self._work(partial(_layer_at, path, uid), then=self._add)

    def _add(self, layer_and_warnings: tuple[layers.LayerDataTuple, tuple[str, ...]]) -> None:
        entry, warnings = layer_and_warnings
        self._finish()
        layer = Layer.create(*entry)
        self._viewer.add_layer(layer)
        canvas_letters.attach(self._viewer, layer)
        if warnings:
            notify.warn(" ".join(warnings))

    def _finish(self) -> None:
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.canceled.disconnect()
            dialog.close()
            dialog.deleteLater()
        self.done.emit()

    def close(self) -> None:
        """Stop reading; nothing is added any more."""
        self._cancelled.set()
        if self._dialog is not None:
            self._finish()


def _layer_at(
    path: Path, uid: str, *, progress: Any, cancelled: Any
) -> tuple[layers.LayerDataTuple, tuple[str, ...]]:
    volume = io.read(path, series=uid or None, progress=progress, cancelled=cancelled)
    return layers.image_layer(volume, path), volume.warnings


def series_words(series: SeriesInfo) -> str:
    """One line about a series for the picker."""
    number = "" if series.number is None else f"no. {series.number}, "
    frames = "" if series.frame_count == 1 else f"{series.frame_count} frames of "
    k, j, i = series.shape_kji
    return f"{series.modality or 'image'}, {number}{series.description or 'no name'}, {frames}{k} × {j} × {i}"


def open_study_folder(viewer: Viewer) -> None:
    """The File menu's “Open study folder…”."""
    _open_with(viewer, StudyOpener.choose_folder)


def open_study_file(viewer: Viewer) -> None:
    """The File menu's “Open study file…”."""
    _open_with(viewer, StudyOpener.choose_file)


def _open_with(viewer: Viewer, choose: Callable[[StudyOpener], None]) -> None:
    opener = StudyOpener(viewer, QApplication.activeWindow())
    _open.add(opener)  # alive until it is done
    opener.done.connect(lambda: _open.discard(opener))
    choose(opener)
