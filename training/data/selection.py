"""Which rows of a case's region tables become targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medreason.core.plane import Axis
from napari_medreason.core.regions import RegionTable

from .cases import Labels
from .config import RegionConfig
from .dropped import Dropped

Tables = Mapping[tuple[int, Axis], RegionTable]
"""Region tables by number of the label file and axis."""


@dataclass(frozen=True)
class Row:
    """One row of one table, with what selection needs."""

    layer: int
    axis: Axis
    index: int
    value: int
    row: int


def usable_rows(
    tables: Tables, labels: Sequence[Labels], regions: RegionConfig, dropped: Dropped
) -> list[Row]:
    """The regions with a name and enough pixels; the others are counted."""
    kept: list[Row] = []
    for (layer, axis), table in tables.items():
        for row in range(len(table)):
            value = int(table.label[row])
            reason = _reason_to_drop(table, row, value in labels[layer].names, regions)
            if reason:
                dropped.add(reason)
            else:
                kept.append(Row(layer, axis, int(table.slice[row]), value, row))
    return kept


def _reason_to_drop(table: RegionTable, row: int, is_named: bool, regions: RegionConfig) -> str:
    if not is_named and not regions.unnamed:
        return "region: label without a name"
    if int(table.area_px[row]) < regions.minimum_pixels:
        return f"region: fewer than {regions.minimum_pixels} pixels"
    return ""


def selected_rows(usable: Iterable[Row], regions: RegionConfig, dropped: Dropped) -> list[Row]:
    """Evenly spread slices of each structure, on evenly spread planes."""
    by_structure: dict[tuple[int, str, int], list[Row]] = defaultdict(list)
    for one in usable:
        by_structure[one.layer, one.axis, one.value].append(one)
    kept: list[Row] = []
    for rows in by_structure.values():
        some = spread(rows, regions.slices_per_structure)
        dropped.add("region: beyond slices_per_structure", len(rows) - len(some))
        kept += some
    return _limit_planes(kept, regions.slices_per_case, dropped)


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the rows, evenly spread from the middle outwards; all of them for 0."""
    if count <= 0 or len(rows) <= count:
        return list(rows)
    places = (np.arange(count) + 0.5) * len(rows) / count
    return [rows[int(place)] for place in places]


def _limit_planes(rows: list[Row], count: int, dropped: Dropped) -> list[Row]:
    planes = sorted({(one.axis, one.index) for one in rows})
    wanted = set(spread(planes, count))
    kept = [one for one in rows if (one.axis, one.index) in wanted]
    dropped.add("region: beyond slices_per_case", len(rows) - len(kept))
    return kept


def by_plane(rows: Iterable[Row], wanted: Collection[tuple[Axis, int]]) -> Iterator[list[Row]]:
    """The rows of each wanted (axis, slice), planes and rows in a fixed order."""
    planes: dict[tuple[Axis, int], list[Row]] = defaultdict(list)
    for one in rows:
        if (one.axis, one.index) in wanted:
            planes[one.axis, one.index].append(one)
    for key in sorted(planes):
        yield sorted(planes[key], key=lambda one: (one.layer, one.value))
