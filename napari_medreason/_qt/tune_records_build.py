"""Records made for a run: from a Labels layer of the viewer, or from the accepted studies of a work list."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medreason._qt.background import Background
from napari_medreason._qt.dataset_form import BuildForm, SourceForm, write_config
from napari_medreason._qt.dataset_layers import case_of, write_cases
from napari_medreason._qt.dataset_process import BuildProcess
from napari_medreason._qt.template_facts import LabelSource
from napari_medreason._qt.tune_records import RecordSet
from napari_medreason._qt.tune_records_made import RECORDS, records_root
from napari_medreason.errors import CancelledError, DataSetError, ExportError
from napari_medreason.worklist import WorkList, export_accepted
from napari_medreason.worklist.export import PATIENT_PATTERN

EXPORT = "studies"
SLICES = 40
"""Slices of each structure that become records at most, evenly spread: neighbours teach little new."""
Prepare = Callable[..., SourceForm]
"""Writes images and masks into a folder; gives the source that the builder reads there."""


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
        self._out: Path | None = None
        self._source = ""
        self._process.progressed.connect(self._on_progress)
        self._process.done.connect(self._on_done)
        self._process.failed.connect(self._fail)
        self._process.cancelled.connect(self._give_up)

    @property
    def busy(self) -> bool:
        """Whether records are being made."""
        return self._preparing.busy or self._process.running

    def from_layers(self, sources: Sequence[LabelSource]) -> None:
        """Make records of Labels layers of the viewer, as they are now."""
        self._begin(partial(_layers_written, tuple(sources)), "Writing the labelled slices …")

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
            self._fail(DataSetError(f"no record could be made ({reasons}); check labels and image"))
            return
        out, self._out = self._out, None
        if out is not None:
            self.built.emit(RecordSet(out / RECORDS, out / self._source))

    def _fail(self, error: Exception) -> None:
        self._give_up()
        self.failed.emit(error)

    def _give_up(self) -> None:
        """Leave no copies of images behind that no record names."""
        out, self._out = self._out, None
        if out is not None:
            shutil.rmtree(out, ignore_errors=True)
        self.said.emit("")

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
        self._give_up()


def _configured(prepare: Prepare, root: Path, **signals: Any) -> tuple[Path, SourceForm]:
    """Make a new folder with images, masks and a configuration; gives the latter and what it reads."""
    out = _new_folder(root)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, out, ignore_errors=True)
        source = prepare(out, **signals)
        form = BuildForm("medpos", (source,), out, slices=SLICES, test=0.0, validation=0.0, minimum_pixels=4)
        config = write_config(form)
        if signals["cancelled"]():
            raise CancelledError("the making of records was cancelled")
        undo.pop_all()
    return config, source


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


def _layers_written(sources: Sequence[LabelSource], out: Path, **_signals: Any) -> SourceForm:
    cases = [case for case in map(case_of, sources) if case is not None]
    if not cases:
        raise DataSetError(
            "there is no Labels layer with a label in the viewer; paint one, and name its labels"
        )
    without = [case.name for case in cases if case.image is None]
    if without:
        raise DataSetError(
            f"the labels “{without[0]}” lie on no image of the viewer, and a model learns from images; open "
            "the study that they were drawn on"
        )
    written = write_cases(cases, out)
    if len(written) > 1:
        raise DataSetError("the labels are of CT and of MR; take the layers of one kind, or make two runs")
    return written[0]


def _studies_written(folder: Path, out: Path, *, progress: Any, cancelled: Any) -> SourceForm:
    work_list = WorkList.open(folder)
    export_accepted(work_list, out / EXPORT, progress=progress, cancelled=cancelled)
    return SourceForm("work list", "nnunet", EXPORT, patient=PATIENT_PATTERN)
