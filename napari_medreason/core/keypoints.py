"""Two key points inside a mask, by the rule of the U-MRG data set.

First point: centre of the largest circle inside the mask. Second point: centre of the largest
circle once the first one, shrunk to `ERASED_FRACTION` of its radius, is taken away. Measured on the
published pictures; the paper (section 3, key points) says only "farthest from the boundary".
"""

from __future__ import annotations

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import Point

ERASED_FRACTION = 0.95
"""Share of the first circle's radius in which the second point may not lie."""
SPARSE_SHARE = 0.25
"""Masks that fill less of their box are looked at part by part, which is faster and gives the same."""


def key_points(mask: NDArray[np.bool_]) -> tuple[Point, Point]:
    """Two different pixels (x, y) inside a (rows, columns) bool mask, pixel centres at integers.

    Ties go to the pixel that comes first in row order. A mask of one pixel gives that pixel twice
    (see `is_degenerate`). The image border counts as mask boundary. ValueError when the mask is
    empty or not two-dimensional.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"a mask is (rows, columns), got {mask.ndim} dimensions")
    box = mask_box(mask)
    if box is None:
        raise ValueError("the mask is empty, so it has no key points")
    left, top, right, bottom = (int(edge) for edge in box)
    crop = mask[top:bottom, left:right]
    depth = _depth(crop)
    first = _deepest(depth)
    second = _second(crop, depth, first)
    return (float(first[1] + left), float(first[0] + top)), (float(second[1] + left), float(second[0] + top))


def is_degenerate(points: tuple[Point, Point]) -> bool:
    """Whether both key points are the same pixel: the mask they come from is that one pixel."""
    return points[0] == points[1]


def _depth(crop: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each pixel to the nearest one outside the mask, 0 there."""
    if np.count_nonzero(crop) > SPARSE_SHARE * crop.size:
        return _framed_depth(crop)
    # The nearest pixel outside a part touches it, so it belongs to no other part: each can be taken alone.
    parts, count = scipy.ndimage.label(crop, np.ones((3, 3)))
    depth = np.zeros(crop.shape)
    for number, window in enumerate(scipy.ndimage.find_objects(parts, count), start=1):
        depth[window] = np.maximum(depth[window], _framed_depth(parts[window] == number))
    return depth


def _framed_depth(crop: NDArray[np.bool_]) -> NDArray[np.float64]:
    framed = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), bool)
    framed[1:-1, 1:-1] = crop
    return np.asarray(scipy.ndimage.distance_transform_edt(framed)[1:-1, 1:-1])


def _deepest(depth: NDArray[np.float64]) -> tuple[int, int]:
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(row), int(column)


def _second(crop: NDArray[np.bool_], depth: NDArray[np.float64], first: tuple[int, int]) -> tuple[int, int]:
    rows, columns = np.ogrid[: crop.shape[0], : crop.shape[1]]
    distance = np.hypot(rows - first[0], columns - first[1])
    left_over = depth * (distance >= ERASED_FRACTION * depth[first])
    second = _deepest(left_over)
    if left_over[second] > 0:
        return second
    # The circle covers the whole (small) mask: its farthest pixel is the only other cue.
    return _deepest(np.where(crop, distance, -1.0))
