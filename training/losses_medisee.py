"""Losses of MediSee with every constant (released MediSee.py and bbox_head).

Boxes here are shares of the image's width and height: (center x, center y, width, height) as the box head
gives them, or corners (x0, y0, x1, y1).
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

TEXT_WEIGHT = 1.0
CROSS_ENTROPY_WEIGHT = 2.0
DICE_WEIGHT = 0.5
BOX_WEIGHT = 2.0
"""Of the sum of both box losses in the released training; the paper states 1.0 for each."""
DIVERGENCE_WEIGHT = 2.0
DIFFERENCE_WEIGHT = 1.0
"""Of the two parts of the similarity loss, as in the paper."""
FOREGROUND = 255
"""The only value of a stored mask that counts as inside."""
_FEW = 1e-8


def dice_loss(logits: Tensor, target: Tensor, mask_count: float) -> Tensor:
    """Soft Dice, summed over masks (n, rows, columns) and divided by `mask_count`.

    Both sums are divided by 1000 before the constant 1e-6 is added, so it hardly ever acts.
    """
    probability, truth = logits.sigmoid().flatten(1), target.flatten(1)
    common = 2 * (probability / 1000 * truth).sum(-1)
    both = (probability / 1000).sum(-1) + (truth / 1000).sum(-1)
    return (1 - (common + 1e-6) / (both + 1e-6)).sum() / (mask_count + _FEW)


def cross_entropy_loss(logits: Tensor, target: Tensor, mask_count: float) -> Tensor:
    """Binary cross-entropy, mean over the pixels of each mask (n, rows, columns), as `dice_loss` summed."""
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss.flatten(1).mean(1).sum() / (mask_count + _FEW)


def mask_loss(logits: Tensor, target: Tensor, mask_count: float) -> Tensor:
    """2 x cross-entropy + 0.5 x Dice."""
    cross = cross_entropy_loss(logits, target, mask_count)
    return CROSS_ENTROPY_WEIGHT * cross + DICE_WEIGHT * dice_loss(logits, target, mask_count)


def corners(boxes: Tensor) -> Tensor:
    """(n, 4) boxes as center and size to corners (x0, y0, x1, y1)."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def corner_loss(boxes: Tensor, true_corners: Tensor) -> Tensor:
    """Mean absolute difference of the four corner coordinates; boxes (n, 4) as center and size."""
    return functional.l1_loss(corners(boxes), true_corners)


def overlap_loss(boxes: Tensor, true_corners: Tensor, *, as_released: bool = False) -> Tensor:
    """Mean of 1 - generalised IoU of matched pairs (Rezatofighi et al., CVPR 2019).

    Two boxes without area give 1 and turned corners are put in order. As released, two boxes at one point
    give NaN, and one turned box makes the loss 1 without a gradient for all of the batch.
    """
    found = corners(boxes)
    if as_released:
        return _released_overlap_loss(found, true_corners)
    loss: Tensor = generalized_box_iou_loss(_ordered(found), _ordered(true_corners), reduction="mean")
    return loss


def box_loss(boxes: Tensor, true_corners: Tensor, *, as_released: bool = False) -> Tensor:
    """`corner_loss` + `overlap_loss`, still without BOX_WEIGHT."""
    overlap = overlap_loss(boxes, true_corners, as_released=as_released)
    return corner_loss(boxes, true_corners) + overlap


def similarity_loss(image: Tensor, fused: Tensor, plain_image: Tensor, plain_fused: Tensor) -> Tensor:
    """2 x Jensen-Shannon divergence + mean squared difference of two similarity maps (n, T).

    A map says how much each image token's last hidden state (n, T, d) is like the fused candidate (n, d):
    once for the question that needs reasoning, once for one with the plain name, which is the teacher and
    gets no gradient. Of the paper only, which leaves open how maps are scaled: here dot products are
    divided by the root of d; the divergence is that of their softmax over the T tokens.
    """
    found, teacher = _similarity(image, fused), _similarity(plain_image, plain_fused).detach()
    logs, teacher_logs = found.log_softmax(-1), teacher.log_softmax(-1)
    middle = torch.logaddexp(logs, teacher_logs) - log(2)
    parts = [
        functional.kl_div(middle, one, log_target=True, reduction="batchmean") for one in (logs, teacher_logs)
    ]
    difference = functional.mse_loss(found, teacher)
    return DIVERGENCE_WEIGHT * (parts[0] + parts[1]) / 2 + DIFFERENCE_WEIGHT * difference


def mask_to_box(mask: NDArray[np.generic], *, as_released: bool = False) -> tuple[float, float, float, float]:
    """Corners of the box around the value 255 in a (rows, columns) mask, as shares of width and height.

    The box is half-open, so that the whole image is (0, 0, 1, 1). As released, its last pixel's index is
    taken for its end: one pixel has no area. ValueError when no pixel is 255.
    """
    rows, columns = np.nonzero(np.asarray(mask) == FOREGROUND)
    if not rows.size:
        raise ValueError(f"the mask has no pixel of value {FOREGROUND}; only this value counts as inside")
    past = 0 if as_released else 1
    high, wide = mask.shape
    x0, x1 = float(columns.min() / wide), float((columns.max() + past) / wide)
    return x0, float(rows.min() / high), x1, float((rows.max() + past) / high)


def _similarity(image: Tensor, fused: Tensor) -> Tensor:
    return torch.einsum("ntd,nd->nt", image, fused) / sqrt(image.shape[-1])


def _ordered(boxes: Tensor) -> Tensor:
    return torch.cat(
        [torch.minimum(boxes[..., :2], boxes[..., 2:]), torch.maximum(boxes[..., :2], boxes[..., 2:])], -1
    )


def _released_overlap_loss(found: Tensor, truth: Tensor) -> Tensor:
    if any((boxes[:, 2:] < boxes[:, :2]).any() for boxes in (found, truth)):
        return found.new_ones(())
    shared = torch.minimum(found[:, 2:], truth[:, 2:]) - torch.maximum(found[:, :2], truth[:, :2])
    common = shared.clamp(min=0).prod(-1)
    union = (found[:, 2:] - found[:, :2]).prod(-1) + (truth[:, 2:] - truth[:, :2]).prod(-1) - common
    around = torch.maximum(found[:, 2:], truth[:, 2:]) - torch.minimum(found[:, :2], truth[:, :2])
    hull = around.clamp(min=0).prod(-1)
    return (1 - (common / union - (hull - union) / hull)).mean()
