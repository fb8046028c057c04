"""The answers of one viewer, with the history of each answer's prompts; no Qt here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.layers import DisplayedPlane, StudyRef, shown_grid

FALLBACK_SEGMENTER = "embedded"
"""Redraws masks for models that take no box and points themselves."""

_COLOURS = (
    (1.0, 0.76, 0.03),
    (0.13, 0.82, 0.93),
    (0.95, 0.45, 0.82),
    (0.55, 0.90, 0.35),
    (1.0, 0.55, 0.30),
    (0.62, 0.66, 1.0),
    (0.98, 0.93, 0.55),
    (0.35, 0.95, 0.72),
)


@dataclass(frozen=True, eq=False)
class PromptState:
    """One step in the history of an answer: what was drawn, and the mask that it gave.

    box: half-open (x0, y0, x1, y1), points: (x, y), all inside the structure; in the answer's plane.
    mask: (rows, columns) bool. segmenter, weights_sha256: what drew the mask.
    """

    box: Box | None
    points: tuple[Point, ...]
    mask: NDArray[np.bool_]
    segmenter: str = ""
    weights_sha256: str = ""
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Place:
    """Where in a viewer a question was asked.

    notes: what was assumed about the image. world_point: the viewer's position, in the viewer's units.
    """

    study: StudyRef
    image_name: str
    frame: int | None = None
    notes: tuple[str, ...] = ()
    world_point: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """A question with its answer and the prompts drawn since; `history[position]` is shown."""

    id: str
    number: int
    question: str
    grounding: Grounding
    plane: Plane
    place: Place
    model: str
    history: tuple[PromptState, ...] = ()
    position: int = 0

    @property
    def state(self) -> PromptState | None:
        """The prompts and the mask shown; None when nothing was found."""
        return self.history[self.position] if self.history else None

    @property
    def corrected(self) -> bool:
        """Whether the shown mask is another than the model gave."""
        if self.state is None or self.grounding.mask is None:
            return False
        return self.position > 0 or not np.array_equal(self.state.mask, self.grounding.mask)

    @property
    def displayed(self) -> DisplayedPlane:
        """Which plane of the study the answer lies on."""
        return shown_grid(self.grounding.grid, self.place.frame)

    @property
    def colour(self) -> tuple[float, float, float]:
        """(red, green, blue), 0 to 1; neighbouring answers differ."""
        return _COLOURS[(self.number - 1) % len(_COLOURS)]

    @property
    def can_undo(self) -> bool:
        """Whether an earlier prompt can come back."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether an undone prompt can come back."""
        return self.position + 1 < len(self.history)

    def prompted(self, state: PromptState) -> Answer:
        """With a new prompt shown; what had been undone is dropped."""
        kept = self.history[: self.position + 1]
        return replace(self, history=(*kept, state), position=len(kept))

    def painted(self, mask: NDArray[np.bool_]) -> Answer:
        """With the shown mask replaced by what the user painted, so that undo brings it back."""
        if self.state is None or np.array_equal(self.state.mask, mask):
            return self
        history = list(self.history)
        history[self.position] = replace(self.state, mask=mask)
        return replace(self, history=tuple(history))

    def undone(self) -> Answer:
        """One prompt back."""
        return replace(self, position=max(0, self.position - 1))

    def redone(self) -> Answer:
        """One prompt forward again."""
        return replace(self, position=min(len(self.history) - 1, self.position + 1))

    def segmenter(self, known: frozenset[str]) -> str:
        """Which segmenter redraws the mask: the model's own where it has one, else the embedded one.

        known: as from models.redrawing. One with an adapter (`embedded@our-lesions`) is known where its base
        is; a pair that was asked by both ids (`lingshu-7b+medsam`) always has one.
        """
        for name in (self.grounding.provenance.segmenter, self.model):
            base = name.partition("@")[0]
            if base in known or "+" in base:
                return name
        return FALLBACK_SEGMENTER


class Session:
    """The answers of one viewer, oldest first."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._asked = 0

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers.values())

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, answer_id: str) -> Answer | None:
        """The answer with this id, None when it was deleted."""
        return self._answers.get(answer_id)

    def add(self, question: str, grounding: Grounding, plane: Plane, *, place: Place, model: str) -> Answer:
        """Keep a new answer; its first history entry is what the model gave."""
        self._asked += 1
        history: tuple[PromptState, ...] = ()
        if grounding.mask is not None:
            first = PromptState(
                grounding.box,
                grounding.points or (),
                grounding.mask,
                segmenter=grounding.provenance.segmenter or model,
                weights_sha256=grounding.provenance.weights_sha256,
            )
            history = (first,)
        number = self._asked
        answer = Answer(uuid4().hex, number, question, grounding, plane, place, model, history=history)
        self._answers[answer.id] = answer
        return answer

    def put(self, answer: Answer) -> None:
        """Replace an answer by its changed self; a deleted one stays deleted."""
        if answer.id in self._answers:
            self._answers[answer.id] = answer

    def remove(self, answer_id: str) -> None:
        """Forget an answer."""
        self._answers.pop(answer_id, None)
