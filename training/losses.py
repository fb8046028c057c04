"""Losses on a random quarter of the pixels; structures nobody looked for count as background."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PRESENT_PIXELS = 12
"""A structure with fewer pixels than this in the slice is not taught as present."""


def structure_loss(logits: Tensor, labels: Tensor, known: Tensor, class_weight: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice.

    logits: (B, K, h, w) against a background of 0. labels: (B, h, w), 0 or 1 + structure index.
    known: (B, 1 + K) bool; the probability of other structures is added to the background
    (marginal loss for partly labelled images). class_weight: (1 + K,).
    """
    logits = torch.cat([torch.zeros_like(logits[:, :1]), logits.float()], 1)
    logs = functional.log_softmax(logits, 1)
    hidden = ~known
    hidden[:, 0] = True
    background = torch.logsumexp(logs.masked_fill(~hidden[:, :, None, None], -1e4), 1)
    logs = torch.cat([background[:, None], logs[:, 1:]], 1)
    return functional.nll_loss(logs, labels, weight=class_weight) + _dice_loss(logs.exp(), labels, known)


def _dice_loss(probability: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    count, classes = probability.shape[:2]
    flat, place = probability.flatten(2), labels.flatten(1)
    zeros = torch.zeros(count, classes)
    pixels = zeros.scatter_add(1, place, torch.ones_like(place, dtype=torch.float32))
    right = flat.gather(1, place[:, None])[:, 0]
    overlap = zeros.scatter_add(1, place, right)
    loss = 1 - (2 * overlap + 1) / (flat.sum(2) + pixels + 1)
    weight = ((pixels > 0).float() + 0.1) * known
    weight = torch.cat([torch.zeros_like(weight[:, :1]), weight[:, 1:]], 1)
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def present(labels: Tensor, classes: int) -> Tensor:
    """(B, K) float: 1.0 where a structure covers enough of the slice to be called seen."""
    place = labels.flatten(1)
    zeros = torch.zeros(len(labels), classes)
    pixels = zeros.scatter_add(1, place, torch.ones_like(place, dtype=torch.float32))
    return (pixels[:, 1:] >= PRESENT_PIXELS).float()


def presence_loss(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy of presence logits (B, K) over the structures that were looked for."""
    wanted = present(labels, known.shape[1])
    return functional.binary_cross_entropy_with_logits(logits, wanted, weight=known[:, 1:].float())


def side_loss(logits: Tensor, sides: Tensor) -> Tensor:
    """Cross-entropy of left and right (B, 2, h, w) where `sides` is 1 or 2; 0 when nowhere."""
    target = torch.where(sides > 0, sides - 1, -100)
    total = functional.cross_entropy(logits.float(), target, ignore_index=-100, reduction="sum")
    return total / (target >= 0).sum().clamp(min=1)


def prompt_loss(logits: Tensor, quality: Tensor, target: Tensor) -> Tensor:
    """Mask loss (cross-entropy and Dice) plus the error of the expected quality.

    logits: (P, h, w). quality: (P,) logit of the expected Dice. target: (P, h, w) float 0 or 1.
    """
    probability = logits.float().sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits.float(), target)
    overlap = (probability * target).sum((1, 2))
    dice = (2 * overlap + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
    estimate = functional.binary_cross_entropy_with_logits(quality, dice.detach())
    return cross + (1 - dice).mean() + 0.1 * estimate


def class_weights(pixels: Tensor) -> Tensor:
    """Square root of the inverse frequency from pixel counts (1 + K,), at most 8; background 0.5."""
    share = pixels / pixels.sum()
    weight = (share[1:].max() / share.clamp(min=1e-7)).sqrt().clamp(max=8.0)
    weight[0] = 0.5
    return weight
