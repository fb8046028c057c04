"""Sheared grids (gantry tilt) resampled to a right-angled grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second

from napari_medreason.core.geometry import Affine, index_to_lps, spacing_ijk
from napari_medreason.core.volume import Volume

SHEAR_TOLERANCE = 1e-3
SHEARED = "the grid is sheared and sagittal and coronal views look slanted"
"""Words of a warning that is no longer true of a study on a right-angled grid."""


def is_sheared(affine: Affine) -> bool:
    """Whether the voxel axes are not at right angles (cosine over 0.001)."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE)


def regridded(volume: Volume) -> Volume:
    """The same voxels on a right-angled grid that covers the whole study; unchanged if it has one.

    Rows and columns keep their direction and spacing; slices are laid along the normal at their
    perpendicular distance. Linear interpolation; voxels outside the study take its lowest value.
    """
    if not is_sheared(volume.affine):
        return volume
    target, shape_kji = _right_angled(volume.affine, volume.shape_kji)
    to_source = np.linalg.inv(volume.affine) @ target
    flip = [2, 1, 0]
    matrix = to_source[:3, :3][np.ix_(flip, flip)]
    offset = to_source[:3, 3][flip]
    fill = float(np.nanmin(volume.voxels))
    frames = volume.voxels if volume.voxels.ndim == 4 else volume.voxels[None]
    # Not mode="constant": it takes the outermost slice for outside when rounding puts it 1e-16 out.
    done = np.stack(
        [
            scipy.ndimage.affine_transform(
                frame.astype(np.float32),
                matrix,
                offset,
                output_shape=shape_kji,
                order=1,
                mode="grid-constant",
                cval=fill,
            )
            for frame in frames
        ]
    )
    voxels = done if volume.voxels.ndim == 4 else done[0]
    note = "The slices were resampled to a right-angled grid; grey values are interpolated."
    warnings = (warning for warning in volume.warnings if SHEARED not in warning)
    return replace(volume, voxels=voxels, affine=target, warnings=(*warnings, note))


def _right_angled(affine: Affine, shape_kji: tuple[int, int, int]) -> tuple[Affine, tuple[int, int, int]]:
    spacing = np.array(spacing_ijk(affine))
    row = affine[:3, 0] / spacing[0]
    column = affine[:3, 1] - row * (row @ affine[:3, 1])
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    axes = np.stack([row, column, normal * np.sign(normal @ affine[:3, 2])], axis=1)
    spacing[2] = abs(normal @ affine[:3, 2])
    upper = np.array(shape_kji[::-1]) - 1
    corners = index_to_lps(np.array(np.meshgrid(*[(0, n) for n in upper])).reshape(3, -1).T, affine) @ axes
    size = np.ceil(np.ptp(corners, axis=0) / spacing - 1e-6).astype(int) + 1
    target = np.eye(4)
    target[:3, :3] = axes * spacing
    target[:3, 3] = axes @ corners.min(axis=0)
    return target, (int(size[2]), int(size[1]), int(size[0]))
