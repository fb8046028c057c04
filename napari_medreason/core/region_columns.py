"""Boxes, centres, words, areas and key points of regions as parallel arrays; `core.regions` puts them to use.

A region is one label on one slice, as a whole or split into its connected parts. All coordinates are in
the frame of the result plane (see core.plane): pixel centres at integers, half-open boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.keypoints import key_points
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.medpos import Rule, positions
from napari_medreason.core.plane import Axis
from napari_medreason.core.runs import Integers, Runs, connected, find_runs, first_of_each, paint

Components = Literal["all", "largest", "each"]
"""A label on a slice taken whole, only its largest 8-connected part, or each part as its own region."""

_SLAB_PIXELS = 4_000_000
"""About so many pixels are looked at together."""


KnownPoints = Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True)
class RegionSettings:
    """How regions are made; see `regions.slice_regions`."""

    axis: Axis = "axial"
    rule: Rule = "paper"
    near_fraction: float = 0.2
    key_points: bool = True
    components: Components = "all"


@dataclass(frozen=True, eq=False)
class RegionColumns:
    """Parallel arrays, one row per region, sorted by label, slice and part.

    label: int64. slice: int64, 0-based along the voxel axis closest to the normal. part: 0, or the rank of
    the connected part, largest first, ties by the first pixel. component_count: 8-connected parts of the
    label on the slice. box_plane: (n, 4) int64, half-open (x0, y0, x1, y1). center_plane: (n, 2) as the
    rule computes it. centroid_plane: (n, 2) mean of all pixels. position, quadrant: indices into
    medpos.LABELS and medpos.QUADRANTS. area_px: int64. key_points_plane: (n, 2, 2) as two (x, y), NaN when
    not asked for. degenerate: one pixel, so both key points are that pixel. fingerprint: uint64, equal for
    regions of equal pixels.
    """

    label: Integers
    slice: Integers
    part: Integers
    component_count: Integers
    box_plane: Integers
    center_plane: NDArray[np.float64]
    centroid_plane: NDArray[np.float64]
    near_center: NDArray[np.bool_]
    position: NDArray[np.int8]
    quadrant: NDArray[np.int8]
    area_px: Integers
    key_points_plane: NDArray[np.float64]
    degenerate: NDArray[np.bool_]
    fingerprint: NDArray[np.uint64]

    def __len__(self) -> int:
        return int(self.label.size)


@dataclass(frozen=True, eq=False)
class _Grouped:
    """Runs sorted by region; region: one number per run from 0. part, component_count: one per region."""

    runs: Runs
    region: Integers
    part: Integers
    component_count: Integers


def columns(
    stack: NDArray[np.generic], indices: Sequence[int], settings: RegionSettings, known: KnownPoints
) -> dict[str, NDArray[Any]]:
    """The arrays of RegionColumns for some slices of a (slice, row, column) stack of labels, by name.

    known: key points that were found before, by fingerprint. LabelMapError for values that are no labels.
    """
    slabs = [_slab_columns(runs, stack.shape[1:], settings, known) for runs in _slab_runs(stack, indices)]
    return merged(slabs or [_slab_columns(find_runs(np.zeros((0, 1, 1), int)), (1, 1), settings, known)])


def merged(
    tables: Sequence[dict[str, NDArray[Any]]], kept: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[Any]]:
    """The rows of several tables in the order of RegionColumns; `kept` tells which, all by default."""
    joined = {
        field.name: np.concatenate([table[field.name] for table in tables]) for field in fields(RegionColumns)
    }
    rows = np.arange(joined["label"].size) if kept is None else np.flatnonzero(kept)
    order = rows[np.lexsort([joined[name][rows] for name in ("part", "slice", "label")])]
    return {name: values[order] for name, values in joined.items()}


def _slab_runs(stack: NDArray[np.generic], indices: Sequence[int]) -> Iterator[Runs]:
    """Runs of a few slices at a time, with the index of their slice as `plane`."""
    thickness = max(1, _SLAB_PIXELS // max(1, stack.shape[1] * stack.shape[2]))
    chosen = np.asarray(indices, np.int64)
    for first in range(0, chosen.size, thickness):
        part = chosen[first : first + thickness]
        whole = part[-1] - part[0] + 1 == part.size
        slab = stack[part[0] : part[-1] + 1] if whole else stack[part]
        runs = find_runs(checked_labels(slab))
        yield Runs(runs.label, part[runs.plane], runs.row, runs.start, runs.stop)


def _slab_columns(
    runs: Runs, shape: tuple[int, ...], settings: RegionSettings, known: KnownPoints
) -> dict[str, NDArray[Any]]:
    groups = _grouped(runs, settings.components)
    runs, first = groups.runs, first_of_each(groups.region)
    end = np.append(first[1:], groups.region.size)
    box, area, moment = _box(runs, first, end), _sums(runs.length, first), _moment(runs, first)
    marks = _sums(_mixed(runs), first)
    points = np.full((first.size, 2, 2), np.nan)
    if settings.key_points:
        points = _key_points(runs, first, end, marks, known)
    found = positions(box, shape, rule=settings.rule, near_fraction=settings.near_fraction)
    return {
        "label": runs.label[first],
        "slice": runs.plane[first],
        "part": groups.part,
        "component_count": groups.component_count,
        "box_plane": box,
        "center_plane": found.center,
        "centroid_plane": moment / (2.0 * area[:, None]),
        "near_center": found.near_center,
        "position": found.label,
        "quadrant": found.quadrant,
        "area_px": area,
        "key_points_plane": points,
        "degenerate": area == 1,
        "fingerprint": marks,
    }


def _grouped(runs: Runs, components: Components) -> _Grouped:
    order = np.lexsort((runs.plane, runs.label))  # stable, so rows stay in order
    runs = runs[order]
    new = (runs.label[1:] != runs.label[:-1]) | (runs.plane[1:] != runs.plane[:-1])
    region = np.concatenate([np.zeros(min(1, order.size), np.int64), np.cumsum(new)])
    part_of_run = connected(runs, region)
    first_run = np.unique(part_of_run, return_index=True)[1]
    region_of_part = region[first_run]
    counts = np.bincount(region_of_part)
    if components == "all":
        return _Grouped(runs, region, np.zeros(counts.size, np.int64), counts)
    area = np.bincount(part_of_run, weights=runs.length)
    by_size = np.lexsort((first_run, -area, region_of_part))
    rank = np.empty(by_size.size, np.int64)
    rank[by_size] = np.arange(by_size.size)
    rank -= (np.cumsum(counts) - counts)[region_of_part]
    return _split(runs, part_of_run, (region_of_part, rank, counts), largest=components == "largest")


def _split(
    runs: Runs, part_of_run: Integers, parts: tuple[Integers, Integers, Integers], *, largest: bool
) -> _Grouped:
    """Regions by connected part; parts: region and rank of each part, number of parts of each region."""
    region_of_part, rank, counts = parts
    order = np.lexsort((rank[part_of_run], region_of_part[part_of_run]))
    if largest:
        order = order[rank[part_of_run[order]] == 0]
    part = part_of_run[order]
    first = first_of_each(part)
    region = np.repeat(np.arange(first.size), np.diff(np.append(first, part.size)))
    return _Grouped(runs[order], region, rank[part[first]], counts[region_of_part[part[first]]])


def _sums(values: NDArray[Any], first: Integers) -> NDArray[Any]:
    return np.add.reduceat(values, first) if first.size else values[:0]


def _box(runs: Runs, first: Integers, end: Integers) -> Integers:
    if first.size == 0:
        return np.zeros((0, 4), np.int64)
    left, right = np.minimum.reduceat(runs.start, first), np.maximum.reduceat(runs.stop, first)
    return np.stack([left, runs.row[first], right, runs.row[end - 1] + 1], axis=1)


def _moment(runs: Runs, first: Integers) -> Integers:
    """Twice the sums of x and of y over all pixels, (n, 2), in whole numbers."""
    twice_x = runs.length * (runs.start + runs.stop - 1)
    return np.stack([_sums(twice_x, first), _sums(2 * runs.length * runs.row, first)], axis=1)


def _mixed(runs: Runs) -> NDArray[np.uint64]:
    """One well-spread number per run (the mixing steps of SplitMix64, Steele et al. 2014)."""
    value = ((runs.row << 42) ^ (runs.start << 21) ^ runs.stop).astype(np.uint64)
    value += np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _key_points(
    runs: Runs, first: Integers, end: Integers, marks: NDArray[np.uint64], known: KnownPoints
) -> NDArray[np.float64]:
    """Key points of every region, each found in the crop of its box unless known."""
    points = np.empty((first.size, 2, 2))
    for row, mark in enumerate(marks.tolist()):
        if mark in known:
            points[row] = known[mark]
            continue
        region = runs[first[row] : end[row]]
        left, top = int(region.start.min()), int(region.row[0])
        crop = paint(region, (int(region.row[-1]) + 1 - top, int(region.stop.max()) - left), (left, top))
        points[row] = np.add(key_points(crop), (left, top))
    return points
