"""The synthetic person that all trunk painters work on.

Canonical trunk space: x = 0 in the midline, y = 0 halfway between belly and back, z = 0 at the
middle of the first lumbar vertebra. Lengths are those of an adult of average height, in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .phantom_space import Canvas, Field, Region

FAT, MUSCLE, WATER, AIR = -100.0, 58.0, 5.0, -1000.0
"""Brightness of tissues in HU."""


@dataclass(frozen=True)
class Subject:
    """One synthetic person being built.

    canvas: what is painted on. rng: the only source of chance. labels: (structure, side) -> value.
    fat_mm: thickness of the fat under the skin. blood: HU of aorta, veins, portal vein and organs by name.
    rough: smooth unit noise of 14 mm grain that makes surfaces uneven. coarse: the same at 45 mm.
    """

    canvas: Canvas
    rng: np.random.Generator
    labels: Mapping[tuple[str, str], int]
    fat_mm: float
    blood: Mapping[str, float]
    rough: Field
    coarse: Field

    def value(self, structure: str, side: str = "") -> int:
        """Label value of a structure."""
        return self.labels[structure, side]

    def moved(self, point: tuple[float, float, float], sd_mm: float) -> tuple[float, float, float]:
        """The point after a random shift."""
        x, y, z = np.asarray(point) + self.rng.normal(0.0, sd_mm, 3)
        return float(x), float(y), float(z)

    def varied(self, *values: float, share: float = 0.1) -> tuple[float, float, float]:
        """Three lengths after one common and three single random factors."""
        factors = self.rng.normal(1.0, share, 1) * self.rng.normal(1.0, share / 2, 3)
        a, b, c = np.asarray(values) * np.clip(factors, 0.6, 1.5)
        return float(a), float(b), float(c)

    def sides(self, region: Region) -> tuple[tuple[str, Region], tuple[str, Region]]:
        """The region as it is for the left organ, and mirrored for the right one."""
        return ("left", region), ("right", region.mirrored)


def both_sides(canvas: Canvas, low: tuple[float, float, float], high: tuple[float, float, float]) -> Region:
    """Region of a paired organ whose left one lies between two corners."""
    reach = max(abs(low[0]), abs(high[0]))
    return canvas.region((-reach, *low[1:]), (reach, *high[1:]))
