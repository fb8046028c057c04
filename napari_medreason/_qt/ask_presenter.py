"""The rules of the Ask dock: what happens on each intent of the user. No Qt and no napari here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from napari_medreason._qt import answer_words
from napari_medreason._qt.redrawing import Redrawing
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.question import Question, checked_text
from napari_medreason.errors import CancelledError, MedReasonError, QuestionError
from napari_medreason.session import Answer, Session


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
    """One question that is being answered; watched: its words are shown as they come."""

    question: Question
    look: Any
    model: str
    request: int | None = None
    watched: bool = True


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
        self._report = report
        self._redrawing = Redrawing(self.session, screen, engine, shown=self, segmenters=segmenters)
        self._pending: _Pending | None = None
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
        self._show_former()
        self._engine.cancel(pending.request)

    def _on_text(self, pending: _Pending, piece: str) -> None:
        if pending is self._pending and pending.watched:
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
        self._screen.add(answer, look)
        self.put(answer)

    def _on_error(self, pending: _Pending, error: Exception) -> None:
        if pending is not self._pending:
            return
        self._pending = None
        self._view.set_busy(False)
        cancelled = isinstance(error, CancelledError)
        self._view.show_status(
            "Cancelled; nothing was changed." if cancelled else "No answer; see the message."
        )
        self._show_former()
        self._report(error)

    def redraw(self, answer_id: str) -> None:
        """The user moved the box or a point of an answer."""
        self._redrawing.redraw(answer_id)

    def undo(self, answer_id: str) -> None:
        """Bring the former box, points and mask of an answer back."""
        self._redrawing.undo(answer_id)

    def redo(self, answer_id: str) -> None:
        """Bring undone box, points and mask of an answer forward again."""
        self._redrawing.redo(answer_id)

    def show_status(self, words: str) -> None:
        """One line below the question."""
        self._view.show_status(words)

    def report(self, error: Exception) -> None:
        """Tell the user about a fault."""
        self._report(error)

    def put(self, answer: Answer) -> None:
        """Keep a new or changed answer and show its words."""
        self.session.put(answer)
        self._view.put_row(answer)
        self._show(answer)

    def select(self, answer_id: str) -> None:
        """Go to an answer: its words in the dock, its slice and layers in the viewer."""
        if (answer := self.session.get(answer_id)) is not None:
            self._screen.jump(answer)
            self._show(answer)

    def show(self, answer_id: str) -> None:
        """Show the words of an answer; the viewer stays where it is."""
        if (answer := self.session.get(answer_id)) is not None:
            self._show(answer)

    def _show(self, answer: Answer) -> None:
        if self._pending is not None:
            self._pending.watched = False
        self._shown = answer.id
        self._view.select_row(answer.id)
        self._view.set_answer(answer_words.answer_text(answer), answer_words.provenance_text(answer))
        self._view.set_history(undo=answer.can_undo, redo=answer.can_redo)

    def _show_former(self) -> None:
        """The answer that was shown before a question that gave none; an empty pane before the first."""
        answer = self.session.get(self._shown)
        if answer is None:
            self._show_nothing()
        else:
            self._show(answer)

    def _show_nothing(self) -> None:
        self._shown = ""
        self._view.set_answer("", "")
        self._view.set_history(undo=False, redo=False)

    def set_visible(self, answer_id: str, visible: bool) -> None:
        """Show or hide all layers of an answer."""
        self._screen.set_visible(answer_id, visible)

    def delete(self, answer_id: str) -> None:
        """Delete an answer with its layers."""
        self._screen.remove(answer_id)
        self.forget(answer_id)

    def forget(self, answer_id: str) -> None:
        """Take an answer off the list; its layers are gone."""
        self._redrawing.stop(answer_id)
        self.session.remove(answer_id)
        self._view.remove_row(answer_id)
        if answer_id == self._shown:
            self._show_nothing()

    def close(self) -> None:
        """Cancel what is under way."""
        self._redrawing.stop_all()
        pending, self._pending = self._pending, None
        if pending is not None:
            self._engine.cancel(pending.request)
