"""A baseline without learning: where a structure usually lies in the body, and how bright it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_medreason.core.plane import AXES, Plane
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.perception import Perception, fill_value

from .batches import Source
from .config import EmbeddedConfig
from .embedded_sources import training_source
from .losses import PRESENT_PIXELS
from .train_embedded import seeded

GRID = 48
"""Pixels along each side of the body's box in which places are counted."""
BATCHES = 300
USUAL = 0.3
"""A place is usual when at least this share of the slices that show the structure have it there."""
SPREADS = 2.0
PRIOR_SEED = 99


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """Mean shapes in the body's box, and grey values, counted on training images.

    place: (3 planes, K, GRID, GRID) share of the slices with the structure that have it there.
    often: (3, K) share of slices with the structure. mean, spread: (K, C) of the channels.
    """

    structures: tuple[str, ...]
    place: NDArray[np.float32]
    often: NDArray[np.float32]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    def masks(self, seen: Perception, plane: Plane) -> dict[str, NDArray[np.bool_]]:
        """Structure to (rows, columns) mask in plane pixels: usual place, usual grey value, largest piece."""
        channels = _channels(seen, plane)
        box = body_box(channels)
        if box is None:
            return {}
        axis = AXES.index(plane.grid.axis)
        result = {}
        for k, name in enumerate(self.structures):
            likely = _placed(self.place[axis, k], box, channels.shape[-2:]) > USUAL
            distance = np.abs(channels - self.mean[k][:, None, None]) / self.spread[k][:, None, None]
            mask = _largest(likely & (distance < SPREADS).all(0))
            shown = mask.sum() >= PRESENT_PIXELS and self.often[axis, k] > 0
            values = np.where(mask, 1.0, -1.0).astype(np.float32)
            native = seen.frame.map_to_plane(values, fill=-1.0) > 0
            result[name] = native if shown else np.zeros_like(native)
        return result


def _channels(seen: Perception, plane: Plane) -> NDArray[np.float32]:
    image = seen.frame.image_to_model(plane.image, fill_value(plane, seen.expert))
    channels: NDArray[np.float32] = inputs.scale(torch.from_numpy(image)[None], seen.expert.modality)[
        0
    ].numpy()
    return channels


def counted(config: EmbeddedConfig, data: Path, cache: Path, structures: tuple[str, ...]) -> ShapePrior:
    """Count places and grey values on images of the training source, hardly changed."""
    return counted_on(training_source(config, data, cache), structures, BATCHES)


def counted_on(source: Source, structures: tuple[str, ...], batches: int) -> ShapePrior:
    """Count places and grey values on batches of any source."""
    count = len(structures)
    place = np.zeros((3, count, GRID, GRID))
    slices, shown = np.zeros(3), np.zeros((3, count))
    values: list[list[Tensor]] = [[] for _ in structures]
    for step in range(batches):
        batch = source.batch(4, 0.2, seeded(PRIOR_SEED, step))
        for image, labels, plane in zip(batch.channels, batch.labels, batch.plane.tolist(), strict=True):
            box = body_box(image.numpy())
            if box is None:
                continue
            slices[plane] += 1
            boxed = _boxed(labels.numpy(), box)
            for k in np.unique(boxed[boxed > 0]) - 1:
                place[plane, k] += boxed == k + 1
                shown[plane, k] += 1
                values[k].append(image[:, labels == k + 1][:, :50])
    means, spreads = zip(*(_mean_and_spread(own, batch.channels.shape[1]) for own in values), strict=True)
    often = shown / np.maximum(slices, 1)[:, None]
    share = place / np.maximum(shown, 1)[..., None, None]
    return ShapePrior(
        structures,
        share.astype(np.float32),
        often.astype(np.float32),
        np.stack(means),
        np.stack(spreads),
    )


def _mean_and_spread(values: list[Tensor], channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not values:
        return np.zeros(channels, np.float32), np.full(channels, 1e-3, np.float32)
    joined = torch.cat(values, 1)
    return joined.mean(1).numpy(), (joined.std(1, correction=0) + 0.02).numpy()


def body_box(channels: NDArray[np.float32]) -> tuple[slice, slice] | None:
    """Rows and columns of the body in (C, h, w) channels; None for an empty image."""
    lung = channels.shape[0] == 3
    body = channels[1] > inputs.DARK + 0.95 if lung else channels[0] > inputs.DARK + 0.15
    found = ndimage.find_objects(ndimage.binary_opening(body, iterations=2).astype(np.uint8))
    return found[0] if found else None


def _boxed(labels: NDArray[np.int64], box: tuple[slice, slice]) -> NDArray[np.int64]:
    inside = labels[box]
    rows, columns = (np.linspace(0, size - 1, GRID).round().astype(int) for size in inside.shape)
    return np.asarray(inside[np.ix_(rows, columns)])


def _placed(
    share: NDArray[np.float32], box: tuple[slice, slice], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Shares (GRID, GRID) of the box, spread over the box in an image of this shape."""
    result = np.zeros(shape, np.float32)
    rows, columns = (edge.stop - edge.start for edge in box)
    index = [np.linspace(0, GRID - 1, size).round().astype(int) for size in (rows, columns)]
    result[box] = share[np.ix_(*index)]
    return result


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())
