"""The rules of the Ask dock: what happens on each intent of the user. No Qt and no napari here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from napari_medreason._qt import answer_words
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.question import Question, checked_text
from napari_medreason.errors import CancelledError, MedReasonError, QuestionError
from napari_medreason.session import Answer, PromptState, Session


class AskViewLike(Protocol):
    """What the presenter shows; see AskView."""

    def set_busy(self, busy: bool) -> None: ...
    def show_stage(self, words: str, fraction: float | None) -> None: ...
    def show_status(self, words: str) -> None: ...
    def set_answer(self, text: str, provenance: str) -> None: ...
    def append_text(self, piece: str) -> None: ...
    def put_row(self, answer: Answer) -> None: ...
    def remove_row(self, answer_id: str) -> None: ...
    def select_row(self, answer_id: str) -> None: ...
    def set_history(self, *, undo: bool, redo: bool) -> None: ...


@dataclass(eq=False)
class _Pending:
    """One question that is being answered."""

    question: Question
    look: Any
    model: str
    request: int | None = None


class AskPresenter:
    """Turns intents into requests, and results into rows and layers.

    screen: a ViewerLayers. engine: an EngineBridge. report: shows a fault. segmenters: ids that can
    redraw a mask.
    """

    def __init__(
        self,
        view: AskViewLike,
        screen: Any,
        engine: Any,
        *,
        report: Callable[[Exception], None],
        segmenters: frozenset[str],
    ) -> None:
        self.session = Session()
        self._view, self._screen, self._engine = view, screen, engine
        self._report, self._segmenters = report, segmenters
        self._pending: _Pending | None = None
        self._redraws: dict[str, int] = {}
        self._shown = ""
        screen.on_prompt, screen.on_gone = self.redraw, self.forget
        screen.on_undo, screen.on_redo = self.undo, self.redo

    @property
    def busy(self) -> bool:
        """Whether a question is being answered."""
        return self._pending is not None

    def ask(self, text: str, image: Any, *, model: str) -> None:
        """Send a question about the plane of `image` that is on screen."""
        if self.busy:
            return
        try:
            checked = checked_text(text)
            if image is None:
                raise QuestionError("no image is open; open a CT or MRI study first (“Open study…”)")
            look = self._screen.look(image)
            pending = _Pending(Question(checked, look.plane), look, model)
            self._send(pending)
        except MedReasonError as error:
            self._report(error)

    def _send(self, pending: _Pending) -> None:
        pending.request = self._engine.ask(
            pending.question,
            model=pending.model,
            on_text=partial(self._on_text, pending),
            on_progress=partial(self._on_progress, pending),
            on_result=partial(self._on_result, pending),
            on_error=partial(self._on_error, pending),
        )
        self._pending = pending
        self._view.set_answer("", "")
        self._view.set_busy(True)

    def cancel(self) -> None:
        """Give up the question; nothing was changed."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        self._view.set_busy(False)
        self._view.show_status("Cancelled; nothing was changed.")
        self._engine.cancel(pending.request)

    def _on_text(self, pending: _Pending, piece: str) -> None:
        if pending is self._pending:
            self._view.append_text(piece)

    def _on_progress(self, pending: _Pending, stage: str, fraction: float | None) -> None:
        if pending is self._pending:
            self._view.show_stage(answer_words.stage_words(stage), fraction)

    def _on_result(self, pending: _Pending, grounding: Grounding) -> None:
        if pending is not self._pending:
            return
        self._pending = None
        self._view.set_busy(False)
        look, question = pending.look, pending.question
        answer = self.session.add(
            question.text, grounding, question.plane, place=look.place, model=pending.model
        )
        self._view.show_status("")
        self._put(replace(answer, layer_names=self._screen.add(answer, look)))

    def _on_error(self, pending: _Pending, error: Exception) -> None:
        if pending is not self._pending:
            return
        self._pending = None
        self._view.set_busy(False)
        cancelled = isinstance(error, CancelledError)
        self._view.show_status(
            "Cancelled; nothing was changed." if cancelled else "No answer; see the message."
        )
        self._report(error)

    def redraw(self, answer_id: str) -> None:
        """The user moved the box or a point: draw the mask of that answer anew; the latest wins."""
        answer = self.session.get(answer_id)
        if answer is None or answer.state is None or not self._screen.has_layers(answer_id):
            return
        if not self._is_moved(answer):
            return
        box, points = self._screen.prompt(answer)
        self._stop_redraw(answer_id)
        if box is None and not points:
            self._view.show_status("Draw a box or a point inside the image to get a mask.")
            return
        segmenter = answer.segmenter(self._segmenters)
        state = PromptState(box, points, answer.state.mask, segmenter=segmenter)
        self._view.show_status(f"Redrawing the mask with “{segmenter}” …")
        try:
            self._redraws[answer_id] = self._engine.segment(
                answer.plane,
                segmenter=segmenter,
                box=box,
                points=points or None,
                labels=(True,) * len(points) or None,
                on_result=partial(self._on_mask, answer_id, state),
                on_error=partial(self._on_mask_error, answer_id, state),
            )
        except MedReasonError as error:
            self._on_mask_error(answer_id, state, error)

    def _stop_redraw(self, answer_id: str) -> None:
        if (request := self._redraws.pop(answer_id, None)) is not None:
            self._engine.cancel(request)

    def _is_latest(self, answer_id: str, state: PromptState) -> bool:
        answer = self.session.get(answer_id)
        return (
            answer is not None
            and self._screen.has_layers(answer_id)
            and self._screen.prompt(answer) == (state.box, state.points)
        )

    def _on_mask(self, answer_id: str, state: PromptState, segmented: Any) -> None:
        if not self._is_latest(answer_id, state):
            return
        self._redraws.pop(answer_id, None)
        answer = self._with_paint(answer_id)
        drawn = PromptState(
            state.box, state.points, segmented.mask, segmenter=segmented.segmenter, score=segmented.score
        )
        self._screen.show_mask(answer, drawn.mask)
        self._put(answer.prompted(drawn))
        self._view.show_status("" if drawn.mask.any() else "Nothing was found inside this box.")

    def _on_mask_error(self, answer_id: str, state: PromptState, error: Exception) -> None:
        if isinstance(error, CancelledError) or not self._is_latest(answer_id, state):
            return
        self._redraws.pop(answer_id, None)
        answer = self.session.get(answer_id)
        if answer is not None and answer.state is not None:
            painted = self._with_paint(answer_id)
            self._screen.show_state(painted, painted.state)
        self._view.show_status("The mask stays as it was; see the message.")
        self._report(error)

    def _with_paint(self, answer_id: str) -> Answer:
        """The answer, with strokes the user painted on its mask kept in the history."""
        answer = self.session.get(answer_id)
        if answer is None:
            raise KeyError(answer_id)
        mask = self._screen.mask(answer)
        return answer if mask is None else answer.painted(mask)

    def undo(self, answer_id: str) -> None:
        """Bring the former box, points and mask back; of a prompt without its mask yet, the shown one."""
        self._step(answer_id, lambda answer: answer if self._is_moved(answer) else answer.undone())

    def _is_moved(self, answer: Answer) -> bool:
        state = answer.state
        return state is not None and self._screen.prompt(answer) != (state.box, state.points)

    def redo(self, answer_id: str) -> None:
        """Bring undone box, points and mask forward again."""
        self._step(answer_id, Answer.redone)

    def _step(self, answer_id: str, move: Callable[[Answer], Answer]) -> None:
        if self.session.get(answer_id) is None or not self._screen.has_layers(answer_id):
            return
        self._stop_redraw(answer_id)
        answer = move(self._with_paint(answer_id))
        self._screen.show_state(answer, answer.state)
        self._put(answer)
        self._view.show_status("")

    def _put(self, answer: Answer) -> None:
        self.session.put(answer)
        self._view.put_row(answer)
        self._show(answer)

    def select(self, answer_id: str) -> None:
        """Show an answer: its words in the dock, its slice and layers in the viewer."""
        if (answer := self.session.get(answer_id)) is not None:
            self._screen.jump(answer)
            self._show(answer)

    def _show(self, answer: Answer) -> None:
        self._shown = answer.id
        self._view.select_row(answer.id)
        self._view.set_answer(answer_words.answer_text(answer), answer_words.provenance_text(answer))
        self._view.set_history(undo=answer.can_undo, redo=answer.can_redo)

    def set_visible(self, answer_id: str, visible: bool) -> None:
        """Show or hide all layers of an answer."""
        self._screen.set_visible(answer_id, visible)

    def delete(self, answer_id: str) -> None:
        """Delete an answer with its layers."""
        self._stop_redraw(answer_id)
        self.session.remove(answer_id)
        self._screen.remove(answer_id)
        self._drop_row(answer_id)

    def forget(self, answer_id: str) -> None:
        """The user deleted the layers of an answer in the layer list."""
        self._stop_redraw(answer_id)
        self.session.remove(answer_id)
        self._drop_row(answer_id)

    def _drop_row(self, answer_id: str) -> None:
        self._view.remove_row(answer_id)
        if answer_id == self._shown:
            self._view.set_answer("", "")
            self._view.set_history(undo=False, redo=False)

    def close(self) -> None:
        """Cancel what is under way."""
        for answer_id in list(self._redraws):
            self._stop_redraw(answer_id)
        pending, self._pending = self._pending, None
        if pending is not None:
            self._engine.cancel(pending.request)
