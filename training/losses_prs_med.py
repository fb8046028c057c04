"""Losses of PRS-Med with every constant (released loss.py)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

CLASS_WEIGHT = 0.5
CLASS_EPOCHS = 5
"""The kind of image (six classes) is taught with this weight in the first epochs, then not any more."""
_AROUND = 31
_BORDER_WEIGHT = 5.0


def structure_loss(logits: Tensor, target: Tensor, *, as_released: bool = False) -> Tensor:
    """Cross-entropy plus 1 - IoU, both with more weight at borders (as in PraNet, MICCAI 2020).

    logits, target: (n, 1, rows, columns), target 0 to 1. A pixel's weight is 1 + 5 times how far it is from
    the mean of the 31 x 31 pixels around it (zeros outside the image). As released, a wrong argument
    makes the cross-entropy a plain mean, so that the weights act on the IoU alone.
    """
    mean = functional.avg_pool2d(target, _AROUND, stride=1, padding=_AROUND // 2)
    weight = 1 + _BORDER_WEIGHT * (mean - target).abs()
    axes = (2, 3)
    if as_released:
        cross = functional.binary_cross_entropy_with_logits(logits, target)
    else:
        cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        cross = (weight * cross).sum(axes) / weight.sum(axes)
    probability = logits.sigmoid()
    common = (probability * target * weight).sum(axes)
    both = ((probability + target) * weight).sum(axes)
    return (cross + 1 - (common + 1) / (both - common + 1)).mean()


def cross_entropy_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The paper's mask loss: mean cross-entropy plus 1 - Dice per image, with 1 added above and below."""
    cross = functional.binary_cross_entropy_with_logits(logits, target)
    probability, truth = logits.sigmoid().flatten(1), target.flatten(1)
    dice = (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    return cross + 1 - dice.mean()


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Mean Dice of probabilities, as the released training reports it; shapes as `structure_loss`."""
    probability = logits.sigmoid()
    common, both = (probability * target).sum((2, 3)), (probability + target).sum((2, 3))
    return ((2 * common + 1e-6) / (both + 1e-6)).mean()


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Mean IoU of probabilities, as the released training reports it; shapes as `structure_loss`."""
    probability = logits.sigmoid()
    common, both = (probability * target).sum((2, 3)), (probability + target).sum((2, 3))
    return (common / (both - common + 1e-6)).mean()


def total_loss(mask: Tensor, text: Tensor, classes: Tensor, *, epoch: int) -> Tensor:
    """The released sum of the parts; epoch: from 0."""
    return mask + text + CLASS_WEIGHT * classes if epoch < CLASS_EPOCHS else mask + text
