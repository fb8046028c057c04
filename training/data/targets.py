"""The labelled regions of a case that become records: one structure on one plane each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medreason.core.label_names import LabelName, named
from napari_medreason.core.medpos import Rule
from napari_medreason.core.plane import Axis, Box, PlaneGrid, Point
from napari_medreason.core.record import ImageReference, PositionWords
from napari_medreason.core.regions import RegionTable, slice_regions
from napari_medreason.core.template_facts import Brightness, Facts, Side

from .cases import Labels, LoadedCase
from .config import BuildConfig, RegionConfig
from .dropped import Dropped

_RING = 4
"""Width in pixels of the surroundings that a region's brightness is compared with."""
_CLEAR_DIFFERENCE = 0.5
"""Difference of means, in standard deviations of the surroundings, that an eye sees at once."""


@dataclass(frozen=True, eq=False)
class Target:
    """One region. mask: (rows, columns) bool in the result plane; boxes and points in that frame.

    image: where it lies. facts: what templates may say about it. patient: position in the patient as
    JSON values, None when the orientation is unknown.
    """

    image: ImageReference
    value: int
    name: LabelName
    mask: NDArray[np.bool_]
    box_plane: Box
    key_points_plane: tuple[Point, Point]
    position: PositionWords
    patient: dict[str, Any] | None
    facts: Facts


@dataclass(frozen=True)
class _Row:
    """One row of one table, with what selection needs."""

    layer: int
    axis: Axis
    index: int
    value: int
    row: int


def planes_of(loaded: LoadedCase, config: BuildConfig, dropped: Dropped) -> Iterator[tuple[Target, ...]]:
    """The kept targets of a case, those of one plane together, in order of axis and slice."""
    tables = {
        (number, axis): _table(layer, loaded, axis, config)
        for number, layer in enumerate(loaded.labels)
        for axis in _axes(loaded, config.regions)
    }
    rows = _selected(tables, loaded.labels, config.regions, dropped)
    for plane in _by_plane(rows):
        targets = [_target(tables[one.layer, one.axis], one, loaded, config.rule) for one in plane]
        yield tuple(_with_neighbours(targets))


def _axes(loaded: LoadedCase, regions: RegionConfig) -> tuple[Axis, ...]:
    """A single picture has one plane, whatever is asked for."""
    return regions.axes if loaded.volume.shape_kji[0] > 1 else ("axial",)


def _table(layer: Labels, loaded: LoadedCase, axis: Axis, config: BuildConfig) -> RegionTable:
    labels = replace(loaded.volume, voxels=layer.voxels)
    return slice_regions(labels, axis=axis, rule=config.rule, near_fraction=config.near_fraction)


def _selected(
    tables: dict[tuple[int, Axis], RegionTable],
    labels: Sequence[Labels],
    regions: RegionConfig,
    dropped: Dropped,
) -> list[_Row]:
    kept: list[_Row] = []
    for (layer, axis), table in tables.items():
        by_value: dict[int, list[_Row]] = defaultdict(list)
        for row in range(len(table)):
            value = int(table.label[row])
            reason = _reason_to_drop(table, row, value in labels[layer].names, regions)
            if reason:
                dropped.add(reason)
            else:
                by_value[value].append(_Row(layer, axis, int(table.slice[row]), value, row))
        for rows in by_value.values():
            some = spread(rows, regions.slices_per_structure)
            dropped.add("region: beyond slices_per_structure", len(rows) - len(some))
            kept += some
    return _limit_planes(kept, regions.slices_per_case, dropped)


