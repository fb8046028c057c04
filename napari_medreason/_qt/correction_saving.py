"""Autosave: what is drawn on the open study is written to the work list without being asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medreason._qt.correction_rights import rights_of
from napari_medreason._qt.correction_study import LabelArray, OpenStudy, digest_of
from napari_medreason._qt.correction_writer import Writer
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError, MedReasonError
from napari_medreason.worklist import Item, WorkList

SAVE_AFTER_MS = 3000
"""What is drawn is written this long after the first stroke since the last save."""
AGAIN_AFTER_MS = 30_000
"""After a save that failed, such as on a full disk, the next try is this much later."""

Step = Callable[["Target"], Item]


@dataclass(eq=False)
class Target:
    """Where the labels of the open study go. digest: of the labels as they are on the disk."""

    work_list: WorkList
    item_id: str
    reader: str
    like: Volume
    digest: bytes


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The item afterwards, whether labels were written, and why the step was not taken."""

    item: Item
    wrote: bool
    refusal: MedReasonError | None = None


class Saving(QObject):
    """Writes the labels of one open study. told(words): the state of saving; saved(item): after a write."""

    told = Signal(str)
    saved = Signal(object)

    def __init__(
        self, opened: OpenStudy, writer: Writer, report: Callable[[Exception], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._opened, self._writer, self._report = opened, writer, report
        self.target: Target | None = None
        self._complaint = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.flush)
        opened.changed.connect(self._on_change)

    def start(self, target: Target | None) -> None:
        """Save to here from now on; None: nowhere."""
        self._timer.stop()
        self.target = target
        self.told.emit("")

    def _on_change(self) -> None:
        if self.target is not None and not self._timer.isActive():
            self._timer.start(SAVE_AFTER_MS)

    def flush(
        self,
        then: Callable[[Item | None], None] | None = None,
        *,
        otherwise: Callable[[], None] | None = None,
        step: Step | None = None,
        force: bool = False,
    ) -> None:
        """Write what is drawn, take a step with the study, then go on.

        otherwise: what to do when writing failed; without it, it is tried again later. force: write labels
        that were not changed as well. Without an open study, only goes on.
        """
        self._timer.stop()
        target = self.target
        if target is None:
            if then is not None:
                then(None)
            return
        try:
            labels = self._opened.snapshot()
        except LabelMapError as error:
            self._on_failed(otherwise, error)
            return
        self._writer.submit(
            partial(_write, target, labels, step, force=force),
            then=partial(self._on_written, then),
            failed=partial(self._on_failed, otherwise),
        )

    def _on_written(self, then: Callable[[Item | None], None] | None, outcome: _Outcome) -> None:
        self._complaint = ""
        if outcome.wrote:
            self.told.emit(f"Saved {datetime.now():%H:%M:%S}")
        self.saved.emit(outcome.item)
        if outcome.refusal is not None:
            self._report(outcome.refusal)
        elif then is not None:
            then(outcome.item)

    def _on_failed(self, otherwise: Callable[[], None] | None, error: Exception) -> None:
        self.told.emit("Not saved")
        if otherwise is not None or str(error) != self._complaint:  # once, not at every try
            self._complaint = str(error)
            self._report(error)
        if otherwise is not None:
            otherwise()
        elif self.target is not None:
            self._timer.start(AGAIN_AFTER_MS)

    def stop(self) -> None:
        """Write what is drawn, and nothing any more after that."""
        self.flush()
        self.target = None


def _write(target: Target, labels: LabelArray, step: Step | None, *, force: bool) -> _Outcome:
    """On the writer's thread: write changed labels, then take the step."""
    work_list, item_id = target.work_list, target.item_id
    digest = digest_of(labels)
    wanted = force or digest != target.digest
    if wanted:
        _save(target, labels)
        target.digest = digest
    try:
        item = work_list.item(item_id) if step is None else step(target)
    except MedReasonError as error:
        return _Outcome(work_list.item(item_id), wanted, error)
    return _Outcome(item, wanted)


def _save(target: Target, labels: LabelArray) -> None:
    work_list, item_id, reader = target.work_list, target.item_id, target.reader
    work_list.refresh()
    if rights_of(work_list.item(item_id), reader).decide:
        work_list.begin(item_id, reader=reader)
    work_list.save_labels(item_id, labels, reader=reader, like=target.like)
