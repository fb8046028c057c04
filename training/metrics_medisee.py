"""IoU and Dice of one image as MediSee's released validation has them; its tables are made of these.

Constants keep every quotient finite, and a class that neither mask has gives 1.
"""

from __future__ import annotations

from napari_medreason.core.metrics import MaskOverlap

ACCURATE_IOU = 0.5
"""A box counts as right above this."""


def released_iou(overlap: MaskOverlap) -> float:
    """IoU of one image and class, with 1e-5 under the quotient; 1 where neither mask has a pixel."""
    return overlap.common / (overlap.union + 1e-5) + (overlap.union == 0)


def released_dice(overlap: MaskOverlap) -> float:
    """Dice of one image and class, with 1e-6 under the quotient; 1 where neither mask has a pixel."""
    return 2 * overlap.common / (overlap.found + overlap.true + 1e-6) + (overlap.union == 0)
