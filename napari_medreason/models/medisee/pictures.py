"""A plane as the picture that MediSee sees, and boxes between the two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, Plane
from napari_medreason.core.resample import ModelFrame

LARGEST = 4096
"""Longer side in pixels that no picture goes beyond; the networks see 1024 and 336."""


def isotropic_picture(plane: Plane) -> tuple[NDArray[np.uint8], ModelFrame]:
    """The plane through its window, in square pixels of its own finer spacing.

    Returns (rows, columns, 3) uint8 RGB, all three channels equal, and the frame that maps results back.
    Values that are not finite are black.
    """
    spacing, shape = plane.grid.spacing, plane.grid.shape
    extent = max(shape[0] * spacing[0], shape[1] * spacing[1])
    frame = ModelFrame.with_pixel_size(shape, spacing, max(min(spacing), extent / LARGEST), 1)
    window = plane.window
    share = (plane.image.astype(np.float32) - window.low) / (window.high - window.low)
    grey = frame.image_to_model(np.clip(share, 0, 1) * 255, fill=0.0)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2), frame


def box_in_plane(shares: Box, frame: ModelFrame) -> Box | None:
    """The half-open box in the plane of MediSee's corners, cut to the plane; None when it lies beside it.

    shares: x0, y0, x1, y1 as shares of the picture, where x1 and y1 name the last pixel (MediSee's boxes are
    made from the least and greatest index of a mask).
    """
    rows, columns = frame.model_shape
    x0, y0, x1, y1 = frame.box_to_plane(
        (shares[0] * columns, shares[1] * rows, shares[2] * columns + 1, shares[3] * rows + 1)
    )
    height, width = frame.plane_shape
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def box_shares(box: Box, frame: ModelFrame) -> Box:
    """MediSee's corners of a half-open box in the plane; the inverse of `box_in_plane`."""
    rows, columns = frame.model_shape
    x0, y0, x1, y1 = frame.box_to_model(box)
    return x0 / columns, y0 / rows, max(x0, x1 - 1) / columns, max(y0, y1 - 1) / rows
