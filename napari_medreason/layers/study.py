"""Core objects to and from plain layer-data tuples `(data, attributes, layer type)`; no napari here.

Display frame: an image layer of ours holds the volume's voxels as a view (transposed and flipped,
never resampled) with axes (inferior, posterior, left), so that napari's world is (-S, P, L) in mm
and its axis orders (0, 1, 2), (1, 0, 2) and (2, 0, 1) show axial, coronal and sagittal planes the
radiological way up. Result planes are then slices of the display array: axial `data[s]`, coronal
`data[:, p, :]`, sagittal `data[:, :, l]`, rows and columns as in core.plane. An oblique grid is
shown upright in this frame about its own centre; the true affine stays in its StudyRef. Where the
orientation is unknown, the axes are the stored (k, j, i). A 4D study has its frames in front.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.check_list import Check, check_list
from napari_medreason.core.geometry import axis_directions, closest_patient_axes, index_to_lps
from napari_medreason.core.plane import AXES, Axis, Plane, cut
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.errors import QuestionError
from napari_medreason.layers.opened import OpenedStudy, remember

LayerDataTuple = tuple[Any, dict[str, Any], str]
METADATA_KEY = "medreason"
NOTES_KEY = "reading"
"""Under which the metadata of an image layer keeps its ReadingNotes."""
AXIS_LABELS = ("inferior", "posterior", "left")
STORED_AXIS_LABELS = ("k", "j", "i")

_CONTENT_VOXELS = 4096
_DISPLAY_PATIENT_AXES = ((2, "I"), (1, "P"), (0, "L"))
_WORLD_FROM_LPS = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


@dataclass(frozen=True)
class StudyRef:
    """What ties a layer to its study: enough to map layer data back to voxels and patient space.

    shape_kji, affine: of one frame of the volume, see core.volume. axes_kji: for each of the three
    display axes, the axis of the (k, j, i) array shown there; flipped: whether it runs backwards.
    layer_ndim: 2 for a flat picture, 3, or 4 with frames in front. scale, translate: of the layer.
    content: tells the voxels of our layer from others of the same shape, see `content_of`.
    """

    id: str
    shape_kji: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    axes_kji: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    layer_ndim: int
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    modality: str = ""
    name: str = ""
    orientation_known: bool = True
    calibrated: bool = True
    series_uid: str = ""
    content: str = ""

    @property
    def display_shape(self) -> tuple[int, int, int]:
        """Size of one frame along the three display axes."""
        a, b, c = (self.shape_kji[axis] for axis in self.axes_kji)
        return a, b, c

    def display_index(self, axis: Axis, index: int) -> int:
        """Turn the index of a result plane into one along its display axis, and the other way round."""
        display_axis = AXES.index(axis)
        last = self.display_shape[display_axis] - 1
        return last - index if self.flipped[display_axis] else index


@dataclass(frozen=True)
class DisplayedPlane:
    """The result plane that the user has before them; `index` is that of core.plane."""

    axis: Axis
    index: int
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class ReadingNotes:
    """What was found when a study was read, beyond what its grid tells; fields as in core.volume."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    slices_checked: bool
    slice_positions: NDArray[np.float64] | None


_studies: weakref.WeakValueDictionary[str, StudyRef] = weakref.WeakValueDictionary()


def is_ours(study: StudyRef) -> bool:
    """Whether this process made the study and a layer, or a note about one, still holds it."""
    return _studies.get(study.id) == study


def display_array(voxels: NDArray[np.generic], study: StudyRef) -> NDArray[np.generic]:
    """The display view of voxels (k, j, i) or (frame, k, j, i)."""
    lead = voxels.ndim - 3
    order = (*range(lead), *(lead + axis for axis in study.axes_kji))
    view: NDArray[np.generic] = voxels.transpose(order)[_flips(study)]
    return view


