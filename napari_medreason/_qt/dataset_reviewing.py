"""Reviewing the records of a file: decisions, saving in the background, pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.dataset_picture import record_picture, source_folders
from napari_medreason._qt.dataset_queue import WAITING, ReviewQueue, next_waiting
from napari_medreason._qt.dataset_review import RecordReview
from napari_medreason.core.record import Record, ReviewState
from napari_medreason.errors import MedReasonError

SAVE_AFTER_MILLISECONDS = 1500
"""Pause after a decision after which the record file is written; the decision itself is on disk at once."""


class Reviewing(QObject):
    """Joins the review page with a queue. opened: another file's records are shown."""

    opened = Signal()

    def __init__(self, view: RecordReview) -> None:
        super().__init__(view)
        self.queue: ReviewQueue | None = None
        self._view = view
        self._folders: dict[str, Path] = {}
        self._closed = False
        self._opening, self._saving, self._drawing = (Background(self) for _ in range(3))
        self._save_soon = QTimer(self)
        self._save_soon.setSingleShot(True)
        self._save_soon.setInterval(SAVE_AFTER_MILLISECONDS)
        self._save_soon.timeout.connect(self._save)
        view.accept_wanted.connect(partial(self.decide, "accepted"))
        view.reject_wanted.connect(partial(self.decide, "rejected"))
        view.wait_wanted.connect(partial(self.decide, WAITING))
        view.undo_wanted.connect(self.undo)
        view.row_changed.connect(self._show_record)
        view.state.currentIndexChanged.connect(self._fill)
        self._show_state()

    def open(self, path: Path) -> None:
        """Read a record file off the GUI thread and show what waits."""
        self.put_away()
        self._folders = source_folders(path)
        self._opening.start(partial(_opened, path), then=self._show_queue, failed=self._fail)

    def _show_queue(self, queue: ReviewQueue) -> None:
        self.queue = queue
        if queue.unsaved:
            self._save_soon.start()
        reviewers = [one.review.reviewer for one in queue.records if one.review.reviewer]
        if reviewers and not self._view.reviewer.text():
            self._view.reviewer.setText(reviewers[-1])
        self._fill()
        self.opened.emit()

    def _fill(self) -> None:
        records = self.queue.records if self.queue is not None else []
        self._view.table.set_records(records, str(self._view.state.currentData()))
        self._view.rows.selectRow(0)
        self._show_record()
        self._show_state()

    def _show_state(self) -> None:
        queue = self.queue
        counts = queue.counts if queue is not None else {}
        name = f"{queue.path.parent.name}/{queue.path.name}" if queue is not None else ""
        self._view.show_file(name, counts, saved=queue is None or not queue.unsaved)
        self._view.undo_button.setEnabled(queue is not None and queue.can_undo)
        self._view.update_buttons()

    def decide(self, state: ReviewState) -> None:
        """Decide on the selected records and go to the next that waits."""
        queue, view = self.queue, self._view
        ids = view.selected_ids
        if queue is None or not ids:
            return
        try:
            queue.decide(ids, state, reviewer=view.reviewer.text(), reason=view.reason.text())
        except MedReasonError as error:
            notify.report(error)
            return
        view.reason.clear()
        after = max(view.table.shown.index(queue.row(key)) for key in ids)
        self._after_change(after)

    def _after_change(self, after: int) -> None:
        queue, view = self.queue, self._view
        if queue is None:
            return
        view.table.set_records(queue.records, "") if view.state.currentData() == "" else view.table.refresh()
        rows = view.table.shown
        following = next_waiting(queue.records, rows[after] if after < len(rows) else -1, rows)
        view.rows.selectRow(rows.index(following) if following >= 0 else min(after, len(rows) - 1))
        self._save_soon.start()
        self._show_record()
        self._show_state()

    def undo(self) -> None:
        """Take the last decision back and show what it was about."""
        queue = self.queue
        if queue is None:
            return
        try:
            ids = queue.undo()
        except MedReasonError as error:
            notify.report(error)
            return
        self._save_soon.start()
        self._fill()
        shown = [row for row, place in enumerate(self._view.table.shown) if queue.records[place].id in ids]
        if shown:
            self._view.rows.selectRow(shown[0])

    def _show_record(self) -> None:
        row, view = self._view.current_row, self._view
        if self.queue is None or not 0 <= row < len(view.table.shown):
            view.show_record(None)
            return
        record = view.table.record(row)
        view.show_record(record)
        job = partial(_with_picture, record, dict(self._folders))
        self._drawing.start(job, then=self._show_picture, failed=self._fail)

    def _show_picture(self, drawn: tuple[Record, Any, str]) -> None:
        record, picture, fault = drawn
        row = self._view.current_row
        if 0 <= row < len(self._view.table.shown) and self._view.table.record(row).id == record.id:
            self._view.show_picture(picture, record.image.spacing, fault)

    def _save(self) -> None:
        queue = self.queue
        if queue is None or not queue.unsaved:
            return
        if self._saving.busy:
            self._save_soon.start()
            return
        self._saving.start(partial(_saved, queue), then=lambda _: self._show_state(), failed=self._fail)

    def put_away(self) -> None:
        """Write what is not in the record file yet, and show no records any more."""
        self._save_soon.stop()
        queue, self.queue = self.queue, None
        if queue is not None and queue.unsaved:
            try:
                queue.save()
            except MedReasonError as error:  # the decisions are in the file beside it
                notify.report(error)
        if not self._closed:
            self._fill()

    def close(self) -> None:
        """Write what is not written yet."""
        self._closed = True
        for background in (self._opening, self._saving, self._drawing):
            background.cancel()
        self.put_away()

    def _fail(self, error: Exception) -> None:
        notify.report(error)
        self._show_state()


def _opened(path: Path, **_signals: object) -> ReviewQueue:
    return ReviewQueue(path)


def _saved(queue: ReviewQueue, **_signals: object) -> None:
    queue.save()


def _with_picture(record: Record, folders: dict[str, Path], **_signals: object) -> tuple[Record, Any, str]:
    return (record, *record_picture(record, folders))
