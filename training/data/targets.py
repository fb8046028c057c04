"""The labelled regions of a case that become records: one structure on one plane each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.keypoints import key_points
from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.label_names import LabelName, named
from napari_medreason.core.neighbours import Neighbourhood, contacts, neighbourhoods
from napari_medreason.core.plane import Axis, Box, PlaneGrid, Point
from napari_medreason.core.record import ImageReference, PositionWords
from napari_medreason.core.region_facts import brightness_of, facts_of, neighbour_words
from napari_medreason.core.regions import RegionTable, slice_regions
from napari_medreason.core.template_facts import Brightness, Facts, Side
from napari_medreason.core.template_words import definite

from .cases import Labels, LoadedCase
from .config import BuildConfig, RegionConfig
from .dropped import Dropped
from .selection import Row, Tables, by_plane, selected_rows, usable_rows


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


class PlaneTargets:
    """The regions of one plane. chosen: those that become records. seen: every named one, to refer to.

    Only what is asked for is made: most regions of a volume are never looked at.
    """

    def __init__(self, rows: Sequence[Row], kept: Collection[Row], make: Callable[[Row], Target]) -> None:
        self._rows, self._kept, self._make = rows, kept, make

    @cached_property
    def _chosen(self) -> dict[Row, Target]:
        return {one: self._make(one) for one in self._rows if one in self._kept}

    @property
    def chosen(self) -> tuple[Target, ...]:
        """Those that become records, by label."""
        return tuple(self._chosen.values())

    @cached_property
    def seen(self) -> tuple[Target, ...]:
        """All of them, by label; the chosen ones are the same objects."""
        return tuple(self._chosen.get(one) or self._make(one) for one in self._rows)

    def beside(self, target: Target) -> tuple[Target, ...]:
        """The other regions of the plane."""
        return tuple(other for other in self.seen if other is not target)


def planes_of(
    loaded: LoadedCase, config: BuildConfig, dropped: Dropped, *, neighbours: bool = True
) -> Iterator[PlaneTargets]:
    """The kept targets of a case by plane, in order of axis and slice.

    neighbours: whether facts name the structures beside a target, which takes a look at every voxel.
    """
    axes = _axes(loaded, config.regions)
    tables = {
        (number, axis): _table(layer, loaded, axis, config)
        for number, layer in enumerate(loaded.labels)
        for axis in axes
    }
    around = [
        _around(tables[number, axes[0]], layer, loaded) if neighbours else {}
        for number, layer in enumerate(loaded.labels)
    ]
    usable = usable_rows(tables, loaded.labels, config.regions, dropped)
    kept = set(selected_rows(usable, config.regions, dropped))
    for plane in by_plane(usable, {(one.axis, one.index) for one in kept}):
        yield PlaneTargets(plane, kept, partial(_target, tables, loaded, around, plane))


def _axes(loaded: LoadedCase, regions: RegionConfig) -> tuple[Axis, ...]:
    """A single picture has one plane, whatever is asked for."""
    return regions.axes if loaded.volume.shape_kji[0] > 1 else ("axial",)


def _table(layer: Labels, loaded: LoadedCase, axis: Axis, config: BuildConfig) -> RegionTable:
    labels = replace(loaded.volume, voxels=layer.voxels)
    fraction = config.near_fraction
    return slice_regions(labels, axis=axis, rule=config.rule, near_fraction=fraction, key_points=False)


def _target(
    tables: Tables, loaded: LoadedCase, around: Sequence[Around], plane: Sequence[Row], one: Row
) -> Target:
    table, layer, row = tables[one.layer, one.axis], loaded.labels[one.layer], one.row
    grid, name = table.grid(row), _name(layer, one.value)
    mask = np.asarray(grid.take(layer.voxels) == one.value)
    patient = table.patient(row)
    x0, y0, x1, y1 = (float(edge) for edge in table.box_plane[row])
    facts = _facts(table, row, loaded, name)
    return Target(
        image=_reference(loaded, layer, grid),
        value=one.value,
        name=name,
        mask=mask,
        box_plane=(x0, y0, x1, y1),
        key_points_plane=key_points(mask),
        position=PositionWords(table.settings.rule, table.words(row), bool(table.near_center[row])),
        patient=None if patient is None else patient.as_json(),
        facts=replace(
            facts,
            brightness=_brightness(loaded, grid, mask),
            neighbours=_neighbours(one, plane, layer, around[one.layer]),
        ),
    )


def _name(layer: Labels, value: int) -> LabelName:
    return named(layer.names.get(value, f"label {value}"))


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
    plain = _name_facts(name)
    facts = facts_of(
        table,
        row,
        plain.structure,
        name=plain.name,
        side=plain.side,
        modality=loaded.case.modality or (loaded.volume.modality if loaded.has_pixels else ""),
    )
    return facts if table.grid(row).orientation else replace(facts, axis="")


def _name_facts(name: LabelName) -> Facts:
    """What a label's name alone says."""
    side: Side = "left" if name.side == "left" else "right" if name.side == "right" else ""
    own_name = "" if name.structure and _is_plain(name) else name.name
    return Facts(name.structure or name.name.replace(" ", "_"), name=own_name, side=side)


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


def _neighbours(one: Row, plane: Sequence[Row], layer: Labels, around: Around) -> tuple[str, ...]:
    """Places against the structures beside one that are seen on the same plane, nearest first."""
    beside = around.get(one.value)
    if beside is None:
        return ()
    names = {
        other.value: definite(_name_facts(_name(layer, other.value)))
        for other in plane
        if other.layer == one.layer and other.value != one.value
    }
    in_plane = tuple(near for near in beside.neighbours if near.direction not in _ACROSS[one.axis])
    return neighbour_words(replace(beside, neighbours=in_plane), names)


_ACROSS: Mapping[Axis, tuple[str, str]] = {
    "axial": ("superior to", "inferior to"),
    "coronal": ("anterior to", "posterior to"),
    "sagittal": ("left of", "right of"),
}
"""Directions that can't be seen on a plane."""
