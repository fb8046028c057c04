"""Sample answers as pictures: correction and answer laid over the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlaid(
    rgb: NDArray[np.float32], corrected: NDArray[np.bool_], answered: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """(rows, columns, 3): the correction in green, the answer in red, both in yellow, half transparent.

    rgb: (rows, columns, 3) float32, 0 to 255. corrected, answered: (rows, columns). Every channel is mixed,
    so that a bright place takes the colour as well as a dark one.
    """
    colours = 255.0 * np.stack([answered, corrected, np.zeros_like(corrected)], -1)
    marked = (corrected | answered)[..., None]
    return np.asarray(np.where(marked, (rgb + colours) / 2, rgb), dtype=np.uint8)
