"""The affine of ordered DICOM slices, from their own positions, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.geometry import Affine
from napari_medreason.core.regrid import SHEARED, UNEVENLY
from napari_medreason.io.base import counted
from napari_medreason.io.dicom_frame import FrameHeader

SAME_POSITION_MM = 0.01
_TILT_DEGREES = 0.5
_EVEN_SHARE = 0.05
"""Slices count as evenly spaced while none lies further than this share of the step from its place."""

NO_SPACING = Caution(
    "The images do not give a pixel size; distances, sizes and areas in mm can't be trusted.", "spacing"
)
AT_DETECTOR = Caution(
    "The pixel size is that at the detector; structures in the patient are smaller than shown in mm.",
    "spacing",
)
ONE_SLICE = "There is one slice only; its thickness in mm is {thickness}."
TILT = (
    "The slices are stacked at a tilt of {degrees:.1f} degrees (as with a tilted CT gantry); positions are "
    f"right, but {SHEARED}."
)
GAPS = (
    "{slices} to be missing between others; "
    f"{UNEVENLY}: distances and positions across slices are approximate, wrong by "
    "up to {error:.1f} mm."
)
UNEVEN = (
    "The slices are not evenly spaced (steps from {least:.2f} to {most:.2f} mm); "
    f"{UNEVENLY}: distances and positions across slices are approximate, wrong by "
    "up to {error:.1f} mm."
)
SHIFTED = (
    "The images are shifted against each other within their planes; "
    f"{UNEVENLY}: positions are wrong by up to "
    "{error:.1f} mm."
)


@dataclass(frozen=True, eq=False)
class Placed:
    """Where the slices of a stack lie.

    affine: (4, 4), voxel (i, j, k) to LPS mm. slice_positions: (k, 3) LPS mm where the affine only comes
    near them, else None.
    """

    affine: Affine
    slice_positions: NDArray[np.float64] | None
    warnings: tuple[Caution, ...]


def image_directions(image: FrameHeader) -> NDArray[np.float64]:
    """(3, 3): unit vectors along a row, down a column, and row x column, in LPS."""
    row, column = np.array(image.orientation, np.float64).reshape(2, 3)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def placed(frames: Sequence[Sequence[FrameHeader]], *, known: bool) -> Placed:
    """Where the slices lie; frames[frame][k], by increasing position along row x column.

    The slice step is that of the positions themselves, never a thickness, so a tilted stack keeps its
    shear. Where slices are not evenly spaced, it is the best fit (least squares) to their positions.
    """
    first = frames[0][0]
    doubts = _spacing_warnings(first)
    affine = _in_plane(first, known=known)
    if not known:
        return Placed(affine, None, doubts)
    if len(frames[0]) == 1:
        return Placed(affine, None, (_one_slice(first), *doubts))
    positions = np.array([[image.position_lps for image in frame] for frame in frames], np.float64)
    affine[:3, 2] = (positions[0, -1] - positions[0, 0]) / (positions.shape[1] - 1)
    if _error(positions, affine) <= max(_EVEN_SHARE * _length(affine), SAME_POSITION_MM):
        return Placed(affine, None, (*_tilt_warnings(affine, image_directions(first)[2]), *doubts))
    affine[:3, 2:] = _best_fit(positions[0])
    normal = image_directions(first)[2]
    uneven = _uneven(np.diff(positions[0] @ normal), _error(positions, affine))
    return Placed(affine, positions[0], (*_tilt_warnings(affine, normal), uneven, *doubts))


def _in_plane(first: FrameHeader, *, known: bool) -> Affine:
    """The affine of one slice, with its stated distance to the next one."""
    affine = np.eye(4)
    row_spacing, column_spacing = first.pixel_spacing or (1.0, 1.0)
    distance = first.slice_distance or 1.0
    if not known:
        affine[:3, :3] = np.diag([column_spacing, row_spacing, distance])
        return affine
    affine[:3, :3] = image_directions(first).T * (column_spacing, row_spacing, distance)
    affine[:3, 3] = first.position_lps
    return affine


def _one_slice(first: FrameHeader) -> Caution:
    stated = f"{first.slice_distance:g}, as stated" if first.slice_distance else "not given and set to 1"
    return Caution(ONE_SLICE.format(thickness=stated), "spacing")


def _length(affine: Affine) -> float:
    return float(np.linalg.norm(affine[:3, 2]))


def _error(positions: NDArray[np.float64], affine: Affine) -> float:
    """Largest distance in mm of a slice from its place by the affine; positions: (frame, k, 3) LPS mm."""
    ideal = affine[:3, 3] + np.arange(positions.shape[1])[:, np.newaxis] * affine[:3, 2]
    return float(np.linalg.norm(positions - ideal, axis=-1).max())


def _best_fit(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 2): slice step and origin that come closest to the (k, 3) positions (least squares)."""
    numbers = np.arange(len(positions), dtype=np.float64)
    step, origin = np.polynomial.polynomial.polyfit(numbers, positions, 1)[::-1]
    return np.stack([step, origin], axis=1)


def _tilt_warnings(affine: Affine, normal: NDArray[np.float64]) -> tuple[Caution, ...]:
    cosine = affine[:3, 2] @ normal / _length(affine)
    degrees = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return (Caution(TILT.format(degrees=degrees), "tilt"),) if degrees > _TILT_DEGREES else ()


def _uneven(steps: NDArray[np.float64], error: float) -> Caution:
    """steps: distances of neighbouring slices along the normal in mm."""
    least = float(steps.min())
    multiples = steps / least
    if np.abs(multiples - np.round(multiples)).max() < 0.05 and multiples.max() > 1.5:
        missing = int(np.round(multiples - 1).sum())
        return Caution(
            GAPS.format(slices=counted(missing, "slice seems", "slices seem"), error=error), "gaps"
        )
    if np.ptp(steps) <= _EVEN_SHARE * least:
        return Caution(SHIFTED.format(error=error), "tilt")
    return Caution(UNEVEN.format(least=least, most=float(steps.max()), error=error), "gaps")


def _spacing_warnings(image: FrameHeader) -> tuple[Caution, ...]:
    if image.pixel_spacing is None:
        return (NO_SPACING,)
    return (AT_DETECTOR,) if image.at_detector else ()
