"""How well two masks agree: Dice, IoU, and the curves over 256 thresholds.

Two empty masks agree fully (Dice and IoU 1), unless a function says that it follows released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = 256
"""Of the published protocol: 1, 254/255, … 0."""


@dataclass(frozen=True)
class MaskOverlap:
    """Pixel counts of two masks: in both, in the found one, in the true one."""

    common: int
    found: int
    true: int

    @property
    def union(self) -> int:
        """Pixels in either."""
        return self.found + self.true - self.common

    @property
    def dice(self) -> float:
        """Twice the common pixels over the sum of both; 1 for two empty masks."""
        return 2 * self.common / (self.found + self.true) if self.union else 1.0

    @property
    def iou(self) -> float:
        """Common pixels over those in either; 1 for two empty masks."""
        return self.common / self.union if self.union else 1.0


def mask_overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> MaskOverlap:
    """Count two bool masks of the same shape; ValueError when the shapes differ."""
    _check_shapes(found, true)
    return MaskOverlap(int((found & true).sum()), int(found.sum()), int(true.sum()))


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """Dice and IoU of one image at each threshold from 1 down to 0 (256,)."""

    dice: NDArray[np.float64]
    iou: NDArray[np.float64]

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """(256,) from 1 to 0."""
        return np.linspace(1, 0, len(self.dice))

    @property
    def mean_dice(self) -> float:
        """Mean over thresholds: what the PRS-Med paper calls mDice."""
        return float(self.dice.mean())

    @property
    def mean_iou(self) -> float:
        """Mean over thresholds: what the PRS-Med paper calls mIoU."""
        return float(self.iou.mean())

    @property
    def best_dice(self) -> float:
        """At the best single threshold ("maxDic")."""
        return float(self.dice.max())

    @property
    def best_iou(self) -> float:
        """At the best single threshold ("maxIoU")."""
        return float(self.iou.max())

    def dice_at(self, threshold: float) -> tuple[float, float]:
        """The nearest threshold of the curve, and Dice there."""
        place = int(np.abs(self.thresholds - threshold).argmin())
        return float(self.thresholds[place]), float(self.dice[place])


def threshold_curves(
    probability: NDArray[np.floating], true: NDArray[np.bool_], *, empty_as_released: bool = False
) -> ThresholdCurves:
    """Dice and IoU of `probability >= threshold` against a mask, both (rows, columns), at 256 thresholds.

    The protocol behind PRS-Med's tables (after PraNet). There a threshold without a common pixel scores 0,
    also where mask and prediction are both empty: `empty_as_released`; else such a threshold scores 1.
    ValueError when the shapes differ.
    """
    _check_shapes(probability, true)
    thresholds = np.linspace(1, 0, THRESHOLDS)
    found, common = _at_least(probability, thresholds), _at_least(probability[true], thresholds)
    both = found + int(true.sum())
    nothing = 0.0 if empty_as_released else 1.0
    with np.errstate(invalid="ignore"):  # 0 / 0 is replaced
        dice = np.where(both > 0, 2 * common / both, nothing)
        iou = np.where(both > 0, common / (both - common), nothing)
    return ThresholdCurves(dice, iou)


def stretched(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """An image's values from 0 to 1 between its own extremes, as PRS-Med stores its predictions.

    A constant image is all zeros. What was nowhere likely becomes certain somewhere, so this is no
    probability.
    """
    low, high = float(values.min()), float(values.max())
    span = high - low
    return (values.astype(np.float64) - low) / span if span > 0 else np.zeros(values.shape)


def _at_least(values: NDArray[np.floating], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values reach each threshold."""
    ascending = np.sort(values, axis=None).astype(np.float64)
    return ascending.size - np.searchsorted(ascending, thresholds, side="left")


def _check_shapes(found: NDArray[np.generic], true: NDArray[np.generic]) -> None:
    if found.shape != true.shape:
        raise ValueError(f"the found mask is {found.shape}, the true one {true.shape}; they must be equal")
