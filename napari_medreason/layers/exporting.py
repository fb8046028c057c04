"""What layers of the viewer mean on their study: drawings and images that can be exported.

The geometry comes from a layer's transform and the study that lies there, never from its metadata alone:
other programs copy metadata, and napari's own new Labels layers have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.label_names import named
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError
from napari_medreason.io.exports import Drawing
from napari_medreason.layers.answer_notes import about, drawn_by
from napari_medreason.layers.label_maps import computed, full_name, has_own_place, label_names
from napari_medreason.layers.opened import OpenedStudy, opened_studies
from napari_medreason.layers.recognise import LayerLike, study_of
from napari_medreason.layers.study import (
    AXIS_LABELS,
    METADATA_KEY,
    StudyRef,
    grid_volume,
    open_studies,
    stored_array,
)

_STEP = 0.01
"""How far from a voxel of its study, in voxels, a cropped layer may begin."""


@dataclass(frozen=True, eq=False)
class _Found:
    """A study under a layer, and where the layer's first voxel lies in the study's display array."""

    opened: OpenedStudy
    offset: tuple[int, int, int]

    @property
    def grid(self) -> tuple[Any, ...]:
        """What makes two studies the same for files of voxels."""
        study = self.opened.study
        return study.affine, study.shape_kji, study.orientation_known

    @property
    def source(self) -> tuple[Any, ...]:
        """What makes them the same for files that refer to images."""
        return (*self.grid, self.opened.study.series_uid)


def as_layer(data: Any, attributes: Mapping[str, Any]) -> LayerLike:
    """The layer that a layer-data tuple describes, as napari hands it to writers."""
    return cast(LayerLike, SimpleNamespace(**{**attributes, "data": data, "ndim": np.ndim(data)}))


def drawing_of(masks: Sequence[LayerLike], *, for_dicom: bool = False) -> Drawing:
    """The labels of one or several Labels layers on the study that they lie on.

    Several layers become one label map, counted anew from 1, each label without a name named by its layer.
    for_dicom: the series must be certain, not only the grid. ExportError when no study lies there, several
    different ones do, or layers overlap; LabelMapError for values that are no labels.
    """
    study_under(masks, for_dicom=for_dicom)
    parts = [_one_drawing(mask, for_dicom=for_dicom) for mask in masks]
    return parts[0] if len(parts) == 1 else _merged(parts, [mask.name for mask in masks])


def study_under(layers: Sequence[LayerLike], *, for_dicom: bool = False) -> tuple[Volume, Path | None]:
    """The grid of the study that layers lie on, and where it was read from, without a look at their voxels.

    for_dicom and ExportError as in `drawing_of`.
    """
    under = [_grid_under(layer, for_dicom=for_dicom) for layer in layers]
    first, place = under[0]
    for image, _ in under[1:]:
        other_series = for_dicom and image.series_uid != first.series_uid
        if other_series or not np.array_equal(image.affine, first.affine):
            raise ExportError("the layers lie on different studies; export them one by one")
    return first, place


def _grid_under(layer: LayerLike, *, for_dicom: bool) -> tuple[Volume, Path | None]:
    found = _found(layer, for_dicom=for_dicom)
    return (_grid(found.opened), found.opened.place) if found else (_foreign(layer), None)


def image_of(layer: LayerLike) -> Volume:
    """The voxels of an image layer as a volume on the study that it lies on; errors as in `drawing_of`."""
    found = _found(layer, for_dicom=False)
    if found is None:
        return replace(_foreign(layer), voxels=_stacked(computed(layer.data)))
    if _spatial_shape(layer) != found.opened.study.display_shape:
        raise ExportError(f"layer “{layer.name}” is a part of its study; export the whole image")
    return replace(
        _grid(found.opened), voxels=np.asarray(stored_array(computed(layer.data), found.opened.study))
    )


def _one_drawing(mask: LayerLike, *, for_dicom: bool) -> Drawing:
    found = _found(mask, for_dicom=for_dicom)
    labels = _labels(mask)
    if found is None:
        return Drawing(_stacked(labels), _foreign(mask), _names(mask, labels))
    whole = _whole(labels, found, mask.name)
    stored = np.asarray(stored_array(whole, found.opened.study))
    frame = None
    if stored.ndim == 4:
        drawn = np.flatnonzero(stored.any(axis=(1, 2, 3)))
        if len(drawn) <= 1:
            frame = int(drawn[0]) if len(drawn) else 0
            stored = stored[frame]
        elif for_dicom:
            raise ExportError(
                f"layer “{mask.name}” is drawn on {len(drawn)} frames; DICOM objects hold one: clear the rest"
            )
    return Drawing(
        stored,
        _grid(found.opened),
        _names(mask, labels),
        found.opened.place,
        frame,
        drawn_by(mask, labels),
        about(mask, labels),
    )


def _found(layer: LayerLike, *, for_dicom: bool) -> _Found | None:
    """The study under a layer; None for a layer that is not from here."""
    fitting = _fitting(layer)
    note = layer.metadata.get(METADATA_KEY)
    claimed = note.get("study") if isinstance(note, Mapping) else None
    for one in fitting:
        if isinstance(claimed, StudyRef) and one.opened.study == claimed:
            return _with_files(one, fitting)
    if not fitting:
        if tuple(layer.axis_labels)[-3:] == AXIS_LABELS or _resembles_a_study(layer):
            raise ExportError(
                f"layer “{layer.name}” lies on no study that was opened here (it was moved or resampled, or "
                "its study is not open); open the study, or put the layer back onto it"
            )
        return None
    same = {one.source if for_dicom else one.grid for one in fitting}
    if len(same) > 1:
        by_name = [
            one for one in fitting if one.opened.study.name and layer.name.startswith(one.opened.study.name)
        ]
        fitting = by_name if len({one.source if for_dicom else one.grid for one in by_name}) == 1 else []
    if not fitting:
        raise ExportError(
            f"layer “{layer.name}” fits {len(same)} studies, and which it was drawn on can't be told; name "
            "the layer like its image, or close the other studies"
        )
    return _with_files(fitting[0], fitting)


def _resembles_a_study(layer: LayerLike) -> bool:
    """Whether a layer was placed by somebody, and has the shape or the voxel size of an open study.

    Taken as a layer from elsewhere, its labels would be written in the order of display, which can be a
    flip. What has neither in common with a study is not taken for it later.
    """
    placed = layer.ndim in (3, 4) and has_own_place(layer)
    return placed and any(
        study.orientation_known
        and (
            _spatial_shape(layer) == study.display_shape
            or np.allclose(np.array(layer.scale)[-3:], study.scale[-3:])
        )
        for study in open_studies()
    )


def _with_files(chosen: _Found, fitting: Sequence[_Found]) -> _Found:
    """The same study where its files still are, if it was opened from several places."""
    same = [chosen, *(one for one in fitting if one.source == chosen.source)]
    return next((one for one in same if one.opened.place is not None and one.opened.place.exists()), chosen)


def _fitting(layer: LayerLike) -> list[_Found]:
    """Studies that the layer lies on voxel by voxel: those still shown, else those closed meanwhile."""
    found = []
    for opened in opened_studies():
        offset = _offset(layer, opened.study)
        if offset is not None and (has_own_place(layer) or not opened.study.orientation_known):
            found.append(_Found(opened, offset))
    shown = {study.id for study in open_studies()}
    return [one for one in found if one.opened.study.id in shown] or found


def _offset(layer: LayerLike, study: StudyRef) -> tuple[int, int, int] | None:
    """Where the layer begins in the display array of a study, None when its voxels are not the study's."""
    if layer.ndim not in (3, study.layer_ndim) or layer.ndim > 4 or not _is_upright(layer):
        return None
    scale, translate = np.array(study.scale[-3:]), np.array(study.translate[-3:])
    if not np.allclose(np.array(layer.scale)[-3:], scale):
        return None
    steps = (np.array(layer.translate)[-3:] - translate) / scale
    if np.abs(steps - np.round(steps)).max() > _STEP:
        return None
    offset = np.round(steps).astype(int)
    inside = (offset >= 0) & (offset + _spatial_shape(layer) <= study.display_shape)
    return (int(offset[0]), int(offset[1]), int(offset[2])) if inside.all() else None