def stored_array(data: NDArray[np.generic], study: StudyRef) -> NDArray[np.generic]:
    """The (k, j, i) or (frame, k, j, i) view of a display array; undoes `display_array`."""
    lead = data.ndim - 3
    order = (*range(lead), *(lead + int(axis) for axis in np.argsort(study.axes_kji)))
    view: NDArray[np.generic] = data[_flips(study)].transpose(order)
    return view


def _flips(study: StudyRef) -> tuple[Any, ...]:
    return (..., *(slice(None, None, -1 if flip else 1) for flip in study.flipped))


def image_layer(volume: Volume, place: Path | None = None) -> LayerDataTuple:
    """The volume as an image layer in the display frame; QuestionError when no voxel is finite.

    place: the file or folder that it was read from; exports to DICOM look there for its images.
    """
    window = default_window(volume)
    study = _study_of_volume(volume)
    data = display_array(volume.voxels, study)
    study = replace(study, content=content_of(data))
    _register(study, volume, place)
    labels, unit = _labels_and_unit(study)
    frames = study.layer_ndim - 3
    attributes = {
        "name": volume.name or volume.modality or "study",
        "scale": study.scale,
        "translate": study.translate,
        "units": ("pixel",) * frames + (unit,) * 3,
        "axis_labels": ("frame",) * frames + labels,
        "contrast_limits": (window.low, window.high),
        "colormap": "gray",
        "metadata": {METADATA_KEY: {"study": study, NOTES_KEY: _notes(volume)}},
    }
    return data, attributes, "image"


def _register(study: StudyRef, volume: Volume, place: Path | None) -> None:
    _studies[study.id] = study
    # a copy, so that `is_ours` still tells when no layer holds the study any more
    remember(OpenedStudy(replace(study), place, volume.slice_positions))


def grid_volume(study: StudyRef, slice_positions: NDArray[np.float64] | None) -> Volume:
    """One frame of a study as a volume without voxels of its own."""
    return Volume(
        np.broadcast_to(np.zeros((), np.uint8), study.shape_kji),
        np.array(study.affine),
        modality=study.modality,
        name=study.name,
        orientation_known=study.orientation_known,
        calibrated=study.calibrated,
        series_uid=study.series_uid,
        slice_positions=slice_positions,
    )


def open_studies() -> tuple[StudyRef, ...]:
    """The studies of this process that a layer, or a note about one, still holds."""
    return tuple(_studies.values())


def _notes(volume: Volume) -> ReadingNotes:
    return ReadingNotes(check_list(volume), volume.warnings, volume.slices_checked, volume.slice_positions)


def _labels_and_unit(study: StudyRef) -> tuple[tuple[str, ...], str]:
    if study.orientation_known:
        return AXIS_LABELS, "mm" if study.calibrated else "pixel"
    return STORED_AXIS_LABELS, "pixel"


def _study_of_volume(volume: Volume) -> StudyRef:
    axes, flipped = (0, 1, 2), (False, False, False)
    if volume.orientation_known:
        axes, flipped = _display_axes(volume)
    shape, spacing = volume.shape_kji, volume.spacing_kji
    sizes = np.array([shape[axis] for axis in axes])
    scale = np.array([spacing[axis] for axis in axes])
    translate = np.zeros(3)
    if volume.orientation_known:
        # the centre stays where it is in the patient: exact for upright grids, fair for oblique ones
        centre_lps = index_to_lps((np.array(shape[::-1]) - 1) / 2, volume.affine)
        translate = _WORLD_FROM_LPS @ centre_lps - (sizes - 1) / 2 * scale
    frames = volume.voxels.ndim - 3
    return StudyRef(
        id=uuid4().hex,
        shape_kji=shape,
        affine=tuple(tuple(float(value) for value in row) for row in volume.affine),
        axes_kji=axes,
        flipped=flipped,
        layer_ndim=volume.voxels.ndim,
        scale=(1.0,) * frames + tuple(float(value) for value in scale),
        translate=(0.0,) * frames + tuple(float(value) for value in translate),
        modality=volume.modality,
        name=volume.name,
        orientation_known=volume.orientation_known,
        calibrated=volume.calibrated,
        series_uid=volume.series_uid,
    )


