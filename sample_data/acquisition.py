"""What a scanner adds to an ideal image: noise, streaks, thick slices, uneven coils."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def scanned_ct(voxels: Image, rng: np.random.Generator, *, noise_hu: float) -> NDArray[np.int16]:
    """Ideal HU (k, j, i) as a scanner would show them: int16 HU with fine-grained noise.

    The noise is correlated between neighbouring pixels, as after filtered back projection, stronger
    deep inside the body and where much bone lies to the left and right, and streaked there.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    white = rng.standard_normal(voxels.shape, dtype=np.float32)
    grain = gaussian_filter(white, (0, 0.55, 0.55)) - 0.6 * gaussian_filter(white, (0, 2.0, 2.0))
    streaks = gaussian_filter(rng.standard_normal(voxels.shape, dtype=np.float32), (0, 0.6, 9.0))
    body = (voxels > -400).astype(np.float32)
    depth = gaussian_filter(body, (1, 24, 24))
    bone = gaussian_filter1d((voxels > 250).astype(np.float32).mean(axis=2, keepdims=True), 2.0, axis=1)
    strength = noise_hu * (0.45 + 0.75 * depth**2 + 1.2 * bone * depth)
    cupping = -6.0 * depth**2 * body
    noisy = voxels + cupping + strength * (grain / grain.std() + 2.2 * bone * depth * streaks / streaks.std())
    inside = _field_of_view(voxels.shape[1:])
    return np.where(inside, np.clip(np.rint(noisy), -1024, 3071), -1024).astype(np.int16)


def _field_of_view(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The circle (rows, columns) that a scanner reconstructs."""
    rows, columns = (np.linspace(-1, 1, size) for size in shape)
    return np.asarray(rows[:, None] ** 2 + columns[None, :] ** 2 <= 1)


def scanned_mr(voxels: Image, rng: np.random.Generator, *, noise: float, scale: float) -> NDArray[np.int16]:
    """Ideal MR brightness (k, j, i) times `scale`, with coil sensitivity and Rician noise, as int16."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = rng.standard_normal((4, 4, 4))
    field = zoom(coarse, [size / 4 for size in voxels.shape], order=3, grid_mode=True, mode="nearest")
    sensitivity = 1 + 0.09 * field / np.abs(field).max() + _brighter_at_the_rim(voxels.shape)
    clean = gaussian_filter(voxels, 0.4) * sensitivity.astype(np.float32) * np.float32(scale)
    real, imaginary = noise * rng.standard_normal((2, *voxels.shape), dtype=np.float32)
    return np.rint(np.hypot(clean + real, imaginary)).astype(np.int16)


def _brighter_at_the_rim(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """0 in the middle of the grid to 0.12 at its corners, as with a head coil."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij", sparse=True)
    return np.asarray(0.04 * (axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2))


def thick_slices(voxels: Image, count: int) -> Image:
    """Mean of every `count` neighbouring slices (k, j, i)."""
    slices = len(voxels) // count
    return voxels[: slices * count].reshape(slices, count, *voxels.shape[1:]).mean(axis=1)
