"""What a run has told so far: its curves, warnings and end, from events as they come. No Qt here."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.run_folder import RunEvent

Group = Literal["training", "validation"]
CurveName = tuple[Group, str]
"""Where a curve belongs, and its name; a loss and a validation value may have the same name."""
MOST_POINTS = 1000
"""Points that a curve is drawn with; more than a dock has pixels."""
_RECENT = 40
_GROUPS: dict[str, Group] = {"step": "training", "evaluation": "validation"}


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve as it is drawn: three (n,) float64 arrays."""

    steps: NDArray[np.float64]
    minutes: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass
class _Points:
    """Plain numbers, which the garbage collector has no need to look at."""

    steps: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def drop_after(self, step: int) -> None:
        while self.steps and self.steps[-1] > step:
            for values in (self.steps, self.seconds, self.values):
                values.pop()


class RunHistory:
    """Gathers events in the order they were written.

    warnings: in their order. end: the words of the last end, "" while there is none. total_steps: that the
    run plans, 0 when it did not say. changed: whether a curve grew or shrank since `curves` was called.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.end = ""
        self.step, self.seconds, self.total_steps = 0, 0.0, 0
        self.changed = True
        self._curves: dict[CurveName, _Points] = {}
        self._recent: list[tuple[int, float]] = []

    def add(self, events: Iterable[RunEvent]) -> None:
        """Take note of more events; a run that begins again takes back what came after its checkpoint."""
        for event in events:
            self.step, self.seconds = event.step, event.seconds
            if event.kind == "start":
                self._begin(event)
            elif event.kind == "warning" and event.words not in self.warnings:
                self.warnings.append(event.words)
            elif event.kind == "end":
                self.end = event.words
            elif event.kind in _GROUPS:
                self._plot(event, _GROUPS[event.kind])

    def _begin(self, event: RunEvent) -> None:
        self.end, self._recent = "", [(event.step, event.seconds)]
        self.total_steps = int(event.values.get("steps", self.total_steps))
        for points in self._curves.values():
            points.drop_after(event.step)
        self.changed = True

    def _plot(self, event: RunEvent, group: Group) -> None:
        for name, value in event.values.items():
            points = self._curves.setdefault((group, name), _Points())
            points.steps.append(event.step)
            points.seconds.append(event.seconds)
            points.values.append(value)
        self._recent = [*self._recent[-_RECENT:], (event.step, event.seconds)]
        self.changed = True

    @property
    def seconds_per_step(self) -> float | None:
        """Of the last steps, with the evaluations between them; None before there are two points."""
        if len(self._recent) < 2:
            return None
        (first, began), (last, ended) = self._recent[0], self._recent[-1]
        return (ended - began) / (last - first) if last > first else None

    def curves(self) -> dict[CurveName, Curve]:
        """All curves, thinned for drawing."""
        self.changed = False
        return {name: _drawn(points) for name, points in self._curves.items() if points.steps}


def _drawn(points: _Points) -> Curve:
    steps, seconds, values = (
        np.array(part, np.float64) for part in (points.steps, points.seconds, points.values)
    )
    kept = thinned(values)
    return Curve(steps[kept], seconds[kept] / 60, values[kept])


def thinned(values: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Ascending indices, at most `most`, that keep both ends and the extremes of each stretch."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 2, dtype=np.intp)[:-1]
    finite = np.nan_to_num(values, nan=0.0)
    stretches = np.repeat(np.arange(len(edges)), np.diff(np.append(edges, len(values))))
    order = np.lexsort((finite, stretches))
    kept = np.concatenate([order[edges], order[np.append(edges[1:], len(values)) - 1], [0, len(values) - 1]])
    return np.unique(kept)


def seconds_left(history: RunHistory, *, total_steps: int, budget_minutes: float) -> float | None:
    """How long a run still takes by its steps and its minutes, whichever ends it first; None when unknown."""
    candidates = []
    per_step = history.seconds_per_step
    if per_step is not None and total_steps:
        candidates.append(max(0, total_steps - history.step) * per_step)
    if budget_minutes:
        candidates.append(max(0.0, 60 * budget_minutes - history.seconds))
    return min(candidates, default=None)