def _display_axes(volume: Volume) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    patient, letters = closest_patient_axes(volume.affine), axis_directions(volume.affine)
    voxel_axes = [patient.index(axis) for axis, _ in _DISPLAY_PATIENT_AXES]
    flips = [
        letters[voxel] != letter for voxel, (_, letter) in zip(voxel_axes, _DISPLAY_PATIENT_AXES, strict=True)
    ]
    return (
        (2 - voxel_axes[0], 2 - voxel_axes[1], 2 - voxel_axes[2]),
        (flips[0], flips[1], flips[2]),
    )


def content_of(data: Any) -> str:
    """What stays the same in a copy of an array and not in a flipped or filtered one.

    The hash of a few thousand voxels at fixed places that no flip maps onto each other; for arrays
    that are computed when used (dask), the name of their computation.
    """
    if not isinstance(data, np.ndarray):
        return str(getattr(data, "name", ""))
    places = np.random.default_rng(0).integers(0, data.shape, size=(_CONTENT_VOXELS, data.ndim))
    voxels = np.ascontiguousarray(data[tuple(places.T)])
    return sha256(voxels.tobytes() + str((voxels.dtype, data.shape)).encode()).hexdigest()


def displayed_plane(
    study: StudyRef, *, order: Sequence[int], point_data: Sequence[float], ndisplay: int
) -> DisplayedPlane:
    """The result plane the user sees, whatever the roll or transposition of the view.

    order: napari's axis order reduced to the layer's own axes; point_data: the displayed position in
    the layer's data coordinates. QuestionError when no such plane is shown.
    """
    if ndisplay != 2:
        raise QuestionError(
            "the viewer shows a 3D rendering; switch to the 2D view (button below the layer list) and "
            "ask on a slice"
        )
    if study.layer_ndim == 2:
        return DisplayedPlane("axial", 0)
    lead = study.layer_ndim - 3
    hidden = set(range(study.layer_ndim)) - {int(axis) for axis in order[-2:]}
    spatial = sorted(axis - lead for axis in hidden if axis >= lead)
    if len(spatial) != 1:
        raise QuestionError(
            "the view shows frames along one side; roll the axes until two directions of space are shown"
        )
    axis = AXES[spatial[0]]
    position = round(float(point_data[lead + spatial[0]]))
    last = study.display_shape[spatial[0]] - 1
    if not 0 <= position <= last:
        raise QuestionError("the displayed position lies outside this image; move the slider onto it")
    frame = max(0, round(float(point_data[0]))) if lead else None
    return DisplayedPlane(axis, study.display_index(axis, position), frame)


def slice_index(study: StudyRef, displayed: DisplayedPlane) -> tuple[int | slice, ...]:
    """The index of layer data that gives the (rows, columns) view of a result plane."""
    if study.layer_ndim == 2:
        return (slice(None), slice(None))
    index: list[int | slice] = [slice(None)] * 3
    index[AXES.index(displayed.axis)] = study.display_index(displayed.axis, displayed.index)
    return (*([displayed.frame or 0] * (study.layer_ndim - 3)), *index)


def plane_of(data: Any, study: StudyRef, displayed: DisplayedPlane, *, window: Window) -> Plane:
    """The displayed result plane, copied from the data of an image layer.

    data: anything that is sliced like a NumPy array; only this one slice is taken from it.
    """
    if displayed.frame is not None and displayed.frame >= data.shape[0]:
        raise QuestionError("the displayed position lies outside this image; move the slider onto it")
    image = np.asarray(data[slice_index(study, displayed)])
    # the cut reads one slice only, so the others need no memory
    flat = np.expand_dims(image, AXES.index(displayed.axis))
    volume = Volume(
        stored_array(np.broadcast_to(flat, study.display_shape), study),
        np.array(study.affine),
        modality=study.modality,
        orientation_known=study.orientation_known,
        calibrated=study.calibrated,
    )
    return cut(volume, displayed.axis, displayed.index, window)
