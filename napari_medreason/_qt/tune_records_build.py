"""Records made for a run: from a Labels layer of the viewer, or from the accepted studies of a work list."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
from qtpy.QtCore import QObject, Signal

from napari_medreason._qt.background import Background
from napari_medreason._qt.dataset_form import BuildForm, SourceForm, write_config
from napari_medreason._qt.dataset_layers import LayerCase, write_cases
from napari_medreason._qt.dataset_process import BuildProcess
from napari_medreason._qt.tune_records import RecordSet
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.worklist import WorkList, export_accepted
from napari_medreason.worklist.export import PATIENT_PATTERN

RECORDS, EXPORT = "records.jsonl", "studies"
SLICES = 40
"""Slices of each structure that become records at most, evenly spread: neighbours teach little new."""
Prepare = Callable[..., SourceForm]
"""Writes images and masks into a folder; gives the source that the builder reads there."""


def records_root() -> Path:
    """Where records that this program makes lie; the environment variable MEDREASON_RECORDS names another."""
    named = os.environ.get("MEDREASON_RECORDS")
    return Path(named) if named else platformdirs.user_data_path("napari-medreason") / "records"


class RecordsBuild(QObject):
    """One build at a time, in a process of its own.

    built(records): a RecordSet. failed(error). said(words): what is being done, "" when nothing is.
    """

    built = Signal(object)
    failed = Signal(Exception)
    said = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._preparing = Background(self)
        self._process = BuildProcess(self)
        self._out, self._source = Path(), ""
        self._process.progressed.connect(self._on_progress)
        self._process.done.connect(self._on_done)
        self._process.failed.connect(self._fail)
        self._process.cancelled.connect(lambda: self.said.emit(""))

    @property
    def busy(self) -> bool:
        """Whether records are being made."""
        return self._preparing.busy or self._process.running

    def from_layers(self, cases: list[LayerCase]) -> None:
        """Make records of Labels layers that were taken from the viewer."""
        self._begin(partial(_layers_written, cases), "Writing the labelled slices …")

    def from_work_list(self, folder: Path) -> None:
        """Make records of the accepted studies of a work list."""
        self._begin(partial(_studies_written, folder), "Reading the accepted studies …")

    def _begin(self, prepare: Prepare, words: str) -> None:
        if self.busy:
            self.failed.emit(DataSetError("records are being made already; wait for them, or cancel"))
            return
        self.said.emit(words)
        job = partial(_configured, prepare, records_root())
        self._preparing.start(job, then=self._build, failed=self._fail)

    def _build(self, prepared: tuple[Path, SourceForm]) -> None:
        config, source = prepared
        self._out, self._source = config.parent, source.root
        self._process.start("medpos", config)

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        self.said.emit(
            f"Making records: image {event['cases']} of {event['total']}, {event['records']} records …"
        )

    def _on_done(self, event: Mapping[str, Any]) -> None:
        self.said.emit("")
        if not event["records"]:
            reasons = ", ".join(event["left_out"]) or "no label was found"
            self.failed.emit(DataSetError(f"no record could be made ({reasons}); check labels and image"))
            return
        self.built.emit(RecordSet(self._out / RECORDS, self._out / self._source))

    def _fail(self, error: Exception) -> None:
        self.said.emit("")
        self.failed.emit(error)

    def cancel(self) -> None:
        """Give up; nothing is added."""
        self._preparing.cancel()
        self._process.cancel()
        if not self._process.running:
            self.said.emit("")

    def close(self) -> None:
        """End a build and tell nobody."""
        self._preparing.cancel()
        self._process.close()


def _configured(prepare: Prepare, root: Path, **signals: Any) -> tuple[Path, SourceForm]:
    """Make a new folder with images, masks and a configuration; gives the latter and what it reads."""
    out = _new_folder(root)
    source = prepare(out, **signals)
    form = BuildForm("medpos", (source,), out, slices=SLICES, test=0.0, validation=0.0, minimum_pixels=4)
    return write_config(form), source


def _new_folder(root: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        folder = root / (f"{stamp}-{number}" if number else stamp)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ExportError(
                f"the folder for records can't be made: {error.strerror}; name another in MEDREASON_RECORDS"
            ) from error
        return folder
    raise ExportError("no name for a new folder of records is free; try again in a second")


def _layers_written(cases: list[LayerCase], out: Path, **_signals: Any) -> SourceForm:
    without = [case.name for case in cases if case.image is None]
    if without:
        raise DataSetError(
            f"the labels “{without[0]}” lie on no image of the viewer, and a model learns from images; open "
            "the study that they were drawn on"
        )
    sources = write_cases(cases, out)
    if len(sources) > 1:
        raise DataSetError("the labels are of CT and of MR; take the layers of one kind, or make two runs")
    return sources[0]


def _studies_written(folder: Path, out: Path, *, progress: Any, cancelled: Any) -> SourceForm:
    work_list = WorkList.open(folder)
    export_accepted(work_list, out / EXPORT, progress=progress, cancelled=cancelled)
    return SourceForm("work list", "nnunet", EXPORT, patient=PATIENT_PATTERN)
