"""The labelled regions of a case that become records: one structure on one plane each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.label_names import LabelName, named
from napari_medreason.core.medpos import Rule
from napari_medreason.core.neighbours import Neighbourhood, contacts, neighbourhoods
from napari_medreason.core.plane import Axis, Box, PlaneGrid, Point
from napari_medreason.core.record import ImageReference, PositionWords
from napari_medreason.core.region_facts import brightness_of, facts_of, neighbour_words
from napari_medreason.core.regions import RegionTable, slice_regions
from napari_medreason.core.template_facts import Brightness, Facts, Side
from napari_medreason.core.template_slots import render

from .cases import Labels, LoadedCase
from .config import BuildConfig, RegionConfig
from .dropped import Dropped
from .selection import Row, by_plane, selected_rows, usable_rows


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


@dataclass(frozen=True, eq=False)
class PlaneTargets:
    """The regions of one plane. chosen: those that become records. seen: every named one, to refer to."""

    chosen: tuple[Target, ...]
    seen: tuple[Target, ...]

    def beside(self, target: Target) -> tuple[Target, ...]:
        """The other regions of the plane."""
        return tuple(other for other in self.seen if other is not target)


def planes_of(loaded: LoadedCase, config: BuildConfig, dropped: Dropped) -> Iterator[PlaneTargets]:
    """The kept targets of a case by plane, in order of axis and slice."""
    axes = _axes(loaded, config.regions)
    tables = {
        (number, axis): _table(layer, loaded, axis, config)
        for number, layer in enumerate(loaded.labels)
        for axis in axes
    }
    around = [_around(tables[number, axes[0]], layer, loaded) for number, layer in enumerate(loaded.labels)]
    usable = usable_rows(tables, loaded.labels, config.regions, dropped)
    kept = set(selected_rows(usable, config.regions, dropped))
    for plane in by_plane(usable, {(one.axis, one.index) for one in kept}):
        targets = [_target(tables[one.layer, one.axis], one, loaded, config.rule) for one in plane]
        seen = tuple(_with_neighbours(targets, plane, around))
        chosen = tuple(target for target, one in zip(seen, plane, strict=True) if one in kept)
        yield PlaneTargets(chosen, seen)


def _axes(loaded: LoadedCase, regions: RegionConfig) -> tuple[Axis, ...]:
    """A single picture has one plane, whatever is asked for."""
    return regions.axes if loaded.volume.shape_kji[0] > 1 else ("axial",)


def _table(layer: Labels, loaded: LoadedCase, axis: Axis, config: BuildConfig) -> RegionTable:
    labels = replace(loaded.volume, voxels=layer.voxels)
    return slice_regions(labels, axis=axis, rule=config.rule, near_fraction=config.near_fraction)


def _target(table: RegionTable, one: Row, loaded: LoadedCase, rule: Rule) -> Target:
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
        facts=replace(_facts(table, row, loaded, name), brightness=_brightness(loaded, grid, mask)),
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


def _facts(table: RegionTable, row: int, loaded: LoadedCase, name: LabelName) -> Facts:
    side: Side = "left" if name.side == "left" else "right" if name.side == "right" else ""
    facts = facts_of(
        table,
        row,
        name.structure or name.name.replace(" ", "_"),
        name="" if name.structure and _is_plain(name) else name.name,
        side=side,
        modality=loaded.case.modality or (loaded.volume.modality if loaded.has_pixels else ""),
    )
    return facts if table.grid(row).orientation else replace(facts, axis="")


def _is_plain(name: LabelName) -> bool:
    """Whether the label says no more than the vocabulary's name, as "vertebra L1" does."""
    return not any(character.isdigit() for character in name.name)


def _brightness(loaded: LoadedCase, grid: PlaneGrid, mask: NDArray[np.bool_]) -> Brightness:
    """Grey level against the surroundings; "" without an image or where a value is not finite."""
    if not loaded.has_pixels:
        return ""
    image = np.asarray(grid.take(loaded.volume.voxels), np.float64)
    return brightness_of(image, mask) if np.isfinite(image).all() else ""


Around = Mapping[int, Neighbourhood]


def _around(table: RegionTable, layer: Labels, loaded: LoadedCase) -> Around:
    """What lies beside each label of a layer; nothing where the orientation is unknown."""
    if not loaded.volume.orientation_known or len(layer.names) < 2:
        return {}
    return neighbourhoods(label_extents(table), contacts(layer.voxels, loaded.volume.affine))


def _with_neighbours(
    targets: Sequence[Target], rows: Sequence[Row], around: Sequence[Around]
) -> Iterator[Target]:
    """Each target with the places of the structures beside it that are seen on the same plane."""
    for target, one in zip(targets, rows, strict=True):
        beside = around[one.layer].get(one.value)
        if beside is None:
            yield target
            continue
        names = {
            other.value: render("{structure}", neighbour.facts)
            for neighbour, other in zip(targets, rows, strict=True)
            if other.layer == one.layer and other.value != one.value
        }
        across = _ACROSS[one.axis]
        in_plane = tuple(near for near in beside.neighbours if near.direction not in across)
        words = neighbour_words(replace(beside, neighbours=in_plane), names)
        yield replace(target, facts=replace(target.facts, neighbours=words))


_ACROSS: Mapping[Axis, tuple[str, str]] = {
    "axial": ("superior to", "inferior to"),
    "coronal": ("anterior to", "posterior to"),
    "sagittal": ("left of", "right of"),
}
"""Directions that can't be seen on a plane."""
