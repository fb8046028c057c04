"""Isotropic model pixels from an anisotropic plane, and results back to the native plane, exactly.

Both frames put pixel centres at integers, so pixel edges lie at -0.5 and size - 0.5; a half-open
box edge `e` is the edge coordinate `e - 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, Point


@dataclass(frozen=True)
class ModelFrame:
    """An isotropic pixel grid laid over a plane; both cover the same centre.

    plane_shape, model_shape: (rows, columns). scale: model pixels per plane pixel, (row, column).
    """

    plane_shape: tuple[int, int]
    model_shape: tuple[int, int]
    scale: tuple[float, float]

    @classmethod
    def with_pixel_size(
        cls, plane_shape: tuple[int, int], spacing: tuple[float, float], pixel_mm: float, multiple: int
    ) -> ModelFrame:
        """Model pixels of `pixel_mm`; the size is the smallest multiple that covers the plane."""
        scale = (spacing[0] / pixel_mm, spacing[1] / pixel_mm)
        sizes = [
            max(multiple, int(np.ceil(n * s / multiple - 1e-9)) * multiple)
            for n, s in zip(plane_shape, scale, strict=True)
        ]
        return cls(plane_shape, (sizes[0], sizes[1]), scale)

    @classmethod
    def letterboxed(cls, plane_shape: tuple[int, int], spacing: tuple[float, float], size: int) -> ModelFrame:
        """A square of `size` pixels in which the whole plane fits, undistorted and centred."""
        extent = max(plane_shape[0] * spacing[0], plane_shape[1] * spacing[1])
        return cls(plane_shape, (size, size), (spacing[0] * size / extent, spacing[1] * size / extent))

    def _offset(self, axis: int) -> float:
        centre_plane = (self.plane_shape[axis] - 1) / 2
        return (self.model_shape[axis] - 1) / 2 - centre_plane * self.scale[axis]

    def point_to_model(self, point: Point) -> Point:
        """Plane point (x, y) to model point (x, y)."""
        return (
            point[0] * self.scale[1] + self._offset(1),
            point[1] * self.scale[0] + self._offset(0),
        )

    def point_to_plane(self, point: Point) -> Point:
        """Model point (x, y) to plane point (x, y)."""
        return (
            (point[0] - self._offset(1)) / self.scale[1],
            (point[1] - self._offset(0)) / self.scale[0],
        )

    def box_to_model(self, box: Box) -> Box:
        """Half-open plane box to half-open model box."""
        x0, y0 = self.point_to_model((box[0] - 0.5, box[1] - 0.5))
        x1, y1 = self.point_to_model((box[2] - 0.5, box[3] - 0.5))
        return x0 + 0.5, y0 + 0.5, x1 + 0.5, y1 + 0.5

    def box_to_plane(self, box: Box) -> Box:
        """Half-open model box to half-open plane box."""
        x0, y0 = self.point_to_plane((box[0] - 0.5, box[1] - 0.5))
        x1, y1 = self.point_to_plane((box[2] - 0.5, box[3] - 0.5))
        return x0 + 0.5, y0 + 0.5, x1 + 0.5, y1 + 0.5

    def image_to_model(self, image: NDArray[np.floating], fill: float) -> NDArray[np.float32]:
        """(rows, columns) plane image to the model grid, linear, smoothed first when shrinking."""
        finite = np.nan_to_num(image.astype(np.float32), nan=fill, posinf=fill, neginf=fill)
        sigma = [max(0.0, 0.4 * (1 / s - 1)) for s in self.scale]
        smooth = scipy.ndimage.gaussian_filter(finite, sigma, mode="nearest") if max(sigma) > 0.05 else finite
        return self._transform(smooth, self.model_shape, forward=True, fill=fill)

    def map_to_plane(self, values: NDArray[np.floating], fill: float) -> NDArray[np.float32]:
        """A (rows, columns) model map (logits, probabilities) to the plane grid, linear."""
        return self._transform(values.astype(np.float32), self.plane_shape, forward=False, fill=fill)

    def _transform(
        self, values: NDArray[np.float32], shape: tuple[int, int], *, forward: bool, fill: float
    ) -> NDArray[np.float32]:
        if self.scale == (1.0, 1.0) and self.plane_shape == self.model_shape:
            return np.array(values, dtype=np.float32)  # the same grid; resampling gives the same, slowly
        scale = [1 / s if forward else s for s in self.scale]
        offset = [
            -self._offset(axis) / self.scale[axis] if forward else self._offset(axis) for axis in (0, 1)
        ]
        result = scipy.ndimage.affine_transform(
            values, scale, offset, output_shape=shape, order=1, mode="grid-constant", cval=fill
        )
        return np.asarray(result, dtype=np.float32)
