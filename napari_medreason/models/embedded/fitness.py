"""Whether a slice looks like what an expert was made for, from its grey values alone.

A network answers on anything, so what is no CT in HU, inverted, empty or drowned in noise is refused
before its answer counts; much noise and metal lower the confidence. The limits lie far outside the
training scans, the calibration scans and the phantoms, and were not fitted to any weights; see
docs/decisions/embedded-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.plane import Plane
from napari_medreason.core.resample import ModelFrame

CT_PIXEL_MM, MR_PIXEL_MM = 3.0, 1.5
"""Pixels on which grey values are judged, whatever the network's own pixels are."""
LEAST_BODY_MM2 = 4000.0
"""A smaller body is at the edge of the patient: too few pixels to judge their grey values."""
FLAT_HU = 150.0
BODY_HU = -300.0
SOFT_HU, LEAST_SOFT = (-200.0, 300.0), 0.5
"""Fat, water and soft tissue are at least half of any body on CT."""
FAT_HU, LEAST_FAT = (-150.0, -20.0), 0.03
NOISY_HU, NOISE_ONLY_HU = 60.0, 150.0
METAL_HU, MUCH_METAL_MM2 = 2500.0, 100.0
BRIGHT_BORDER = 0.5
"""On MR air is dark: the median of the border, as a share of the grey values."""
NOISY_SHARE, NOISE_ONLY_SHARE = 0.055, 0.095
_BORDER = 0.03
_NOISE_KERNEL = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], np.float32)
_NOISE_PER_MEDIAN = 1 / (6 * 0.6745)


@dataclass(frozen=True)
class Fitness:
    """refused: why nothing should be looked for, "" without a reason. doubts: what makes answers unsure."""

    refused: str = ""
    doubts: tuple[str, ...] = ()
    body_mm2: float = field(default=0.0, compare=False)


FIT = Fitness()
FLAT = Fitness("it is nearly one single grey value")
NOT_HU = Fitness("its grey values are not those of a CT of the body in HU")
NOISE_ONLY = Fitness("it is mostly noise")
INVERTED = Fitness("its background is bright, as on an inverted image or a photograph")
NOISY = "the slice is very noisy, so the confidence was lowered"
METAL = "metal on the slice may mislead the model by its streaks, so the confidence was lowered"


def fitness(plane: Plane) -> Fitness:
    """How far a calibrated plane looks like CT of the body in HU, or like MR with air around the patient."""
    if not plane.calibrated:
        return FIT
    pixel_mm = CT_PIXEL_MM if plane.modality == "CT" else MR_PIXEL_MM
    verdict, body = (_ct if plane.modality == "CT" else _mr)(plane)
    return replace(verdict, body_mm2=float(body.sum()) * pixel_mm**2)


def _ct(plane: Plane) -> tuple[Fitness, NDArray[np.bool_]]:
    image = _judged(plane, CT_PIXEL_MM, fill=-1024.0)
    body = image > BODY_HU
    return _verdict_on_ct(image, body), body


def _verdict_on_ct(image: NDArray[np.float32], body: NDArray[np.bool_]) -> Fitness:
    if body.sum() * CT_PIXEL_MM**2 < LEAST_BODY_MM2:
        return FIT
    if np.ptp(np.percentile(image, [0.5, 99.5])) < FLAT_HU:
        return FLAT
    noise = _noise(image, body)
    if noise > NOISE_ONLY_HU:
        return NOISE_ONLY
    values = image[body]
    if _share(values, SOFT_HU) < LEAST_SOFT or _share(values, FAT_HU) < LEAST_FAT:
        return NOT_HU
    doubts = [NOISY] if noise > NOISY_HU else []
    if (image > METAL_HU).sum() * CT_PIXEL_MM**2 > MUCH_METAL_MM2:
        doubts.append(METAL)
    return Fitness(doubts=tuple(doubts))


def _mr(plane: Plane) -> tuple[Fitness, NDArray[np.bool_]]:
    finite = plane.image[np.isfinite(plane.image)]
    image = _judged(plane, MR_PIXEL_MM, fill=float(finite.min()) if finite.size else 0.0)
    low, high = np.percentile(image, [0.5, 99.5])
    if np.ptp(image) <= 1e-6 * max(np.abs(image).max(), 1.0):
        return FLAT, np.zeros(image.shape, dtype=bool)
    if high <= low:  # a little of the patient on much air
        return FIT, image > low
    shares = (image - low) / (high - low)
    body = shares > 0.15
    return _verdict_on_mr(shares, body), body


def _verdict_on_mr(shares: NDArray[np.float32], body: NDArray[np.bool_]) -> Fitness:
    if np.median(shares[_border(shares.shape)]) > BRIGHT_BORDER:
        return INVERTED
    if body.sum() * MR_PIXEL_MM**2 < LEAST_BODY_MM2:
        return FIT
    noise = _noise(shares, body)
    if noise > NOISE_ONLY_SHARE:
        return NOISE_ONLY
    return Fitness(doubts=(NOISY,)) if noise > NOISY_SHARE else FIT


def _judged(plane: Plane, pixel_mm: float, *, fill: float) -> NDArray[np.float32]:
    """(rows, columns) grey values on isotropic pixels, without the padding around the plane."""
    frame = ModelFrame.with_pixel_size(plane.grid.shape, plane.grid.spacing, pixel_mm, 1)
    return frame.image_to_model(plane.image, fill)


def _share(values: NDArray[np.float32], limits: tuple[float, float]) -> float:
    return float(((values > limits[0]) & (values < limits[1])).mean())


def _noise(image: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise in the body, by a mask that edges and slopes cancel in.

    The kernel is that of Immerkaer (Fast noise variance estimation, 1996, equation 2); the median in
    place of his mean leaves out what edges remain.
    """
    inner = scipy.ndimage.binary_erosion(body)
    if not inner.any():
        return 0.0
    rough = np.abs(scipy.ndimage.convolve(image, _NOISE_KERNEL, mode="nearest"))
    return float(np.median(rough[inner]) * _NOISE_PER_MEDIAN)


def _border(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    width = max(1, round(_BORDER * min(shape)))
    border = np.ones(shape, dtype=bool)
    border[width:-width, width:-width] = False
    return border
