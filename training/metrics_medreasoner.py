"""The measures of MedReasoner's tables, released and sound, over a test set.

Single answers are read and scored by `napari_medreason.core.released_answers` as released (its pDice reaches
2). A sample without a usable answer, a refusal, stays in every mean as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from napari_medreason.core.released_answers import ReleasedScore

from .measures import circle_overlap


@dataclass(frozen=True)
class Scored:
    """One sample: the released scores of its text, Dice of its mask (0 to 1), and the group it belongs to."""

    answer: ReleasedScore
    true_points: Sequence[Sequence[float]]
    dice: float = 0.0
    group: str = ""


@dataclass(frozen=True)
class Summary:
    """Means over samples, 0 to 1 but for pdice_released (0 to 2).

    pdice: twice the common area over the sum of both circles' areas, a true Dice. refusals: samples
    whose text could not be scored.
    """

    samples: int
    iou: float
    pdice_released: float
    pdice: float
    dice: float
    refusals: int


def summary(samples: Sequence[Scored]) -> Summary:
    """Summary of a test set; scores that are not finite count as 0; ValueError for no sample."""
    if not samples:
        raise ValueError("there are no samples to average over")
    count = len(samples)

    def mean(values: Iterable[float]) -> float:
        return sum(value if isfinite(value) else 0.0 for value in values) / count

    return Summary(
        samples=count,
        iou=mean(sample.answer.iou for sample in samples),
        pdice_released=mean(sample.answer.pdice for sample in samples),
        pdice=mean(map(_circle_dice, samples)),
        dice=mean(sample.dice for sample in samples),
        refusals=sum(sample.answer.failed for sample in samples),
    )


def by_group(samples: Iterable[Scored]) -> Mapping[str, Summary]:
    """A summary for each group, such as each super-category, in alphabetical order."""
    groups: dict[str, list[Scored]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    return {name: summary(groups[name]) for name in sorted(groups)}


def _circle_dice(sample: Scored) -> float:
    if sample.answer.failed:
        return 0.0
    first, second = (_pair(points) for points in (sample.answer.points, sample.true_points))
    return circle_overlap(first, second).dice


def _pair(points: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    (x0, y0, *_), (x1, y1, *_) = points
    return (float(x0), float(y0)), (float(x1), float(y1))