def _is_upright(layer: LayerLike) -> bool:
    affine = np.asarray(layer.affine)
    return bool(
        np.allclose(layer.rotate, np.eye(layer.ndim))
        and np.allclose(layer.shear, 0)
        and np.allclose(affine, np.eye(len(affine)))
    )


def _spatial_shape(layer: LayerLike) -> tuple[int, ...]:
    return tuple(int(size) for size in layer.data.shape[-3:])


def _whole(labels: NDArray[Any], found: _Found, name: str) -> NDArray[Any]:
    """The labels on the whole display array of the study."""
    shape = found.opened.study.display_shape
    if labels.shape[-3:] == shape:
        return labels
    whole = np.zeros((*labels.shape[:-3], *shape), labels.dtype)
    i, p, s = (slice(at, at + size) for at, size in zip(found.offset, labels.shape[-3:], strict=True))
    whole[..., i, p, s] = labels
    return whole


def _grid(opened: OpenedStudy) -> Volume:
    return grid_volume(opened.study, opened.slice_positions)


def _nothing(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.broadcast_to(np.zeros((), np.uint8), shape)


def _foreign(layer: LayerLike) -> Volume:
    """The grid of a layer that is not from here: as its voxels are stored, orientation unknown."""
    study = study_of(layer)
    return Volume(
        _nothing(study.shape_kji),
        np.array(study.affine),
        orientation_known=False,
        calibrated=study.calibrated,
    )


def _stacked(array: NDArray[Any]) -> NDArray[Any]:
    return array[np.newaxis] if array.ndim == 2 else array


def _labels(mask: LayerLike) -> NDArray[np.integer[Any]]:
    """The labels as they are now: a copy, since the user may paint on while they are written and compared."""
    return checked_labels(np.array(mask.data) if isinstance(mask.data, np.ndarray) else computed(mask.data))


def _names(mask: LayerLike, labels: NDArray[Any]) -> dict[int, str]:
    """Names of labels; a layer of one label that is named like a structure names it."""
    names = {value: full_name(name) for value, name in label_names(mask).items() if name}
    if names or not named(mask.name).structure:
        return names
    values = [int(value) for value in np.unique(labels) if value]
    return {values[0]: full_name(mask.name)} if len(values) == 1 else {}


def _merged(parts: Sequence[Drawing], layer_names: Sequence[str]) -> Drawing:
    shapes = {part.labels.shape for part in parts}
    if len(shapes) > 1 or len({part.frame for part in parts}) > 1:
        raise ExportError("the layers are drawn on different frames; export them one by one")
    merged = np.zeros(parts[0].labels.shape, np.uint16)
    names: dict[int, str] = {}
    for part, layer_name in zip(parts, layer_names, strict=True):
        values = [int(value) for value in np.unique(part.labels) if value]
        for value in values:
            inside = part.labels == value
            if overlap := int(np.count_nonzero(merged[inside])):
                raise ExportError(
                    f"labels of different layers overlap in {overlap:,} voxels, which one file of labels "
                    "can't hold; export the layers one by one"
                )
            number = len(names) + 1
            merged[inside] = number
            unnamed = layer_name if len(values) == 1 else f"{layer_name} {value}"
            names[number] = part.names.get(value) or unnamed
    # What one answer says, and what drew one mask, does not hold for the others.
    makers = {part.drawn_by for part in parts}
    drawn_by = parts[0].drawn_by if len(makers) == 1 else None
    return replace(parts[0], labels=merged, names=names, drawn_by=drawn_by, about={})
