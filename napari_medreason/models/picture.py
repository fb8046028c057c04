"""A plane as the 8-bit picture that published vision models were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Plane
from napari_medreason.core.resample import ModelFrame


def letterboxed_picture(plane: Plane, size: int) -> tuple[NDArray[np.uint8], ModelFrame]:
    """The plane through its window, undistorted in a square of `size` pixels, black around it.

    Returns (size, size, 3) uint8 RGB, all three channels equal, and the frame that maps results back.
    Values that are not finite are black.
    """
    frame = ModelFrame.letterboxed(plane.grid.shape, plane.grid.spacing, size)
    window = plane.window
    share = (plane.image.astype(np.float32) - window.low) / (window.high - window.low)
    grey = frame.image_to_model(np.clip(share, 0, 1) * 255, fill=0.0)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2), frame
