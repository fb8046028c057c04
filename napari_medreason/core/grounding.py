"""The answer to a question: words, mask, box, key points, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, PlaneGrid, Point

Status = Literal["found", "absent", "unknown", "outside"]
"""found; absent = looked for and not seen; unknown = the model does not know this structure or
question; outside = the image is not of that body part."""


@dataclass(frozen=True)
class Seconds:
    """Time spent on one answer, in seconds; 0.0 for what was cached."""

    load: float = 0.0
    reason: float = 0.0
    segment: float = 0.0


@dataclass(frozen=True)
class Provenance:
    """What made an answer, enough to make it again.

    weights_sha256: hash of the sorted shard hashes. templated: the words come from a template and
    are not the model's reasoning. evidence: what was measured about this model and structure, one
    line, shown beside the answer. notes: what was changed on the way (clamped box, hidden window).
    """

    model: str
    weights_sha256: str
    seconds: Seconds = Seconds()
    templated: bool = False
    evidence: str = ""
    segmenter: str = ""
    window: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One test of an answer that needs no truth, such as whether the structure lies on its usual side.

    name: one word for programs, such as "mirror" or "side". words: one sentence for the user.
    """

    name: str
    passed: bool
    words: str


@dataclass(frozen=True, eq=False)
class Workings:
    """What an answer was made from, as far as the model tells; for evaluation, not part of the answer.

    box_plane: half-open, points_plane: two (x, y), as proposed before a mask was drawn. probability:
    (rows, columns) float32, 0 to 1, of each pixel of the plane being inside.
    """

    box_plane: Box | None = None
    points_plane: tuple[Point, Point] | None = None
    probability: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Grounding:
    """One answer, in the frame of its result plane (see core.plane).

    mask: (rows, columns) bool, box: half-open (x0, y0, x1, y1), points: two (x, y) inside the mask;
    all None unless the status is "found". confidence: 0 to 1, None when the model has none.
    structure: id in the anatomy vocabulary, "" for none. checks: tests of the answer that were made; a
    failed one belongs where the user reads the answer. workings: not sent by the engine.
    """

    status: Status
    answer: str
    grid: PlaneGrid
    provenance: Provenance
    reasoning: str = ""
    mask: NDArray[np.bool_] | None = None
    box: Box | None = None
    points: tuple[Point, Point] | None = None
    confidence: float | None = None
    structure: str = ""
    suggestions: tuple[str, ...] = field(default=())
    checks: tuple[Check, ...] = ()
    workings: Workings = Workings()

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != self.grid.shape:
            raise ValueError(f"mask is {self.mask.shape}, its plane is {self.grid.shape}")
        if (self.status == "found") != (self.mask is not None):
            raise ValueError(f"status {self.status!r} does not fit mask {self.mask is not None}")

    @property
    def present(self) -> bool:
        """Whether the structure was found."""
        return self.status == "found"


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Tight half-open box (x0, y0, x1, y1) of a (rows, columns) mask, None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
