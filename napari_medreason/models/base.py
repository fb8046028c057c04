"""What a model is to the rest of the program; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding, Status
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.question import Question

OnText = Callable[[str], None]
"""Receives the answer's words as they are made, piece by piece."""
Cancelled = Callable[[], bool]
"""Asked between tokens or steps; True means stop and raise errors.CancelledError."""


@dataclass(frozen=True)
class ModelInfo:
    """One line of the model list. `create` takes the options given to `models.create`.

    weights: ids of the catalogue's weights that it is made of. consequence: the licence in plain words.
    memory: bytes that the parameters alone take, by precision ("fp32", "bf16", "int8", "4bit"); empty if
    unknown. modalities: of the images it was trained on, empty if unknown. remote: the plane and the
    question leave this machine.
    """

    id: str
    title: str
    system: str
    summary: str
    licence: str
    create: Callable[..., GroundingModel] = field(repr=False)
    needs_download: bool = False
    default: bool = False
    weights: tuple[str, ...] = ()
    consequence: str = ""
    memory: Mapping[str, int] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    remote: bool = False


@dataclass(frozen=True)
class Reasoning:
    """What a Reasoner says about a question, in the frame of the question's plane.

    answer: short words for the user. text: the full reasoning. box: half-open (x0, y0, x1, y1),
    points: two (x, y); None unless the status is "found".
    """

    status: Status
    answer: str
    text: str = ""
    box: Box | None = None
    points: tuple[Point, Point] | None = None
    confidence: float | None = None
    structure: str = ""
    templated: bool = False
    evidence: str = ""
    notes: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ScoredMasks:
    """Masks for one prompt, best first.

    logits: (n, rows, columns) float32 in the plane's own pixels; a pixel belongs to the mask where
    the logit is above 0. scores: (n,) the model's own estimate of quality, 0 to 1.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def best(self) -> NDArray[np.bool_]:
        """(rows, columns) mask of the first entry."""
        return np.asarray(self.logits[0] > 0)


@runtime_checkable
class GroundingModel(Protocol):
    """Anything that turns a Question into a Grounding."""

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """Answer one question."""

    def close(self) -> None:
        """Give memory back; the model is not used again."""

    def load_adapter(self, folder: Path) -> None:
        """Load a fine-tuned adapter; ModelUnavailableError when this model takes none."""


@runtime_checkable
class Reasoner(Protocol):
    """Plane and question to reasoning, box and points (the paper's clinical reasoning model)."""

    id: str

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights that answer now; an adapter changes it."""

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """Answer in words, a box and two points."""


@runtime_checkable
class Segmenter(Protocol):
    """Prompts to masks (the paper's anatomical segmentation model)."""

    id: str

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights that answer now; an adapter changes it."""

    def embed(self, plane: Plane) -> Any:
        """Work on the image once; the result is passed to `segment` for every prompt."""

    def segment(
        self,
        embedding: Any,
        *,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        labels: Sequence[bool] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> ScoredMasks:
        """Masks from prompts in plane pixels; `labels` says which points are inside (True)."""

    def propagate(
        self, planes: Sequence[Plane], seed_index: int, seed_mask: NDArray[np.bool_], *, cancelled: Cancelled
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Carry a mask from one plane to its neighbours, nearest first."""


@runtime_checkable
class Prepares(Protocol):
    """What a model, a reasoner or a segmenter may offer beside its work: to load early what it will need."""

    def prepare(self, plane: Plane) -> None:
        """Load what this plane needs, such as the network for its modality; nothing if it is there already.

        WeightsError or ModelUnavailableError when that can't be loaded. A plane that can't be read is no
        fault here.
        """


def prepare(part: object, plane: Plane) -> float:
    """Let a model or a part load what a plane needs, if it offers that; the seconds it took, to 1 ms."""
    if not isinstance(part, Prepares):
        return 0.0
    started = perf_counter()
    part.prepare(plane)
    return round(perf_counter() - started, 3)
