"""Which side of the patient lies at each edge of the canvas, and where the slice lies; no napari here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.geometry import (
    LPS_LETTERS,
    Affine,
    closest_patient_axes,
    direction_letters,
    index_to_lps,
    is_oblique,
    opposite_letters,
)
from napari_medreason.layers.study import DisplayedPlane, StudyRef

PLANE_NAMES = {"axial": "Axial", "coronal": "Coronal", "sagittal": "Sagittal"}
UNKNOWN_SIDES = "orientation unknown:\nleft and right can't be told"


@dataclass(frozen=True)
class CanvasSides:
    """Letters for the four edges of the canvas, and one line about the shown slice.

    The letters are empty where the orientation is unknown; the caption then says so.
    """

    left: str
    right: str
    top: str
    bottom: str
    caption: str


def data_to_lps(study: StudyRef) -> Affine:
    """(4, 4): indices of the three display axes of a study's layer to patient LPS mm."""
    to_index_ijk = np.zeros((4, 4))
    to_index_ijk[3, 3] = 1
    for display_axis, axis_kji in enumerate(study.axes_kji):
        voxel_axis = 2 - axis_kji
        flipped = study.flipped[display_axis]
        to_index_ijk[voxel_axis, display_axis] = -1 if flipped else 1
        to_index_ijk[voxel_axis, 3] = study.shape_kji[axis_kji] - 1 if flipped else 0
    return np.asarray(np.array(study.affine) @ to_index_ijk)


def canvas_sides(
    study: StudyRef, displayed: DisplayedPlane, *, right_data: ArrayLike, down_data: ArrayLike
) -> CanvasSides:
    """The sides of the patient at the edges of the canvas.

    right_data, down_data: the directions to the right and down on the canvas, along the layer's data axes
    (the last three count), whatever way the view was rolled, turned over or moved.
    """
    caption = slice_caption(study, displayed)
    if not study.orientation_known or study.layer_ndim < 3:
        return CanvasSides("", "", "", "", caption)
    linear = data_to_lps(study)[:3, :3]
    right = direction_letters(linear @ _spatial(right_data))
    down = direction_letters(linear @ _spatial(down_data))
    return CanvasSides(opposite_letters(right), right, opposite_letters(down), down, caption)


def slice_caption(study: StudyRef, displayed: DisplayedPlane) -> str:
    """Plane, slice number, frame and place in mm, a line each; the reason where sides are unknown.

    The lines are short, so that they never reach the letter in the middle of the canvas.
    """
    last = _slice_count(study, displayed) - 1
    frame = "" if displayed.frame is None else f", frame {displayed.frame}"
    if study.layer_ndim < 3:
        return UNKNOWN_SIDES
    if not study.orientation_known:
        return f"slice {displayed.index} of 0–{last}{frame}\n{UNKNOWN_SIDES}"
    affine = np.array(study.affine)
    name = PLANE_NAMES[displayed.axis] + (", oblique" if is_oblique(affine) else "")
    return f"{name}\nslice {displayed.index} of 0–{last}{frame}\n{_place(study, displayed, affine)}"


def _place(study: StudyRef, displayed: DisplayedPlane, affine: Affine) -> str:
    """The patient coordinate of the slice's centre along the axis it is cut across: "S 12.5 mm"."""
    voxel_axis, patient_axis = _cut_axes(displayed, affine)
    centre_ijk = (np.array(study.shape_kji[::-1]) - 1) / 2
    centre_ijk[voxel_axis] = displayed.index
    value = float(index_to_lps(centre_ijk, affine)[patient_axis])
    letter = LPS_LETTERS[patient_axis][int(value >= 0)]
    return f"{letter} {abs(value):.1f} mm" + (" at its centre" if is_oblique(affine) else "")


def _cut_axes(displayed: DisplayedPlane, affine: Affine) -> tuple[int, int]:
    """The voxel axis (0 = i) and the patient axis (0 = L) across which a plane is cut."""
    patient_axis = {"axial": 2, "coronal": 1, "sagittal": 0}[displayed.axis]
    return closest_patient_axes(affine).index(patient_axis), patient_axis


def _slice_count(study: StudyRef, displayed: DisplayedPlane) -> int:
    position = ("axial", "coronal", "sagittal").index(displayed.axis)
    return study.display_shape[position]


def _spatial(direction: ArrayLike) -> NDArray[np.float64]:
    values: Sequence[float] = np.asarray(direction, dtype=np.float64)[-3:].tolist()
    return np.array(values)
