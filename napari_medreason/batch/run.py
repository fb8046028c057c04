"""The work of a batch: each study is read once, each plane is looked at once, one line for each answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from napari_medreason import asking, io
from napari_medreason.batch.questions import Asked, Row, asked_about, groups
from napari_medreason.batch.results import Results
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.core.report import grounding_json
from napari_medreason.core.volume import Volume
from napari_medreason.engine.loaded import with_notes
from napari_medreason.errors import CancelledError, MedReasonError
from napari_medreason.models.base import Cancelled, GroundingModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a batch is. kept: answers there before. answered, faults: made now. seconds: so far."""

    images: int
    image: int = 0
    kept: int = 0
    answered: int = 0
    faults: int = 0
    seconds: float = 0.0
    stopped: bool = False


Report = Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class Asking:
    """Who answers and what becomes of it. notes: how the model was made to fit, for every answer.

    files: write mask, overlay and answer.json of each answer.
    """

    model: GroundingModel
    notes: Sequence[str] = ()
    files: bool = True


class _Stopped(Exception):
    """The user stopped the batch between two questions or in one."""


def run_batch(
    rows: Iterable[Row], results: Results, asking_: Asking, *, report: Report, cancelled: Cancelled
) -> Progress:
    """Ask all that has no answer yet; a fault is kept as a line and the next question follows.

    The table of results is written at the end, also when the batch was stopped.
    """
    work = groups(rows)
    run = _Run(results, asking_, report, cancelled, Progress(len(work)))
    try:
        for number, group in enumerate(work, 1):
            run.change(image=number)
            run.ask_group(group)
    except _Stopped:
        run.change(stopped=True)
    finally:
        results.write_table()
    return run.progress


class _Run:
    def __init__(
        self, results: Results, asking_: Asking, report: Report, cancelled: Cancelled, progress: Progress
    ) -> None:
        self._results, self._asking, self._cancelled = results, asking_, cancelled
        self._report, self.progress, self._began = report, progress, monotonic()
        self._plane: tuple[object, Plane] | None = None

    def change(self, **values: Any) -> None:
        """Note how far it is and tell it."""
        self.progress = replace(self.progress, seconds=monotonic() - self._began, **values)
        self._report(self.progress)

    def ask_group(self, rows: list[Row]) -> None:
        """All questions about one study; when it can't be read, each of its rows gets the fault."""
        self._check()
        open_rows = [row for row in rows if not self._results.has_all(row)]
        done = sum(self._results.count(row) for row in rows if row not in open_rows)
        self.change(kept=self.progress.kept + done)
        if not open_rows:
            return
        try:
            volume = io.read(open_rows[0].image, series=open_rows[0].series)
        except MedReasonError as error:
            for row in open_rows:
                self._fault(row, error)
            return
        self._plane = None
        for asked in asked_about(volume, open_rows):
            self._check()
            if not isinstance(asked, Asked):
                self._fault(*asked)
            elif self._results.has(asked):
                self.change(kept=self.progress.kept + 1)
            else:
                self._ask(asked, volume)

    def _ask(self, asked: Asked, volume: Volume) -> None:
        try:
            report = self._answer(asked, volume)
        except CancelledError as error:
            raise _Stopped from error
        except MedReasonError as error:
            self._fault(asked.row, error, asked.index)
            return
        except Exception as error:  # the request border: one question's fault must not end the batch
            logger.exception("question %d failed", asked.row.number)
            self._fault(asked.row, error, asked.index)
            return
        self._results.add_answer(asked, report)
        self.change(answered=self.progress.answered + 1)

    def _answer(self, asked: Asked, volume: Volume) -> dict[str, Any]:
        plane = self._cut(asked, volume)
        question = Question(asked.row.question, plane)
        grounding = self._asking.model.ask(question, on_text=_ignore, cancelled=self._cancelled)
        grounding = with_notes(grounding, tuple(self._asking.notes))
        if self._asking.files:
            return asking.write_answer(self._results.answer_folder(asked), volume, plane, grounding)
        return grounding_json(grounding, volume.affine)

    def _cut(self, asked: Asked, volume: Volume) -> Plane:
        """The plane of a question; the very same object for all questions about it."""
        if self._plane is None or self._plane[0] != asked.place:
            self._plane = asked.place, asking.plane_at(volume, asked.place)
        return self._plane[1]

    def _fault(self, row: Row, error: Exception, index: int | None = None) -> None:
        words = " ".join(str(error).split())
        if not isinstance(error, MedReasonError):
            words = f"the model failed ({type(error).__name__}: {words[:200]})"
        self._results.add_fault(row, words, index)
        self.change(faults=self.progress.faults + 1)

    def _check(self) -> None:
        if self._cancelled():
            raise _Stopped


def _ignore(_text: str) -> None:
    """A batch keeps the finished answers, not their stream."""
