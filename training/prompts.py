"""Prompts as a user would draw them, made from the labels of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.models.embedded.prompts import prompt_maps

from .batches import Batch
from .losses import PRESENT_PIXELS
from .sampling import normal

Box = tuple[float, float, float, float]


class PromptBatch(NamedTuple):
    """One prompted object per image.

    maps: (B, PROMPT_CHANNELS, S/4, S/4). target: (B, S, S) float, 1.0 on the object.
    valid: (B,) bool, False where the image has no object to prompt.
    """

    maps: Tensor
    target: Tensor
    valid: Tensor


def random_prompts(batch: Batch, generator: torch.Generator) -> PromptBatch:
    """For each image one of its structures (one side of it where sides are told), and prompts for it."""
    size = (batch.labels.shape[1], batch.labels.shape[2])
    maps, targets, valid = [], [], []
    for labels, sides in zip(batch.labels, batch.sides, strict=True):
        target = _random_object(labels, sides, generator)
        seen = int(target.sum()) >= PRESENT_PIXELS
        maps.append(_prompts_for(target, generator) if seen else prompt_maps(size))
        targets.append(target.float())
        valid.append(seen)
    return PromptBatch(torch.stack(maps), torch.stack(targets), torch.tensor(valid))


def _random_object(labels: Tensor, sides: Tensor, generator: torch.Generator) -> Tensor:
    """(S, S) bool mask of a structure, each structure and side with the same chance."""
    kinds = labels * 3 + sides
    values, pixels = torch.unique(kinds[labels > 0], return_counts=True)
    values = values[pixels >= PRESENT_PIXELS]
    if len(values) == 0:
        return torch.zeros_like(labels, dtype=torch.bool)
    chosen: Tensor = kinds == values[int(torch.randint(len(values), (), generator=generator))]
    return chosen


def _prompts_for(target: Tensor, generator: torch.Generator) -> Tensor:
    """Any mix of a loose box, one to three points inside, points outside and a rough mask."""
    give_box, give_points, give_mask, give_outside = (torch.rand(4, generator=generator)).tolist()
    box = _loose_box(target, generator) if give_box < 0.7 else None
    points: list[tuple[float, float]] = []
    labels: list[bool] = []
    if give_points < 0.7 or box is None:
        points += _inner_points(target, 1 + int(torch.randint(3, (), generator=generator)), generator)
        labels += [True] * len(points)
    if give_outside < 0.25:
        outside = _near_outside_points(target, generator)
        points += outside
        labels += [False] * len(outside)
    mask = _rough_mask(target, generator) if give_mask < 0.2 else None
    size = (target.shape[0], target.shape[1])
    return prompt_maps(size, box=box, points=points, labels=labels, mask=mask)


def _loose_box(target: Tensor, generator: torch.Generator) -> Box:
    rows, columns = target.any(1).nonzero()[:, 0], target.any(0).nonzero()[:, 0]
    x0, x1 = float(columns[0]), float(columns[-1]) + 1
    y0, y1 = float(rows[0]), float(rows[-1]) + 1
    error = (normal(4, generator=generator) * 0.07).tolist()
    wide, high = x1 - x0 + 3, y1 - y0 + 3
    return x0 + error[0] * wide, y0 + error[1] * high, x1 + error[2] * wide, y1 + error[3] * high


def _inner_points(target: Tensor, count: int, generator: torch.Generator) -> list[tuple[float, float]]:
    """Points of the object, usually from its inner part, as key points are."""
    inner = _eroded(target, 2)
    places = (inner if bool(inner.any()) else target).nonzero()
    chosen = places[torch.randint(len(places), (count,), generator=generator)]
    return [(float(x), float(y)) for y, x in chosen.tolist()]


def _near_outside_points(target: Tensor, generator: torch.Generator) -> list[tuple[float, float]]:
    around = _dilated(target, 12) & ~_dilated(target, 2)
    places = around.nonzero()
    if len(places) == 0:
        return []
    y, x = places[int(torch.randint(len(places), (), generator=generator))].tolist()
    return [(float(x), float(y))]


def _rough_mask(target: Tensor, generator: torch.Generator) -> Tensor:
    """The object eroded, dilated or shifted by a few pixels."""
    way, amount = torch.randint(3, (2,), generator=generator).tolist()
    if way == 0:
        return _dilated(target, 1 + amount).float()
    if way == 1:
        return _eroded(target, 1 + amount).float()
    step = (torch.randint(-4, 5, (2,), generator=generator)).tolist()
    return torch.roll(target, step, (0, 1)).float()


def _dilated(mask: Tensor, radius: int) -> Tensor:
    size = 2 * radius + 1
    rows = functional.max_pool2d(mask[None, None].float(), (size, 1), 1, (radius, 0))
    return functional.max_pool2d(rows, (1, size), 1, (0, radius))[0, 0] > 0


def _eroded(mask: Tensor, radius: int) -> Tensor:
    return ~_dilated(~mask, radius)
