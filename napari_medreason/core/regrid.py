"""Sheared grids (gantry tilt) and unevenly spaced slices resampled to a regular, right-angled grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.geometry import Affine, spacing_ijk
from napari_medreason.core.volume import Volume

SHEAR_TOLERANCE = 1e-3
_ON_A_SLICE = 1e-6
"""Nearer to a slice than this share of the step, its values are taken as they are."""
SHEARED = "the grid is sheared and sagittal and coronal views look slanted"
UNEVENLY = "they are shown at even steps all the same"
"""Words of warnings that are no longer true of a study on a regular grid."""
RESAMPLED = Caution(
    "The slices were resampled to a regular, right-angled grid; grey values are interpolated, also where "
    "slices were missing.",
    "values",
)


@dataclass(frozen=True, eq=False)
class _Target:
    """A right-angled grid.

    affine: (4, 4), voxel (i, j, k) to LPS mm. axes: (3, 3), its unit vectors in columns. levels: (k,)
    place of each slice along the third of them in mm.
    """

    affine: Affine
    axes: NDArray[np.float64]
    size_ji: tuple[int, int]
    levels: NDArray[np.float64]


def is_sheared(affine: Affine) -> bool:
    """Whether the voxel axes are not at right angles (cosine over 0.001)."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE)


def is_irregular(volume: Volume) -> bool:
    """Whether `regridded` would change the study: sheared, unevenly spaced or shifted slices."""
    return is_sheared(volume.affine) or _has_positions(volume)


def _has_positions(volume: Volume) -> bool:
    positions = volume.slice_positions
    return positions is not None and len(positions) == volume.shape_kji[0] > 1


def regridded(volume: Volume) -> Volume:
    """The same study on a regular, right-angled grid that covers it; unchanged if it has one.

    Rows and columns keep their direction and spacing. Slices are laid along the normal: at their
    perpendicular distance, or, where that varies, at the smallest one (at least half of the median).
    Each keeps its own place; linear interpolation; voxels outside the study take its lowest value.
    The result is float32.
    """
    if not is_irregular(volume):
        return volume
    origins = _slice_origins(volume)
    target = _right_angled(volume, origins)
    frames = np.asarray(volume.voxels if volume.voxels.ndim == 4 else volume.voxels[None])
    fill = float(np.nanmin(frames))
    done = np.empty((len(frames), len(target.levels), *target.size_ji), np.float32)
    for frame, resampled in zip(frames, done, strict=True):
        _resample(frame, resampled, volume.affine, origins, target, fill)
    warnings = (text for text in volume.warnings if SHEARED not in text and UNEVENLY not in text)
    return replace(
        volume,
        voxels=done if volume.voxels.ndim == 4 else done[0],
        affine=target.affine,
        slice_positions=None,
        warnings=(*warnings, RESAMPLED),
    )


def _slice_origins(volume: Volume) -> NDArray[np.float64]:
    """(k, 3): LPS mm of the first voxel of each slice."""
    if volume.slice_positions is not None and _has_positions(volume):
        return np.asarray(volume.slice_positions)
    numbers = np.arange(volume.shape_kji[0])[:, np.newaxis]
    return np.asarray(volume.affine[:3, 3] + numbers * volume.affine[:3, 2])


def _right_angled(volume: Volume, origins: NDArray[np.float64]) -> _Target:
    affine, (_, rows, columns) = volume.affine, volume.shape_kji
    spacing = np.array(spacing_ijk(affine))
    axes = _axes(affine)
    corners = np.array([(i, j) for i in (0, columns - 1) for j in (0, rows - 1)]) @ affine[:3, :2].T
    within = (origins[:, np.newaxis] + corners).reshape(-1, 3) @ axes[:, :2]
    size_ij = np.ceil(np.ptp(within, axis=0) / spacing[:2] - 1e-6).astype(int) + 1
    levels = _even_levels(origins @ axes[:, 2])
    if len(levels) > 1:
        spacing[2] = levels[1] - levels[0]
    made = np.eye(4)
    made[:3, :3] = axes * spacing
    made[:3, 3] = axes @ [*within.min(axis=0), levels[0]]
    return _Target(made, axes, (int(size_ij[1]), int(size_ij[0])), levels)


def _axes(affine: Affine) -> NDArray[np.float64]:
    """Unit vectors in columns: along rows, down columns made upright to it, normal towards the next slice."""
    row = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    column = affine[:3, 1] - row * (row @ affine[:3, 1])
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    return np.stack([row, column, normal * np.sign(normal @ affine[:3, 2])], axis=1)


def _even_levels(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evenly spaced places from the first to the last of these, close enough to lose little."""
    if len(levels) < 2:
        return levels
    steps = np.abs(np.diff(levels))
    wanted = max(float(steps.min()), float(np.median(steps)) / 2)
    count = round(float(abs(levels[-1] - levels[0])) / wanted) + 1
    return np.linspace(levels[0], levels[-1], max(count, 2))


def _resample(
    frame: NDArray[np.generic],
    resampled: NDArray[np.float32],
    affine: Affine,
    origins: NDArray[np.float64],
    target: _Target,
    fill: float,
) -> None:
    """Fill `resampled` (k, j, i): each slice a blend of the two of `frame` between which it lies."""
    places = np.interp(target.levels, origins @ target.axes[:, 2], np.arange(len(origins)))
    for place, slot in zip(places, resampled, strict=True):
        below = min(int(place + _ON_A_SLICE), len(origins) - 1)
        share = place - below
        slot[...] = _slice_at(frame[below], affine, origins[below], target, fill)
        if share > _ON_A_SLICE:
            above = _slice_at(frame[below + 1], affine, origins[below + 1], target, fill)
            slot += np.float32(share) * (above - slot)


def _slice_at(
    image: NDArray[np.generic], affine: Affine, origin: NDArray[np.float64], target: _Target, fill: float
) -> NDArray[np.float32]:
    """One slice seen along the normal, on the rows and columns of the target."""
    plane = target.axes[:, :2]
    to_source = np.linalg.inv(plane.T @ affine[:3, :2])
    matrix = to_source @ plane.T @ target.affine[:3, :2]
    offset = to_source @ plane.T @ (target.affine[:3, 3] - origin)
    # Not mode="constant": it takes the outermost row for outside when rounding puts it 1e-16 out.
    found = scipy.ndimage.affine_transform(
        image.astype(np.float32),
        matrix[::-1, ::-1],
        offset[::-1],
        output_shape=target.size_ji,
        order=1,
        mode="grid-constant",
        cval=fill,
    )
    return np.asarray(found)
