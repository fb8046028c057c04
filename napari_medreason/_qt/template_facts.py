"""Facts to try templates on: what a Labels layer shows on the slice before the user, or over all slices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer

from napari_medreason import layers
from napari_medreason._qt import viewer_dims
from napari_medreason.core.body_frame import field_of_view
from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.label_names import LabelName, named
from napari_medreason.core.neighbours import Neighbourhood, contacts, neighbourhoods
from napari_medreason.core.plane import Axis, plane_stack
from napari_medreason.core.region_columns import RegionSettings, columns
from napari_medreason.core.region_facts import brightness_of, facts_of, neighbour_words
from napari_medreason.core.regions import RegionTable, slice_regions
from napari_medreason.core.template_facts import Brightness, Facts, Side
from napari_medreason.core.template_words import definite
from napari_medreason.core.volume import Volume
from napari_medreason.errors import QuestionError
from napari_medreason.layers import DisplayedPlane, StudyRef

MOST_FACTS = 300
"""Regions of a whole layer that are counted at most, evenly spread over labels and slices."""
Around = Mapping[int, Neighbourhood]

_ACROSS: Mapping[Axis, tuple[str, str]] = {
    "axial": ("superior to", "inferior to"),
    "coronal": ("anterior to", "posterior to"),
    "sagittal": ("left of", "right of"),
}
"""Directions that a plane can't show."""
_NUMBER = re.compile(r"^\s*\d+\s+|\s*\[\d+\]\s*$")


@dataclass(frozen=True, eq=False)
class LabelSource:
    """A Labels layer with its study, the names of its labels, and the image it lies on, if there is one."""

    layer: Labels
    study: StudyRef
    image: Image | None
    names: Mapping[int, str]
    frame: int | None = None

    @property
    def volume(self) -> Volume:
        """The labels (k, j, i) with the geometry of the study."""
        return layers.label_volume(self.layer.data, self.study, self.frame)

    def name(self, label: int) -> LabelName:
        """What a label stands for: its given name, else the layer's name where the vocabulary knows it."""
        if given := self.names.get(label, ""):
            return named(given)
        by_layer = named(_NUMBER.sub("", self.layer.name))
        return by_layer if by_layer.structure else LabelName("", f"label {label}")


def has_names(source: LabelSource) -> bool:
    """Whether labels of a layer have a name: one of their own, or the layer's from the vocabulary."""
    return bool(source.names or source.name(0).structure)


def label_layers(viewer: Viewer) -> list[Labels]:
    """The Labels layers of a viewer that can be looked at, top first."""
    return [layer for layer in reversed(viewer.layers) if isinstance(layer, Labels) and not layer.multiscale]


def label_source(viewer: Viewer, layer: Labels) -> LabelSource:
    """A Labels layer tied to the study that it lies on; QuestionError when it has too many axes."""
    images = [one for one in viewer.layers if isinstance(one, Image) and not (one.rgb or one.multiscale)]
    known = [(one, layers.study_of(one)) for one in images if one.ndim in (2, 3, 4)]
    claimed = layers.claimed_study(layer)
    fitting = layers.fitting_studies(layer, [study for _, study in known])
    if claimed is None and fitting and layers.has_own_place(layer):
        claimed = fitting[0]
    study = claimed or layers.study_of(layer)
    image = next((one for one, its in known if _same_grid(its, study) and one.ndim == layer.ndim), None)
    return LabelSource(layer, study, image, layers.label_names(layer))


def _same_grid(one: StudyRef, other: StudyRef) -> bool:
    return one.shape_kji == other.shape_kji and np.allclose(one.affine, other.affine)


def neighbours_of(source: LabelSource) -> Around:
    """What lies beside each label over all slices; nothing where the orientation is unknown.

    Looks at every voxel: a second or more for large volumes.
    """
    volume = source.volume
    if not volume.orientation_known:
        return {}
    table = slice_regions(volume, key_points=False)
    return neighbourhoods(label_extents(table), contacts(volume.voxels, volume.affine))


def facts_on_slice(viewer: Viewer, source: LabelSource, around: Around) -> dict[int, Facts]:
    """Facts by label on the slice on screen; QuestionError or LabelMapError with the reason when none is."""
    dims = viewer.dims
    displayed = layers.displayed_plane(
        source.study,
        order=viewer_dims.own_order(dims.order, source.layer.ndim),
        point_data=viewer_dims.point_data(viewer, source.layer),
        ndisplay=dims.ndisplay,
    )
    source = replace(source, frame=displayed.frame)
    table = _table_of_slice(source.volume, displayed)
    return {int(table.label[row]): _facts(table, row, source, around) for row in range(len(table))}


def _table_of_slice(volume: Volume, displayed: DisplayedPlane) -> RegionTable:
    settings = RegionSettings(displayed.axis, key_points=False)
    geometry = replace(volume, voxels=np.broadcast_to(np.uint8(0), volume.shape_kji))
    found = columns(plane_stack(volume.voxels, geometry, displayed.axis), [displayed.index], settings, {})
    return RegionTable(
        **found,
        geometry=geometry,
        settings=settings,
        spacing_known=volume.calibrated,
        body=field_of_view(geometry) if volume.orientation_known else None,
    )


def facts_of_layer(source: LabelSource) -> list[Facts]:
    """Facts of the regions on all axial slices, `MOST_FACTS` of them at most; slow for large volumes."""
    table = slice_regions(source.volume, key_points=False)
    if not len(table):
        raise QuestionError(f"layer “{source.layer.name}” holds no label; paint one, or choose another layer")
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_FACTS)).round().astype(int))
    around = neighbours_of(source)
    return [_facts(table, int(row), source, around) for row in rows]


def _facts(table: RegionTable, row: int, source: LabelSource, around: Around) -> Facts:
    plain = _named(source, int(table.label[row]))
    facts = facts_of(
        table, row, plain.structure, name=plain.name, side=plain.side, modality=source.study.modality
    )
    return replace(
        facts,
        axis=facts.axis if source.study.orientation_known else "",
        brightness=_brightness(table, row, source),
        neighbours=_neighbours(table, row, source, around),
    )


def _named(source: LabelSource, label: int) -> Facts:
    """What the name of a label alone says."""
    name = source.name(label)
    side: Side = "left" if name.side == "left" else "right" if name.side == "right" else ""
    says_more = any(sign.isdigit() for sign in name.name)  # "vertebra L1" is more than a vertebra
    own = "" if name.structure and not says_more else name.name
    return Facts(name.structure or name.name.replace(" ", "_"), name=own, side=side)


def _brightness(table: RegionTable, row: int, source: LabelSource) -> Brightness:
    if source.image is None:
        return ""
    displayed = DisplayedPlane(table.settings.axis, int(table.slice[row]), source.frame)
    place = layers.slice_index(source.study, displayed)
    grey, shown = np.asarray(source.image.data[place]), np.asarray(source.layer.data[place])
    return brightness_of(grey, shown == table.label[row]) if np.isfinite(grey).all() else ""


def _neighbours(table: RegionTable, row: int, source: LabelSource, around: Around) -> tuple[str, ...]:
    """Places against what is seen on the same slice, in directions that the slice shows, nearest first."""
    label, axis = int(table.label[row]), table.settings.axis
    beside = around.get(label)
    if beside is None:
        return ()
    on_slice = set(table.label[table.slice == table.slice[row]].tolist()) - {label}
    names = {other: definite(_named(source, other)) for other in on_slice}
    shown = tuple(near for near in beside.neighbours if near.direction not in _ACROSS[axis])
    return neighbour_words(replace(beside, neighbours=shown), names)
