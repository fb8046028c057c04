"""Which voxels lie within a distance of a set of voxels, fast for the small distances of painting."""

from __future__ import annotations

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

_MANY = 600
"""From this many voxels in the ball on, a distance transform of the whole array is faster."""


def within(asked: Mask, given: Mask, distance_mm: float, spacing: Spacing) -> Mask:
    """Voxels of `asked` with a voxel of `given` at most a distance away, centre to centre.

    asked, given: (k, j, i) bool, the complement of each other. spacing: along k, j and i in mm.
    """
    ball = _ball(distance_mm, spacing, given.shape)
    if len(ball) <= _MANY:
        return asked & _stamped(given, ball)
    if not given.any():
        return np.zeros_like(asked)
    distance = scipy.ndimage.distance_transform_edt(asked, sampling=spacing)
    return np.asarray(asked & (distance <= distance_mm))


def _ball(distance_mm: float, spacing: Spacing, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """(n, 3) voxel steps to all within a distance, none longer than the array."""
    reach = [min(int(distance_mm / step), size - 1) for step, size in zip(spacing, shape, strict=True)]
    steps = np.stack(np.meshgrid(*(np.arange(-more, more + 1) for more in reach), indexing="ij"), axis=-1)
    flat = steps.reshape(-1, 3)
    return np.asarray(flat[np.linalg.norm(flat * np.array(spacing), axis=1) <= distance_mm])


def _stamped(given: Mask, ball: NDArray[np.int64]) -> Mask:
    """A ball stamped on every voxel of a set that has a face neighbour outside it.

    Whatever voxel is asked, the nearest one of the set is such a voxel, so that others need no stamp.
    """
    reach = np.abs(ball).max(axis=0)
    padded = np.zeros([size + 2 * more for size, more in zip(given.shape, reach, strict=True)], bool)
    edge = given & ~scipy.ndimage.binary_erosion(given, border_value=1)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    places = (np.argwhere(edge) + reach) @ strides
    flat = padded.reshape(-1)
    for step in ball @ strides:
        flat[places + step] = True
    inner = tuple(slice(int(more), int(more) + size) for more, size in zip(reach, given.shape, strict=True))
    return padded[inner]
