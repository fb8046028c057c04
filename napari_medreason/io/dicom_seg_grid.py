"""The grid that the frames of a DICOM segmentation lie on; empty slices may have been left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine
from napari_medreason.errors import UnreadableImageError

_SAME_POSITION_MM = 0.01
_EVEN_SHARE = 0.02
"""Frames are on a grid while none lies further than this share of the step from its place."""
_MAX_SLICES = 100_000
_DIVISORS = 3
"""Steps tried: the stated one, and the smallest distance divided by 1, 2 and so on."""


class _Frame(Protocol):
    @property
    def position_lps(self) -> tuple[float, ...] | None: ...


class _Frames(Protocol):
    @property
    def frames(self) -> Sequence[_Frame]: ...
    @property
    def orientation(self) -> tuple[float, ...] | None: ...
    @property
    def pixel_spacing(self) -> tuple[float, ...] | None: ...
    @property
    def slice_step(self) -> float | None: ...
    @property
    def slice_distance(self) -> float | None: ...


def seg_affine(found: _Frames) -> tuple[Affine, list[int]]:
    """(4, 4) affine, voxel (i, j, k) to LPS mm, and the slice k of every frame.

    Slices go by increasing position along row x column; the step is that of the positions, so a tilted
    stack keeps its shear. UnreadableImageError when the frames are not evenly spaced.
    """
    affine = np.eye(4)
    row_mm, column_mm = found.pixel_spacing or (1.0, 1.0)
    positions = [frame.position_lps for frame in found.frames]
    if found.orientation is None or any(position is None for position in positions):
        if len(found.frames) > 1:
            raise UnreadableImageError(
                "the frames of the segmentation do not say where they lie in the patient "
                "(as for a microscopy slide); segmentations of CT and MR are accepted"
            )
        affine[:3, :3] = np.diag([column_mm, row_mm, found.slice_distance or 1.0])
        return affine, [0]
    row, column = (side / np.linalg.norm(side) for side in np.array(found.orientation).reshape(2, 3))
    normal = np.cross(row, column)
    affine[:3, 0], affine[:3, 1] = row * column_mm, column * row_mm
    places, of_frame = _places(np.array(positions, np.float64), normal)
    affine[:3, 3] = places[0]
    numbers = _numbers((places - places[0]) @ normal, found.slice_step)
    affine[:3, 2] = (
        (places[-1] - places[0]) / numbers[-1] if len(places) > 1 else normal * (found.slice_distance or 1.0)
    )
    return affine, [numbers[place] for place in of_frame]


def _places(
    positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[int]]:
    """Positions (n, 3) that differ along the normal, in increasing order, and which one each frame has."""
    distances = positions @ normal
    order = np.argsort(distances, kind="stable")
    starts = np.concatenate([[True], np.diff(distances[order]) > _SAME_POSITION_MM])
    of_frame = np.empty(len(order), np.int64)
    of_frame[order] = np.cumsum(starts) - 1
    return positions[order][starts], of_frame.tolist()


def _numbers(distances: NDArray[np.float64], stated: float | None) -> list[int]:
    """The slice number of places at these distances from the first."""
    if len(distances) == 1:
        return [0]
    smallest = float(np.diff(distances).min())
    tried = [stated] if stated and stated <= smallest * (1 + _EVEN_SHARE) else []
    for step in (*tried, *(smallest / divisor for divisor in range(1, _DIVISORS + 1))):
        numbers = np.round(distances / step)
        even = np.abs(distances - numbers * distances[-1] / numbers[-1]).max() <= _EVEN_SHARE * step
        if even and numbers[-1] < _MAX_SLICES:
            return [int(number) for number in numbers]
    raise UnreadableImageError(
        "the frames of the segmentation are not evenly spaced, and which slices were left out can't be told; "
        "export it again from its source with all slices"
    )
