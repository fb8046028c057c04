"""Losses of fine-tuning the embedded model: what corrections teach, and what holds the rest where it was."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.network import GroundingNetwork, ImageFeatures

from .batches import Batch
from .grown_network import keep_loss
from .losses import presence_loss, prompt_loss, side_loss, structure_loss
from .new_rows import MOST_WEIGHT
from .prompts import PromptBatch, random_prompts


class Networks(NamedTuple):
    """The network that is tuned, its untouched base, and the size of their pixels."""

    tuned: GroundingNetwork
    base: GroundingNetwork
    pixel_mm: float


class _Seen(NamedTuple):
    """Features of a batch on every second row and column; tuned and base are the same where frozen."""

    tuned: ImageFeatures
    base: ImageFeatures
    offset: tuple[int, int]


def prompt_losses(
    networks: Networks, batch: Batch, corrected: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Losses when only the part that draws from prompts is tuned; the features are the base's.

    The first `corrected` images are corrected slices; on the others the base's own drawing is kept.
    """
    offset = _offset(generator)
    with torch.no_grad():
        features = _features(networks.base, networks.pixel_mm, batch, offset)
    prompts = random_prompts(batch, generator)
    return _prompt_parts(networks, _Seen(features, features, offset), prompts, corrected)


def tuning_losses(
    networks: Networks, batch: Batch, corrected: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Losses when all of the network is tuned, on every second row and column from a random offset."""
    offset = _offset(generator)
    with torch.no_grad():
        base = _features(networks.base, networks.pixel_mm, batch, offset)
    seen = _Seen(_features(networks.tuned, networks.pixel_mm, batch, offset), base, offset)
    prompts = random_prompts(batch, generator)
    return {**_named_parts(networks, seen, batch), **_prompt_parts(networks, seen, prompts, corrected)}


def _offset(generator: torch.Generator) -> tuple[int, int]:
    row, column = torch.randint(2, (2,), generator=generator).tolist()
    return row, column


def _features(
    network: GroundingNetwork, pixel_mm: float, batch: Batch, offset: tuple[int, int]
) -> ImageFeatures:
    place = inputs.place_maps(batch.channels, batch.plane, pixel_mm)
    return network.features(batch.channels.contiguous(memory_format=torch.channels_last), place, offset)


def _named_parts(networks: Networks, seen: _Seen, batch: Batch) -> dict[str, Tensor]:
    logits, presence = networks.tuned.structures(seen.tuned, seen.offset)
    with torch.no_grad():
        base_logits, base_presence = networks.base.structures(seen.base, seen.offset)
        base_sides = networks.base.sides(seen.base).softmax(1)
    quarter = batch.labels[:, seen.offset[0] :: 2, seen.offset[1] :: 2]
    old = base_presence.shape[1]
    untold = ~batch.known[:, 1 : 1 + old]
    sides = networks.tuned.sides(seen.tuned)
    kept_presence = functional.binary_cross_entropy_with_logits(
        presence[:, :old], base_presence.sigmoid(), weight=untold.float()
    )
    # As in the regression that gives new rows; without it small findings fade while tuning.
    weights = torch.ones(logits.shape[1] + 1)
    weights[1 + old :] = MOST_WEIGHT
    return {
        "structure": structure_loss(logits, quarter, batch.known.clone(), weights),
        "presence": presence_loss(presence, batch.labels, batch.known) + kept_presence,
        "side": side_loss(sides, batch.sides[:, 1::4, 1::4]) + functional.cross_entropy(sides, base_sides),
        "keep": keep_loss(logits.float(), base_logits.float(), quarter, batch.known),
    }


def _prompt_parts(networks: Networks, seen: _Seen, prompts: PromptBatch, corrected: int) -> dict[str, Tensor]:
    drawn, quality = networks.tuned.prompted(seen.tuned, prompts.maps, seen.offset)
    with torch.no_grad():
        kept, _ = networks.base.prompted(seen.base, prompts.maps, seen.offset)
    target = prompts.target[:, seen.offset[0] :: 2, seen.offset[1] :: 2]
    own = prompts.valid & (torch.arange(len(target)) < corrected)
    rest = prompts.valid & ~own
    none = drawn.sum() * 0
    learnt = prompt_loss(drawn[own, 0], quality[own], target[own]) if bool(own.any()) else none
    return {"prompt": learnt, "keep prompt": _moved(drawn[rest, 0], kept[rest, 0]) if rest.any() else none}


def _moved(logits: Tensor, base: Tensor) -> Tensor:
    """Divergence of two drawings (P, h, w) from the base's, per pixel of the larger one; 0 if the same."""
    wanted = base.float().sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    own = functional.binary_cross_entropy_with_logits(base.float(), wanted, reduction="none")
    size = torch.maximum(wanted, logits.float().sigmoid().detach()).sum((1, 2)).clamp(min=1.0)
    return ((cross - own).sum((1, 2)) / size).mean()
