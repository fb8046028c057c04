"""Boxes, points and masks as maps for the prompt decoder; the same code in training and in use.

Imported only inside functions, since it needs torch. Channels of the (PROMPT_CHANNELS, h/4, w/4)
maps: 0 inside the box; 1 near points inside the object; 2 near points outside it; 3 to 6 the mask at
half resolution, pixel-unshuffled; 7 to 9 whether a box, a point, a mask was given at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .network import PROMPT_CHANNELS

POINT_SIGMA = 4.0
"""Spread of a point on its map, in model pixels."""


def prompt_maps(
    size: tuple[int, int],
    *,
    box: tuple[float, float, float, float] | None = None,
    points: Sequence[tuple[float, float]] = (),
    labels: Sequence[bool] = (),
    mask: Tensor | None = None,
) -> Tensor:
    """(PROMPT_CHANNELS, h/4, w/4) from prompts in model pixels.

    size: (h, w). box: half-open (x0, y0, x1, y1). points: (x, y), pixel centres at integers;
    labels: True for inside. mask: (h, w) float, 0 to 1.
    """
    maps = torch.zeros(PROMPT_CHANNELS, size[0] // 4, size[1] // 4)
    if box is not None:
        rows = _coverage(box[1] - 0.5, box[3] - 0.5, size[0] // 4)
        columns = _coverage(box[0] - 0.5, box[2] - 0.5, size[1] // 4)
        maps[0] = rows[:, None] * columns[None, :]
        maps[7] = 1.0
    for point, inside in zip(points, labels, strict=True):
        channel = 1 if inside else 2
        maps[channel] = torch.maximum(maps[channel], _spot(point, size))
        maps[8] = 1.0
    if mask is not None:
        half = functional.avg_pool2d(mask[None, None].float(), 2)
        maps[3:7] = functional.pixel_unshuffle(half, 2)[0]
        maps[9] = 1.0
    return maps


def _coverage(low: float, high: float, cells: int) -> Tensor:
    """(cells,) share of each cell of four pixels that lies between two edges in pixel coordinates."""
    start = 4 * torch.arange(cells).float() - 0.5
    covered = torch.clamp(start + 4, max=high) - torch.clamp(start, min=low)
    return (covered / 4).clamp(0, 1)


def _spot(point: tuple[float, float], size: tuple[int, int]) -> Tensor:
    y = 4 * torch.arange(size[0] // 4).float() + 1.5 - point[1]
    x = 4 * torch.arange(size[1] // 4).float() + 1.5 - point[0]
    return torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * POINT_SIGMA**2))
