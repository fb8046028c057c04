"""What lies beside a label: which other labels it touches, in which direction, and between which it lies.

Directions are the patient's and come from the boxes of the labels in LPS mm; touching is counted on the
voxels. Neither depends on how the voxels are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine
from napari_medreason.core.label_extents import LabelExtent
from napari_medreason.core.label_values import checked_labels

Direction = Literal["left of", "right of", "posterior to", "anterior to", "superior to", "inferior to"]
_DIRECTIONS: tuple[tuple[Direction, Direction], ...] = (
    ("left of", "right of"),
    ("posterior to", "anterior to"),
    ("superior to", "inferior to"),
)
_OPPOSITE = {one: other for pair in _DIRECTIONS for one, other in (pair, pair[::-1])}

CLEAR_SHARE = 0.5
"""A direction is given when the centres are apart by at least this share of both half sizes together."""
NEAR_MM = 20.0
_SLAB_SLICES = 16

Contacts = Mapping[tuple[int, int], float]
"""Area in mm² over which two labels (smaller one first) share voxel faces."""


@dataclass(frozen=True)
class Neighbour:
    """Another label beside one.

    contact_mm2: area over which they touch, 0 when they don't. gap_mm: distance of their boxes, 0 when
    these overlap. direction: where the one lies as seen from this neighbour ("left of": on the patient's
    left of it); None when no direction is clear.
    """

    label: int
    contact_mm2: float
    gap_mm: float
    direction: Direction | None


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of a label: touching ones by contact area, then others by gap.

    between: pairs of neighbours on opposite sides of the label and in line with it, touching ones first.
    """

    label: int
    neighbours: tuple[Neighbour, ...]
    between: tuple[tuple[int, int], ...]

    @property
    def touching(self) -> tuple[Neighbour, ...]:
        """The neighbours that share a voxel face with the label."""
        return tuple(neighbour for neighbour in self.neighbours if neighbour.contact_mm2 > 0)


def contacts(labels: NDArray[np.generic], affine: Affine) -> dict[tuple[int, int], float]:
    """Area in mm² over which each two labels of a (k, j, i) map touch, over voxel faces.

    affine: (i, j, k) to mm; a face has the area that its two edges span. LabelMapError for values that
    are no labels.
    """
    i, j, k = affine[:3, :3].T
    face_mm2 = [float(np.linalg.norm(np.cross(*edges))) for edges in ((i, j), (i, k), (j, k))]
    found: dict[tuple[int, int], float] = {}
    for first in range(0, labels.shape[0], _SLAB_SLICES):
        slab = checked_labels(labels[first : first + _SLAB_SLICES + 1])
        for axis, area in enumerate(face_mm2):
            # The last slice of a slab is the first of the next; its own faces are counted there.
            own = slab if axis == 0 else slab[:_SLAB_SLICES]
            for pair, count in _pairs(own, axis):
                found[pair] = found.get(pair, 0.0) + count * area
    return found


def _pairs(labels: NDArray[np.integer], axis: int) -> Iterator[tuple[tuple[int, int], int]]:
    moved = np.moveaxis(labels, axis, 0)
    before, after = moved[:-1], moved[1:]
    where = np.nonzero((before != after) & (before != 0) & (after != 0))
    sides = np.sort(np.stack([before[where], after[where]], axis=1).astype(np.int64), axis=1)
    for (one, other), count in zip(*np.unique(sides, axis=0, return_counts=True), strict=True):
        yield (int(one), int(other)), int(count)


def neighbourhoods(
    extents: Sequence[LabelExtent], touching: Contacts, *, near_mm: float = NEAR_MM
) -> dict[int, Neighbourhood]:
    """For each label, what touches it or has its box within `near_mm`, and which labels it lies between.

    touching: from `contacts`. Without a known orientation only touching labels are given, without directions.
    """
    found: dict[int, list[Neighbour]] = {extent.label: [] for extent in extents}
    for one, other in combinations(extents, 2):
        contact = touching.get((min(one.label, other.label), max(one.label, other.label)), 0.0)
        gap = _gap_mm(one, other)
        if contact or gap <= near_mm:
            direction = _direction(one, other)
            back = None if direction is None else _OPPOSITE[direction]
            gap = 0.0 if contact else gap
            found[one.label].append(Neighbour(other.label, contact, gap, direction))
            found[other.label].append(Neighbour(one.label, contact, gap, back))
    by_label = {extent.label: extent for extent in extents}
    return {label: _neighbourhood(by_label, label, beside) for label, beside in found.items()}


def _neighbourhood(extents: Mapping[int, LabelExtent], label: int, beside: list[Neighbour]) -> Neighbourhood:
    ordered = sorted(beside, key=lambda n: (-round(n.contact_mm2, 3), n.gap_mm, n.label))
    in_line = [n for n in ordered if _in_line(extents[label], extents[n.label], n.direction)]
    pairs = [
        (one, other)
        for one, other in combinations(in_line, 2)
        if one.direction is not None and other.direction == _OPPOSITE[one.direction]
    ]
    pairs.sort(key=lambda pair: (sum(n.contact_mm2 == 0 for n in pair), sum(n.gap_mm for n in pair)))
    return Neighbourhood(label, tuple(ordered), tuple((one.label, other.label) for one, other in pairs))


def _in_line(one: LabelExtent, other: LabelExtent, direction: Direction | None) -> bool:
    """Whether, across the axis of a direction, the centre of one label is within the box of the other."""
    if direction is None:
        return False
    across = [axis for axis, words in enumerate(_DIRECTIONS) if direction not in words]
    return all(_holds(one, other, axis) or _holds(other, one, axis) for axis in across)


def _holds(box: LabelExtent, center: LabelExtent, axis: int) -> bool:
    if box.lower_lps is None or box.upper_lps is None or center.position is None:
        return False
    return box.lower_lps[axis] <= center.position.center_lps[axis] <= box.upper_lps[axis]


def _gap_mm(one: LabelExtent, other: LabelExtent) -> float:
    if one.lower_lps is None or one.upper_lps is None or other.lower_lps is None or other.upper_lps is None:
        return float("inf")
    apart = np.maximum(
        np.subtract(one.lower_lps, other.upper_lps), np.subtract(other.lower_lps, one.upper_lps)
    )
    return round(float(np.linalg.norm(np.maximum(apart, 0.0))), 3)


def _direction(one: LabelExtent, other: LabelExtent) -> Direction | None:
    """Where `one` lies as seen from `other`, along the patient axis on which they are clearest apart."""
    if one.position is None or other.position is None or one.size_mm is None or other.size_mm is None:
        return None
    away = np.subtract(one.position.center_lps, other.position.center_lps)
    share = np.round(away / (np.add(one.size_mm, other.size_mm) / 2), 6)
    axis = int(np.argmax(np.abs(share)))
    if abs(share[axis]) < CLEAR_SHARE:
        return None
    return _DIRECTIONS[axis][0 if share[axis] > 0 else 1]
