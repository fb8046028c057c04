"""The measures of MediSee's tables: gIoU, cIoU and Dice of masks, IoU and accuracy of boxes.

Constants of the released validation keep every quotient finite; `as_released` uses them (and gives 1.0 for a
class that neither mask has), else plain quotients are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_medreason.core.metrics import MaskOverlap
from napari_medreason.core.plane import Box

from .measures import box_iou

ACCURATE_IOU = 0.5
"""A box counts as right above this."""


@dataclass(frozen=True)
class MaskScores:
    """giou: mean IoU over images. ciou: all common pixels over all pixels in either. dice: mean."""

    giou: float
    ciou: float
    dice: float


@dataclass(frozen=True)
class BoxScores:
    """iou: mean over matched boxes. accuracy: share with an IoU above 0.5."""

    iou: float
    accuracy: float


def released_iou(overlap: MaskOverlap) -> float:
    """IoU of one image and class, with 1e-5 under the quotient; 1 where neither mask has a pixel."""
    return overlap.common / (overlap.union + 1e-5) + (overlap.union == 0)


def released_dice(overlap: MaskOverlap) -> float:
    """Dice of one image and class, with 1e-6 under the quotient; 1 where neither mask has a pixel."""
    return 2 * overlap.common / (overlap.found + overlap.true + 1e-6) + (overlap.union == 0)


def mask_scores(overlaps: Sequence[MaskOverlap], *, as_released: bool = False) -> MaskScores:
    """Scores over the foreground of images with one mask each; ValueError for none."""
    if not overlaps:
        raise ValueError("there are no masks to average over")
    common, union = sum(one.common for one in overlaps), sum(one.union for one in overlaps)
    if as_released:
        count = len(overlaps) + 1e-5
        ious, dices = sum(map(released_iou, overlaps)), sum(map(released_dice, overlaps))
        return MaskScores(ious / count, common / (union + 1e-10), dices / count)
    count = len(overlaps)
    ious, dices = sum(one.iou for one in overlaps), sum(one.dice for one in overlaps)
    return MaskScores(ious / count, common / union if union else 1.0, dices / count)


def box_scores(pairs: Sequence[tuple[Box, Box]]) -> BoxScores:
    """Scores of (found, true) boxes, half-open or normalised corners; ValueError for none."""
    if not pairs:
        raise ValueError("there are no boxes to average over")
    overlaps = [box_iou(found, true) for found, true in pairs]
    accurate = sum(overlap > ACCURATE_IOU for overlap in overlaps)
    return BoxScores(sum(overlaps) / len(overlaps), accurate / len(overlaps))
