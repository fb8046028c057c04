"""Scores on synthetic images of label maps and phantoms that training never sees."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_medreason.models.embedded.averaging import network_maps
from napari_medreason.models.embedded.network import GroundingNetwork, ImageFeatures

from .batches import Batch, Source
from .losses import present
from .prompts import random_prompts

if TYPE_CHECKING:
    from .train_embedded import Run

VALIDATION_SEED = 77
VALIDATION_BATCHES = 10


@dataclass
class Tally:
    """Pixel counts per structure, (K,) each: predicted and true, predicted, true."""

    both: Tensor
    predicted: Tensor
    true: Tensor

    @property
    def dice(self) -> Tensor:
        """(K,) Dice, NaN where a structure is neither there nor predicted."""
        total = self.predicted + self.true
        return torch.where(total > 0, 2 * self.both / total, torch.nan)


@torch.no_grad()
def validation_scores(run: Run, source: Source) -> dict[str, Any]:
    """Dice per structure and their mean, presence accuracy and Dice from prompts."""
    network = deepcopy(run.network)
    network.load_state_dict(run.average)
    network.eval()
    structures = network.config.structures
    tally = Tally(*(torch.zeros(len(structures)) for _ in range(3)))
    seen, prompted = [], []
    for number in range(VALIDATION_BATCHES):
        generator = torch.Generator().manual_seed(VALIDATION_SEED + number)
        batch = source.batch(4, 0.7, generator)
        features, logits, presence = predicted(network, batch, run.config.pixel_mm)
        add_to_tally(tally, logits, batch)
        wanted = present(batch.labels, 1 + len(structures))
        seen.append(((presence > 0) == (wanted > 0.5))[batch.known[:, 1:]].float().mean())
        prompted += _prompt_dice(network, features, batch, generator)
    dice = tally.dice
    named = {name: round(float(v), 3) for name, v in zip(structures, dice, strict=True) if not v.isnan()}
    return {
        "dice": round(float(dice.nanmean()), 4),
        "prompt_dice": round(float(torch.tensor(prompted).mean()), 4),
        "presence_accuracy": round(float(torch.stack(seen).mean()), 4),
        "structures": named,
    }


def predicted(
    network: GroundingNetwork, batch: Batch, pixel_mm: float, *, symmetric: bool = False
) -> tuple[ImageFeatures, Tensor, Tensor]:
    """Features, mask logits (B, K, S, S) and presence logits (B, K) of a batch."""
    maps = network_maps(network, batch.channels, batch.plane, pixel_mm, symmetric=symmetric)
    return maps.features, maps.logits, maps.presence


def add_to_tally(tally: Tally, logits: Tensor, batch: Batch) -> None:
    """Count the pixels of a batch; structures nobody looked for in an image are left out."""
    best = torch.cat([torch.zeros_like(logits[:, :1]), logits], 1).argmax(1)
    for index in range(logits.shape[1]):
        known = batch.known[:, 1 + index]
        guess, truth = best[known] == index + 1, batch.labels[known] == index + 1
        tally.both[index] += (guess & truth).sum()
        tally.predicted[index] += guess.sum()
        tally.true[index] += truth.sum()


def _prompt_dice(
    network: GroundingNetwork, features: ImageFeatures, batch: Batch, generator: torch.Generator
) -> list[float]:
    prompts = random_prompts(batch, generator)
    guess = network.prompted(features, prompts.maps)[0][:, 0] > 0
    target = prompts.target > 0.5
    total = guess.sum((1, 2)) + target.sum((1, 2))
    dice = 2 * (guess & target).sum((1, 2)) / total.clamp(min=1)
    return [float(value) for value in dice[prompts.valid]]
