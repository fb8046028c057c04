"""The review queue: records of a built set, accepted or rejected; every decision is on disk at once.

Decisions are appended to `reviews.jsonl` beside the records, so none is lost in a crash, and so that a
set that is built again has those of before: an id follows from what a record asks and shows. From
there they go into `records.jsonl`, which is written whole or left as it was.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

from napari_medreason.core.record import Record, Review, ReviewState
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.io.records import read_records, write_records

JOURNAL = "reviews.jsonl"
WAITING: ReviewState = "waiting for review"

Decisions = dict[str, Review]


class ReviewQueue:
    """Records of one file with their reviews."""

    def __init__(self, path: Path) -> None:
        """Read the records and the decisions beside them; DataSetError names file and line."""
        self.path = path
        self._journal = path.with_name(JOURNAL)
        decisions = _read_journal(self._journal)
        read = list(read_records(path))
        self.records = [replace(one, review=decisions.get(one.id, one.review)) for one in read]
        self._row = {record.id: row for row, record in enumerate(self.records)}
        self._undone: list[Decisions] = []
        self._writing = threading.Lock()
        self._changes, self._saved = int(self.records != read), 0

    def row(self, record_id: str) -> int:
        """The place of a record in `records`."""
        return self._row[record_id]

    @property
    def counts(self) -> dict[str, int]:
        """Records by review state."""
        counted = Counter(record.review.state for record in self.records)
        return {state: counted[state] for state in (WAITING, "accepted", "rejected")}

    def decide(self, ids: Sequence[str], state: ReviewState, *, reviewer: str, reason: str = "") -> None:
        """Accept or reject records, or let them wait again; on disk when this returns.

        DataSetError without a reviewer, or for a rejection without a reason; ExportError when the disk is
        full, and then nothing was decided.
        """
        review = Review()
        if state != WAITING:
            if not reviewer.strip():
                raise DataSetError("the reviewer has no name; write a name or initials first")
            if state == "rejected" and not reason.strip():
                raise DataSetError("a rejection needs a reason; write one, such as “mask misses a part”")
            review = Review(state, reviewer.strip(), date.today().isoformat(), reason.strip())
        before = {key: self.records[self._row[key]].review for key in ids}
        self._keep(dict.fromkeys(ids, review))
        self._undone.append(before)

    @property
    def can_undo(self) -> bool:
        """Whether a decision can be taken back."""
        return bool(self._undone)

    def undo(self) -> list[str]:
        """Take the last decision back; ids of the records that it was about."""
        if not self._undone:
            return []
        self._keep(self._undone[-1])
        return list(self._undone.pop())

    def _keep(self, decisions: Decisions) -> None:
        _append(self._journal, decisions)
        for key, review in decisions.items():
            row = self._row[key]
            self.records[row] = replace(self.records[row], review=review)
        self._changes += 1

    @property
    def unsaved(self) -> bool:
        """Whether a decision is not in the record file yet, only in the file beside it."""
        return self._changes != self._saved

    def save(self) -> None:
        """Write the reviews into the record file; ExportError when the disk is full; it is then as it was."""
        with self._writing:
            changes, records = self._changes, tuple(self.records)
            write_records(self.path, records)
            self._saved = changes


def _append(path: Path, decisions: Decisions) -> None:
    lines = "".join(
        json.dumps({"id": key, **asdict(review)}, ensure_ascii=False) + "\n"
        for key, review in decisions.items()
    )
    size = _whole_bytes(path)
    try:
        with path.open("ab") as file:
            file.truncate(size)
            file.write(lines.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _cut_back(path, size)
        raise ExportError(
            f"{path.name} can't be written: {error.strerror}; nothing was decided, make room and try again"
        ) from error


def _whole_bytes(path: Path) -> int:
    """Length of the file without a line that a crash cut short at its end."""
    try:
        return path.read_bytes().rfind(b"\n") + 1
    except OSError:  # not there yet; a file that can't be read can't be written either, which is told
        return 0


def _cut_back(path: Path, size: int) -> None:
    try:
        os.truncate(path, size)
    except OSError:  # a broken last line is left out when the file is read
        return


def _read_journal(path: Path) -> Decisions:
    """The last decision on each record; a line that a crash cut short at the end is left out."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataSetError(f"{path.name} can't be read: {error.strerror}; check its permission") from error
    whole, _, _ = text.rpartition("\n")
    decisions: Decisions = {}
    for number, line in enumerate(filter(None, whole.split("\n")), 1):
        key, review = _decision(line, f"{path.name}, line {number}")
        decisions[key] = review
    return decisions


def _decision(line: str, where: str) -> tuple[str, Review]:
    try:
        values = json.loads(line)
        key = values.pop("id")
    except (ValueError, KeyError, AttributeError) as error:
        raise DataSetError(f"{where} is no decision; take the line out, or the file away") from error
    review: Review = from_plain(Review, values, where)
    return str(key), review


def next_waiting(records: Sequence[Record], after: int, shown: Iterable[int]) -> int:
    """The row of the next record that waits among those shown, -1 when none does."""
    waiting = [row for row in shown if records[row].review.state == WAITING]
    return next((row for row in waiting if row > after), waiting[0] if waiting else -1)
