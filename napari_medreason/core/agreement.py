"""How far two readers' label maps agree: Dice and distances between boundaries, per label.

Boundary: voxels of a label with a face neighbour outside it; what lies at the border of the volume
counts as boundary too. Distances go from each boundary voxel to the nearest one of the other
reader, both ways, in mm between voxel centres. The mean is over the voxels of both boundaries (average
symmetric surface distance); the 95 % distance is the larger of the two directed 95th percentiles
(Maier-Hein et al., Metrics reloaded, Nature Methods 21, 2024).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.runs import Runs, find_runs
from napari_medreason.errors import LabelMapError

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
_PERCENTILE = 95


@dataclass(frozen=True)
class LabelAgreement:
    """Two readers on one label.

    first_voxels, second_voxels: how much each drew. dice: twice the shared voxels over the sum of
    both, 0 to 1. mean_distance_mm, distance_95_mm: None when one of them drew nothing.
    """

    label: int
    first_voxels: int
    second_voxels: int
    dice: float
    mean_distance_mm: float | None
    distance_95_mm: float | None


def agreement(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    *,
    spacing_kji: Spacing,
    labels: Iterable[int] | None = None,
) -> tuple[LabelAgreement, ...]:
    """Agreement on every label that at least one of two readers drew, by ascending label.

    first, second: (k, j, i) label maps of the same grid. spacing_kji: mm. labels: only these.
    LabelMapError when the shapes differ or values are no labels.
    """
    one, two = _checked_pair(first, second)
    boxes = _boxes(find_runs(one), find_runs(two), None if labels is None else frozenset(labels))
    return tuple(
        _compared(label, one[box] == label, two[box] == label, spacing_kji) for label, box in boxes.items()
    )


def mean_dice(rows: Iterable[LabelAgreement]) -> float | None:
    """The mean of the labels' Dice values, None without labels."""
    values = [row.dice for row in rows]
    return sum(values) / len(values) if values else None


def differing_slices(
    first: NDArray[np.generic], second: NDArray[np.generic], *, axis: int = 0
) -> tuple[tuple[int, int], ...]:
    """(slice, voxels on which two readers differ) along an array axis, most first; equal slices left out."""
    one, two = _checked_pair(first, second)
    counts = np.count_nonzero(np.moveaxis(one, axis, 0) != np.moveaxis(two, axis, 0), axis=(1, 2))
    order = np.argsort(-counts, kind="stable")
    return tuple((int(index), int(counts[index])) for index in order if counts[index])


def _checked_pair(first: NDArray[np.generic], second: NDArray[np.generic]) -> tuple[Labels, Labels]:
    if first.shape != second.shape or first.ndim != 3:
        raise LabelMapError(
            f"the readers' label maps have shapes {first.shape} and {second.shape}; two of one 3D grid "
            "are accepted: use those of the same study"
        )
    return checked_labels(first), checked_labels(second)


def _boxes(one: Runs, two: Runs, wanted: frozenset[int] | None) -> dict[int, tuple[slice, slice, slice]]:
    """Each label's box over both readers, one voxel wider so that its boundary is inside."""
    label = np.concatenate([one.label, two.label])
    order = np.argsort(label, kind="stable")
    label = label[order]
    starts = np.flatnonzero(np.append(True, label[1:] != label[:-1])[: label.size])
    sides = []
    for name in ("plane", "row"):
        index = np.concatenate([getattr(one, name), getattr(two, name)])[order]
        sides.append((index, index))
    begin, stop = (np.concatenate([getattr(one, n), getattr(two, n)])[order] for n in ("start", "stop"))
    sides.append((begin, stop - 1))
    if starts.size == 0:
        return {}
    reach = [(np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)) for low, high in sides]
    boxes = {}
    for number, value in enumerate(label[starts].tolist()):
        if wanted is None or value in wanted:
            k, j, i = (slice(max(0, int(low[number]) - 1), int(high[number]) + 2) for low, high in reach)
            boxes[value] = (k, j, i)
    return boxes


def _compared(label: int, one: Mask, two: Mask, spacing: Spacing) -> LabelAgreement:
    drawn = int(np.count_nonzero(one)), int(np.count_nonzero(two))
    shared = int(np.count_nonzero(one & two))
    if not all(drawn):
        return LabelAgreement(label, *drawn, 0.0, None, None)
    there, back = _distances(_boundary_mm(one, spacing), _boundary_mm(two, spacing))
    mean = float(np.concatenate([there, back]).mean())
    farthest = max(float(np.percentile(way, _PERCENTILE)) for way in (there, back))
    return LabelAgreement(label, *drawn, 2 * shared / sum(drawn), mean, farthest)


def _boundary_mm(mask: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """(n, 3) places of the boundary voxels in mm."""
    boundary = mask & ~scipy.ndimage.binary_erosion(mask)
    return np.asarray(np.argwhere(boundary) * np.array(spacing))


def _distances(
    one: NDArray[np.float64], two: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From each place to the nearest of the others, and the other way round, in mm."""
    there, _ = scipy.spatial.KDTree(two).query(one)
    back, _ = scipy.spatial.KDTree(one).query(two)
    return np.asarray(there), np.asarray(back)
