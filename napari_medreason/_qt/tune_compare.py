"""Base and tuned model are asked about held-out cases, one after the other, and shown as layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QObject

from napari_medreason._qt import engine_bridge
from napari_medreason._qt.answer_words import stage_words
from napari_medreason._qt.background import Background
from napari_medreason._qt.tune_compare_cases import HeldOut, HeldOutCase, Order, read_held_out
from napari_medreason._qt.tune_compare_layers import CaseLayers
from napari_medreason._qt.tune_compare_view import CompareView
from napari_medreason._qt.tune_compare_words import answer_words, case_title, chosen_words
from napari_medreason._qt.tune_runs_reading import RunReport
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.question import Question
from napari_medreason.core.run_folder import ADAPTER
from napari_medreason.errors import CancelledError, MedReasonError
from napari_medreason.models import adapter_store

Report = Callable[[Exception], None]


class Comparing(QObject):
    """Cases of one run at a time, asked of its base and of what it has made.

    engine: a bridge of one's own, for tests; otherwise the shared one is taken when it is first needed.
    """

    def __init__(self, view: CompareView, viewer: Viewer, *, report: Report, engine: Any = None) -> None:
        super().__init__(view)
        self._view, self._report = view, report
        self._engine, self._shares_engine = engine, False
        self._layers = CaseLayers(viewer)
        self._reading = Background(self)
        self._run: RunReport | None = None
        self._held_out: HeldOut | None = None
        self._answers: dict[tuple[int, int], Grounding] = {}
        self._request: int | None = None
        self._asked: object | None = None
        """Names the question under way; what still comes of an earlier, cancelled one is not heard."""
        self._shown = self._side = 0
        """The case on screen; which of the two models was asked last: 0 the base, 1 the tuned one."""
        view.show_wanted.connect(self.show_cases)
        view.order_chosen.connect(self._reorder)
        view.step_wanted.connect(self.step)
        view.cancelled.connect(self.cancel)
        view.close_wanted.connect(self.close_cases)
        self._reading.progressed.connect(view.show_busy)

    def set_run(self, report: RunReport | None) -> None:
        """Judge this run; cases of another one are closed."""
        former, self._run = self._run, report
        if _judged(former) != _judged(report):
            self.close_cases()
        if self.busy:
            self._view.show_button.setEnabled(False)

    @property
    def busy(self) -> bool:
        """Whether cases are being read or asked."""
        return self._reading.busy or self._request is not None

    @property
    def _adapter(self) -> Path | None:
        """What can be asked; None for nothing."""
        run = self._run
        return None if run is None or run.card is None or run.fault else run.run.folder / ADAPTER

    def show_cases(self) -> None:
        """Read the held-out cases, show the first, and ask both models about one after the other."""
        if self._run is None or self._adapter is None or self.busy:
            return
        if self._held_out is not None and self._next_question() is not None:
            self._ask_next()
            return
        self.close_cases()
        self._view.show_busy(0, 0)
        self._view.show_stage("Reading the held-out cases")
        self._reading.start(
            partial(_read, self._run.run.folder, self._adapter, self._view.order.currentData()),
            then=self._begin,
            failed=self._failed,
        )

    def _reorder(self) -> None:
        """Another order may bring other cases, where there are many."""
        if self._held_out is not None or self.busy:
            self.close_cases()
            self.show_cases()

    def _begin(self, found: tuple[HeldOut, tuple[str, str]]) -> None:
        self._held_out, self._models = found
        self._ask_next()
        self._show(0)

    def _ask_next(self) -> None:
        """Ask what is not answered yet: the case on screen first, then the others in order."""
        wanted = self._next_question()
        if wanted is None:
            self._end_asking()
            return
        number, side = wanted
        self._side, case = side, self._cases[number]
        self._asked = asked = object()
        try:
            self._request = self._bridge().ask(
                Question(case.record.question, case.plane),
                model=self._models[side],
                on_text=_ignore,
                on_progress=partial(self._on_stage, asked),
                on_result=partial(self._on_answer, asked, wanted),
                on_error=partial(self._on_error, asked),
            )
        except MedReasonError as error:
            self._failed(error)
            return
        self._view.show_busy(len(self._answers), 2 * len(self._cases))
        self._view.show_stage(f"Asking the {'tuned model' if side else 'base'} about case {number + 1}")

    def _on_stage(self, asked: object, stage: str, _fraction: float | None) -> None:
        if asked is self._asked and stage.startswith(("starting", "loading", "downloading")):
            self._view.show_stage(stage_words(stage))

    def _next_question(self) -> tuple[int, int] | None:
        """The case on screen comes first, and the model that was asked last: changing adapters takes time."""
        order = [self._shown, *range(len(self._cases))]
        wanted = ((number, side) for number in order for side in (self._side, 1 - self._side))
        return next((one for one in wanted if one not in self._answers), None)

    @property
    def _cases(self) -> tuple[HeldOutCase, ...]:
        return () if self._held_out is None else self._held_out.cases

    def _bridge(self) -> Any:
        if self._engine is None:
            self._engine, self._shares_engine = engine_bridge.acquire(), True
        return self._engine

    def _on_answer(self, asked: object, which: tuple[int, int], grounding: Grounding) -> None:
        if asked is not self._asked:
            return
        self._request = self._asked = None
        self._answers[which] = grounding
        if which[0] == self._shown:
            self._show(self._shown)
        self._ask_next()

    def _on_error(self, asked: object, error: Exception) -> None:
        if asked is self._asked:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._end_asking()
        if not isinstance(error, CancelledError):
            self._report(error)

    def _end_asking(self) -> None:
        self._request = self._asked = None
        self._view.show_idle(can_show=self._adapter is not None)

    def step(self, steps: int) -> None:
        """Show the case so many further on."""
        if 0 <= self._shown + steps < len(self._cases):
            self._show(self._shown + steps)

    def _show(self, number: int) -> None:
        self._shown = number
        case = self._cases[number]
        before, after = (self._answers.get((number, side)) for side in (0, 1))
        self._layers.show(case, before, after)
        words = [answer_words("Before", before, case), answer_words("After", after, case)]
        self._view.show_case(
            case_title(case, number + 1, len(self._cases)),
            "\n".join((f"Asked: {case.record.question}", *words, *self._cautions())),
            former=number > 0,
            following=number + 1 < len(self._cases),
        )

    def _cautions(self) -> list[str]:
        held_out, words = self._held_out, []
        if held_out is not None and held_out.split != "test":
            words.append("There is no test patient: these are cases by which the best state was chosen.")
        if held_out is not None and (chosen := chosen_words(held_out)):
            words.append(chosen)
        return words

    def cancel(self) -> None:
        """Ask no further; the answers that came stay."""
        self._reading.cancel()
        request, self._request = self._request, None
        if request is not None:
            self._bridge().cancel(request)
        self._end_asking()

    def close_cases(self) -> None:
        """Take the cases out of the viewer."""
        if self.busy:
            self.cancel()
        self._layers.close()
        self._held_out, self._answers, self._shown = None, {}, 0
        self._view.show_no_case()

    def close(self) -> None:
        """Cancel what is under way, take the cases out of the viewer, give the engine back."""
        self.close_cases()
        if self._shares_engine:
            engine_bridge.release()


def _judged(report: RunReport | None) -> object:
    """What a comparison is of: another run, or the same after it was resumed, needs new answers."""
    return None if report is None or report.run.running else (report.run.folder, report.card)


def _read(folder: Path, adapter: Path, order: Order, **callbacks: Any) -> tuple[HeldOut, tuple[str, str]]:
    """The cases of a run, and the ids of base and tuned model."""
    base = adapter_store.from_folder(adapter).base_model
    return read_held_out(folder, order, **callbacks), (base, f"{base}{adapter_store.AT}{adapter.absolute()}")


def _ignore(_piece: str) -> None:
    """Words of these answers are not shown as they come."""
