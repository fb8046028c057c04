"""Label maps brought to the grid of their image: moved, flipped and transposed, never resampled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine, index_to_lps, lps_to_index
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError

_TOLERANCE_VOXELS = 0.1
"""How far a voxel may lie from one of the other grid and still be taken for it."""


@dataclass(frozen=True)
class GridMatch:
    """How one grid lies in another: axis n runs along `axes[n]` of the other, by `steps[n]` (1 or -1).

    All three are in the order (i, j, k); offset: where voxel (0, 0, 0) lies in the other grid.
    """

    axes: tuple[int, int, int]
    steps: tuple[int, int, int]
    offset: tuple[int, int, int]


def match(affine: Affine, shape_kji: tuple[int, int, int], other: Affine) -> GridMatch | None:
    """How a grid of voxels coincides with those of another; None when it does not.

    affine, other: (4, 4), voxel (i, j, k) to LPS mm.
    """
    to_other = np.linalg.inv(other) @ affine
    whole = np.round(to_other[:3, :3])
    if not _is_signed_permutation(whole):
        return None
    offset = np.round(to_other[:3, 3])
    corners = np.array(list(product(*[(0, count - 1) for count in shape_kji[::-1]])), np.float64)
    distance = index_to_lps(corners, to_other) - (corners @ whole.T + offset)
    if np.abs(distance).max() > _TOLERANCE_VOXELS:
        return None
    axes = [int(np.flatnonzero(column)[0]) for column in whole.T]
    steps = [int(whole[axes[n], n]) for n in range(3)]
    return GridMatch(
        (axes[0], axes[1], axes[2]),
        (steps[0], steps[1], steps[2]),
        (int(offset[0]), int(offset[1]), int(offset[2])),
    )


def on_grid_of(labels: Volume, image: Volume) -> NDArray[np.generic]:
    """The (k, j, i) labels on the grid of an image; a crop is filled up with 0.

    Labels that don't say how they lie in the patient are taken to be stored as the image is. Raises
    LabelMapError when the voxels of one are not voxels of the other, or labels lie outside the image.
    """
    if not labels.orientation_known:
        return _as_stored(labels, image)
    found = match(labels.affine, labels.shape_kji, image.affine)
    if found is None:
        raise LabelMapError(
            f"the mask is on another grid than the image ({_grid_words(labels, image)}); "
            "resample it to the grid of the image first"
        )
    return placed(labels.voxels, found, image.shape_kji)


def placed(
    voxels: NDArray[np.generic], found: GridMatch, shape_kji: tuple[int, int, int]
) -> NDArray[np.generic]:
    """The (k, j, i) voxels on the other grid of this shape, 0 around them.

    LabelMapError when a voxel that is not 0 lies outside.
    """
    aligned = _aligned(voxels, found)
    start = _start_kji(voxels.shape, found)
    if start == (0, 0, 0) and aligned.shape == shape_kji:
        return aligned
    target = np.zeros(shape_kji, voxels.dtype)
    inside_target, inside_source = [], []
    for first, count, size in zip(start, aligned.shape, shape_kji, strict=True):
        low, high = max(first, 0), min(first + count, size)
        inside_target.append(slice(low, max(low, high)))
        inside_source.append(slice(low - first, max(low, high) - first))
    part = aligned[tuple(inside_source)]
    outside = int(np.count_nonzero(aligned)) - int(np.count_nonzero(part))
    if outside:
        raise LabelMapError(
            f"{outside:,} labelled voxels of the mask lie outside of its image; "
            "give the image that the mask was drawn on"
        )
    target[tuple(inside_target)] = part
    return target


def _is_signed_permutation(matrix: NDArray[np.float64]) -> bool:
    counts = np.abs(matrix)
    return bool((counts.sum(axis=0) == 1).all() and (counts.sum(axis=1) == 1).all())


def _aligned(voxels: NDArray[np.generic], found: GridMatch) -> NDArray[np.generic]:
    """A view with axes and directions of the other grid."""
    flips = tuple(slice(None, None, step) for step in found.steps[::-1])
    source_of = [found.axes.index(axis) for axis in range(3)]
    return voxels[flips].transpose([2 - source_of[2 - place] for place in range(3)])


def _start_kji(shape: tuple[int, ...], found: GridMatch) -> tuple[int, int, int]:
    """Where the first voxel of the aligned view lies in the other grid, (k, j, i)."""
    low = list(found.offset)
    for n in range(3):
        if found.steps[n] < 0:
            low[found.axes[n]] -= shape[2 - n] - 1
    return low[2], low[1], low[0]


def _as_stored(labels: Volume, image: Volume) -> NDArray[np.generic]:
    if labels.shape_kji == image.shape_kji:
        return labels.voxels
    raise LabelMapError(
        "the mask does not say how it lies in the patient, and its size "
        f"({_size(labels)} slices x rows x columns) is not that of the image ({_size(image)})"
    )


def _size(volume: Volume) -> str:
    return " x ".join(str(count) for count in volume.shape_kji)


def _grid_words(labels: Volume, image: Volume) -> str:
    """What differs, as words for a message."""
    spacing, other = sorted(labels.spacing_kji), sorted(image.spacing_kji)
    if not np.allclose(spacing, other, rtol=1e-3):
        return (
            f"voxels of {' x '.join(f'{size:.3g}' for size in spacing)} mm, "
            f"the image has {' x '.join(f'{size:.3g}' for size in other)} mm"
        )
    origin = lps_to_index(labels.affine[:3, 3], image.affine)
    apart = float(np.abs(origin - np.round(origin)).max())
    return f"shifted by {apart:.2f} of a voxel" if apart > _TOLERANCE_VOXELS else "turned against it"