def _reason_to_drop(table: RegionTable, row: int, is_named: bool, regions: RegionConfig) -> str:
    if not is_named and not regions.unnamed:
        return "region: label without a name"
    if int(table.area_px[row]) < regions.minimum_pixels:
        return f"region: fewer than {regions.minimum_pixels} pixels"
    return ""


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the rows, evenly spread from the middle outwards; all of them for 0."""
    if count <= 0 or len(rows) <= count:
        return list(rows)
    places = (np.arange(count) + 0.5) * len(rows) / count
    return [rows[int(place)] for place in places]


def _limit_planes(rows: list[_Row], count: int, dropped: Dropped) -> list[_Row]:
    planes = sorted({(one.axis, one.index) for one in rows})
    wanted = set(spread(planes, count))
    kept = [one for one in rows if (one.axis, one.index) in wanted]
    dropped.add("region: beyond slices_per_case", len(rows) - len(kept))
    return kept


def _by_plane(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    planes: dict[tuple[str, int], list[_Row]] = defaultdict(list)
    for one in rows:
        planes[one.axis, one.index].append(one)
    for key in sorted(planes):
        yield sorted(planes[key], key=lambda one: (one.layer, one.value))


def _target(table: RegionTable, one: _Row, loaded: LoadedCase, rule: Rule) -> Target:
    layer, row, grid = loaded.labels[one.layer], one.row, table.grid(one.row)
    name = named(layer.names.get(one.value, f"label {one.value}"))
    mask = np.asarray(grid.take(layer.voxels) == one.value)
    patient = table.patient(row)
    points = [(float(x), float(y)) for x, y in table.key_points_plane[row]]
    x0, y0, x1, y1 = (float(edge) for edge in table.box_plane[row])
    words = PositionWords(rule, table.words(row), bool(table.near_center[row]))
    return Target(
        image=_reference(loaded, layer, grid),
        value=one.value,
        name=name,
        mask=mask,
        box_plane=(x0, y0, x1, y1),
        key_points_plane=(points[0], points[1]),
        position=words,
        patient=None if patient is None else patient.as_json(),
        facts=_facts(table, row, loaded, name, _brightness(loaded, grid, mask)),
    )


def _reference(loaded: LoadedCase, layer: Labels, grid: PlaneGrid) -> ImageReference:
    volume = loaded.volume
    return ImageReference(
        path=loaded.case.image,
        mask_path=layer.path,
        axis=grid.axis,
        index=grid.index,
        shape=grid.shape,
        spacing=(round(grid.spacing[0], 6), round(grid.spacing[1], 6)),
        orientation=grid.orientation,
        modality=loaded.case.modality or (volume.modality if loaded.has_pixels else ""),
    )


def _facts(
    table: RegionTable, row: int, loaded: LoadedCase, name: LabelName, brightness: Brightness
) -> Facts:
    grid = table.grid(row)
    x0, y0, x1, y1 = (float(edge) for edge in table.box_plane[row])
    side: Side = "left" if name.side == "left" else "right" if name.side == "right" else ""
    patient = table.patient(row)
    own_name = "" if name.structure and _is_plain(name) else name.name
    return Facts(
        structure=name.structure or name.name.replace(" ", "_"),
        name=own_name,
        side=side,
        modality=loaded.case.modality or (loaded.volume.modality if loaded.has_pixels else ""),
        axis=grid.axis if grid.orientation else "",
        position=table.words(row),
        quadrant=table.quadrant_words(row),
        near_center=bool(table.near_center[row]),
        image_shape=grid.shape,
        box_plane=(x0, y0, x1, y1),
        spacing=grid.spacing if table.spacing_known else None,
        area_px=int(table.area_px[row]),
        component_count=int(table.component_count[row]),
        brightness=brightness,
        patient_side=getattr(patient, "side", "") or "",
    )


def _is_plain(name: LabelName) -> bool:
    """Whether the label says no more than the vocabulary's name, as "vertebra L1" does."""
    return not any(character.isdigit() for character in name.name)


def _brightness(loaded: LoadedCase, grid: PlaneGrid, mask: NDArray[np.bool_]) -> Brightness:
    """A region's mean grey value against a ring around it; "" without an image or without a ring."""
    if not loaded.has_pixels:
        return ""
    image = np.asarray(grid.take(loaded.volume.voxels), np.float64)
    ring = ndimage.binary_dilation(mask, iterations=_RING) & ~mask & np.isfinite(image)
    inside = mask & np.isfinite(image)
    if ring.sum() < 5 or not inside.any():
        return ""
    around = image[ring]
    difference = (image[inside].mean() - around.mean()) / max(float(around.std()), 1e-6)
    if abs(difference) < _CLEAR_DIFFERENCE:
        return "similar"
    return "brighter" if difference > 0 else "darker"


def _with_neighbours(targets: Sequence[Target]) -> Iterator[Target]:
    """Each target with the phrase of its nearest other structure on the plane, such as "below the liver"."""
    yield from targets


def beside(target: Target, plane: Sequence[Target]) -> tuple[Target, ...]:
    """The other targets of the same plane."""
    return tuple(other for other in plane if other is not target)
