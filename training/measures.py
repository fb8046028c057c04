"""Measures of one slice and of many: overlaps of boxes, key points and masks, calibration, bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import acos, pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, Point

PointPair = tuple[Point, Point]
BOOTSTRAP_DRAWS = 2_000


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two half-open boxes [x0, y0, x1, y1] in pixels."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    common = max(0.0, wide) * max(0.0, high)
    total = _area(first) + _area(second) - common
    return common / total if total > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


class CircleOverlap(NamedTuple):
    """Overlap of two circles. iou: over the union. dice: twice the overlap over the sum of areas."""

    iou: float
    dice: float


def circle_overlap(first: PointPair, second: PointPair) -> CircleOverlap:
    """Overlap of the circles that have the pairs of key points (x, y) as diameters.

    The measure called pDice by MedReasoner (section 4.1); its released code gives twice the
    intersection over the union, which reaches 2. Here both sound versions are given. Two equal
    single points overlap fully.
    """
    (center_1, radius_1), (center_2, radius_2) = _circle(first), _circle(second)
    if radius_1 == radius_2 == 0:
        same = float(center_1 == center_2)
        return CircleOverlap(same, same)
    distance = sqrt((center_1[0] - center_2[0]) ** 2 + (center_1[1] - center_2[1]) ** 2)
    common = _lens(radius_1, radius_2, distance)
    areas = pi * (radius_1**2 + radius_2**2)
    return CircleOverlap(common / (areas - common), 2 * common / areas)


def _circle(pair: PointPair) -> tuple[Point, float]:
    (x0, y0), (x1, y1) = pair
    return ((x0 + x1) / 2, (y0 + y1) / 2), sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2) / 2


def _lens(radius_1: float, radius_2: float, distance: float) -> float:
    """Common area of two circles (circle-circle intersection, two circular segments)."""
    if distance >= radius_1 + radius_2:
        return 0.0
    if distance <= abs(radius_1 - radius_2):
        return pi * min(radius_1, radius_2) ** 2
    along_1 = (distance**2 + radius_1**2 - radius_2**2) / (2 * distance)
    along_2 = distance - along_1
    return _segment(radius_1, along_1) + _segment(radius_2, along_2)


def _segment(radius: float, along: float) -> float:
    share = min(1.0, max(-1.0, along / radius))
    return radius**2 * acos(share) - along * sqrt(max(0.0, radius**2 - along**2))


class Bin(NamedTuple):
    """One bin of a reliability diagram: number of cases, mean confidence, share that was true."""

    cases: int
    confidence: float
    observed: float


def reliability(confidence: NDArray[np.float64], true: NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """Bins of equal width over confidences (n,) in 0 to 1; empty bins are left out."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [(confidence[index == n], true[index == n]) for n in range(bins)]
    return [Bin(len(c), float(c.mean()), float(t.mean())) for c, t in rows if len(c)]


def expected_calibration_error(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Mean distance between confidence and what was observed, over ten bins, weighted by count."""
    rows = reliability(confidence, true)
    total = sum(row.cases for row in rows)
    return sum(row.cases * abs(row.confidence - row.observed) for row in rows) / total


def f1(there: NDArray[np.bool_], told: NDArray[np.bool_]) -> float | None:
    """F1 of told against there, (n,) each; None when neither is ever true."""
    both, total = int((there & told).sum()), int(there.sum() + told.sum())
    return 2 * both / total if total else None


def interval_by_patient(values: Mapping[str, Sequence[float]], seed: int = 0) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean over patients of their mean values; None for one patient."""
    means = np.array([float(np.mean(list(own))) for own in values.values() if len(own)])
    if len(means) < 2:
        return None
    return percentiles(means[patients_drawn(len(means), BOOTSTRAP_DRAWS, seed)].mean(1))


def patients_drawn(patients: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the patients of each draw of a bootstrap, (draws, patients), with replacement."""
    return np.random.default_rng(seed).integers(0, patients, (draws, patients))


def percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of draws: what lies between their percentiles 2.5 and 97.5."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
