"""Where the slices of a series lie in the patient, one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.volume import Volume

SAME_PLACE = 0.05
"""Two places are one while they are less than this share of a pixel apart."""


@dataclass(frozen=True, eq=False)
class Planes:
    """Where the slices of a series really lie, also when they are tilted or unevenly spaced.

    origins: (k, 3), centres of the first pixels; row_step, column_step: (3,), from one pixel to the next
    along a row (i) and down a column (j); all in LPS mm. shape: rows, columns.
    """

    origins: NDArray[np.float64]
    row_step: NDArray[np.float64]
    column_step: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along row x column."""
        normal = np.cross(self.row_step, self.column_step)
        return np.asarray(normal / np.linalg.norm(normal))

    def to_lps(self, points: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        """Map (n, 2) points (x, y) = (column, row) of slice k to (n, 3) points."""
        return np.asarray(self.origins[k] + points @ np.stack([self.row_step, self.column_step]))

    def to_pixels(self, points_lps: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        """Map (n, 3) points to (n, 2) points (x, y) of slice k, along its normal."""
        steps = np.stack([self.row_step, self.column_step])
        return np.asarray((points_lps - self.origins[k]) @ np.linalg.pinv(steps))

    def nearest(self, point_lps: NDArray[np.float64]) -> tuple[int, float]:
        """The slice nearest to a point, and its distance in mm."""
        distances = np.abs((self.origins - point_lps) @ self.normal)
        k = int(np.argmin(distances))
        return k, float(distances[k])

    def slice_at(self, origin: ArrayLike | None) -> int | None:
        """The slice whose first pixel has its centre here (LPS mm), None without one."""
        if origin is None:
            return None
        distances = np.linalg.norm(self.origins - np.asarray(origin, np.float64), axis=1)
        k = int(np.argmin(distances))
        return k if distances[k] < SAME_PLACE * self.pixel_mm else None

    def same_places(self, other: Planes) -> bool:
        """Whether both have their pixels at the same places."""
        if self.shape != other.shape or self.origins.shape != other.origins.shape:
            return False
        apart = [
            np.abs(self.origins - other.origins).max(),
            np.abs(self.row_step - other.row_step).max() * self.shape[1],
            np.abs(self.column_step - other.column_step).max() * self.shape[0],
        ]
        return bool(max(apart) < SAME_PLACE * self.pixel_mm)

    @property
    def slice_mm(self) -> float:
        """The smallest distance between slices along the normal; a pixel where there is one slice."""
        steps = np.diff(np.sort((self.origins - self.origins[0]) @ self.normal))
        return float(steps.min()) if steps.size else self.pixel_mm

    @property
    def pixel_spacing(self) -> list[float]:
        """Between rows, and between columns, in mm; as in Pixel Spacing (0028,0030)."""
        return [float(np.linalg.norm(self.column_step)), float(np.linalg.norm(self.row_step))]

    @property
    def pixel_mm(self) -> float:
        """The smaller side of a pixel."""
        return min(self.pixel_spacing)


def planes_of(image: Volume) -> Planes:
    """The slices of a volume, where its reader found them."""
    affine = image.affine
    count, rows, columns = image.shape_kji
    origins = image.slice_positions
    if origins is None:
        origins = affine[:3, 3] + np.arange(count)[:, np.newaxis] * affine[:3, 2]
    return Planes(origins, affine[:3, 0], affine[:3, 1], (rows, columns))
