"""The rules of corrections: a moved box or point gives a new mask, and undo brings the former back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from napari_medreason.errors import CancelledError, MedReasonError
from napari_medreason.session import Answer, PromptState, Session

NO_PROMPT = "Draw a box or a point on the slice of this answer, inside the image, to get a mask."
NOTHING_FOUND = "Nothing was found from this prompt."
STRAYS = "What you drew on other slices does not count."


class Shown(Protocol):
    """Where the dock shows the outcome."""

    def put(self, answer: Answer) -> None: ...
    def show_status(self, words: str) -> None: ...
    def report(self, error: Exception) -> None: ...


class Redrawing:
    """Redraws the masks of the answers in a session; the latest prompt of an answer wins.

    screen: a ViewerLayers. engine: an EngineBridge. segmenters: ids that can redraw a mask.
    """

    def __init__(
        self, session: Session, screen: Any, engine: Any, *, shown: Shown, segmenters: frozenset[str]
    ) -> None:
        self._session, self._screen, self._engine = session, screen, engine
        self._shown, self._segmenters = shown, segmenters
        self._requests: dict[str, int] = {}

    def redraw(self, answer_id: str) -> None:
        """The user moved the box or a point: draw the mask of that answer anew."""
        answer = self._session.get(answer_id)
        if answer is None or answer.state is None or not self._screen.has_layers(answer_id):
            return
        self.stop(answer_id)
        if not self._is_moved(answer):
            self._tell_strays(answer)
            return
        box, points = self._screen.prompt(answer)
        if box is None and not points:
            self._shown.show_status(NO_PROMPT)
            return
        segmenter = answer.segmenter(self._segmenters)
        self._request(answer, PromptState(box, points, answer.state.mask, segmenter=segmenter))

    def _request(self, answer: Answer, state: PromptState) -> None:
        self._shown.show_status(f"Redrawing the mask with “{state.segmenter}” …")
        try:
            self._requests[answer.id] = self._engine.segment(
                answer.plane,
                segmenter=state.segmenter,
                box=state.box,
                points=state.points or None,
                labels=(True,) * len(state.points) or None,
                on_result=partial(self._on_mask, answer.id, state),
                on_error=partial(self._on_error, answer.id, state),
            )
        except MedReasonError as error:
            self._on_error(answer.id, state, error)

    def stop(self, answer_id: str) -> None:
        """Give up the mask that is being drawn for an answer, if any."""
        if (request := self._requests.pop(answer_id, None)) is not None:
            self._engine.cancel(request)
            self._shown.show_status("")

    def stop_all(self) -> None:
        """Give up every mask that is being drawn."""
        for answer_id in list(self._requests):
            self.stop(answer_id)

    def _tell_strays(self, answer: Answer) -> None:
        if self._screen.has_strays(answer):
            self._shown.show_status(STRAYS)

    def _is_moved(self, answer: Answer) -> bool:
        state = answer.state
        return state is not None and self._screen.prompt(answer) != (state.box, state.points)

    def _is_latest(self, answer_id: str, state: PromptState) -> bool:
        answer = self._session.get(answer_id)
        return (
            answer is not None
            and self._screen.has_layers(answer_id)
            and self._screen.prompt(answer) == (state.box, state.points)
        )

    def _on_mask(self, answer_id: str, state: PromptState, segmented: Any) -> None:
        if not self._is_latest(answer_id, state):
            return
        self._requests.pop(answer_id, None)
        drawn = PromptState(
            state.box,
            state.points,
            segmented.mask,
            segmenter=segmented.segmenter,
            weights_sha256=segmented.weights_sha256,
            score=segmented.score,
        )
        answer = self._with_paint(answer_id).prompted(drawn)
        self._screen.show_mask(answer)
        self._shown.put(answer)
        self._shown.show_status("" if drawn.mask.any() else NOTHING_FOUND)
        self._tell_strays(answer)

    def _on_error(self, answer_id: str, state: PromptState, error: Exception) -> None:
        if isinstance(error, CancelledError) or not self._is_latest(answer_id, state):
            return
        self._requests.pop(answer_id, None)
        self._screen.show_state(self._with_paint(answer_id))
        self._shown.show_status("The mask stays as it was; see the message.")
        self._shown.report(error)

    def _with_paint(self, answer_id: str) -> Answer:
        """The answer, with strokes the user painted on its mask kept in the history."""
        answer = self._session.get(answer_id)
        if answer is None:
            raise KeyError(answer_id)
        mask = self._screen.mask(answer)
        return answer if mask is None else answer.painted(mask)

    def undo(self, answer_id: str) -> None:
        """Bring the former box, points and mask back; of a prompt without its mask yet, the shown one."""
        self._step(answer_id, lambda answer: answer if self._is_moved(answer) else answer.undone())

    def redo(self, answer_id: str) -> None:
        """Bring undone box, points and mask forward again."""
        self._step(answer_id, Answer.redone)

    def _step(self, answer_id: str, move: Callable[[Answer], Answer]) -> None:
        if self._session.get(answer_id) is None or not self._screen.has_layers(answer_id):
            return
        self.stop(answer_id)
        answer = move(self._with_paint(answer_id))
        self._screen.show_state(answer)
        self._shown.put(answer)
        self._shown.show_status("")
