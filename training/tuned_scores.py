"""How a network that is being tuned does: on corrected slices, and on what it knew before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.averaging import network_maps
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.network import GroundingNetwork

from .batches import Batch
from .loop import Sample
from .overlays import overlaid
from .prompts import random_prompts
from .train_embedded import seeded
from .tuned_slices import Slice
from .validation import Tally, add_to_tally, predicted

SAMPLES = 8
PROMPT_SEED = 78


@torch.no_grad()
def slice_scores(
    network: GroundingNetwork, slices: Sequence[Slice], expert: Expert, structures: Sequence[str]
) -> tuple[float, tuple[Sample, ...]]:
    """Mean Dice over the regions of the slices, in the network's pixels, and some answers as pictures."""
    dice: list[float] = []
    samples = []
    for number, one in enumerate(slices):
        best = _seen(network, one, expert)
        own = {structures[k]: _dice(best == 1 + k, one.labels == 1 + k) for k in _regions(one)}
        dice += own.values()
        if number < SAMPLES:
            words = {"structures": {name: round(value, 3) for name, value in own.items()}}
            samples.append(Sample(f"slice-{number:02d}", words, {"answer": _picture(one, best)}))
    return float(np.mean(dice)) if dice else 0.0, tuple(samples)


@torch.no_grad()
def prompted_dice(network: GroundingNetwork, batches: Sequence[Batch], expert: Expert) -> float:
    """Mean Dice of what is drawn from prompts, one in each image; the same prompts each time."""
    dice: list[float] = []
    for number, batch in enumerate(batches):
        prompts = random_prompts(batch, seeded(PROMPT_SEED, number))
        place = inputs.place_maps(batch.channels, batch.plane, expert.pixel_mm)
        drawn, _ = network.prompted(network.features(batch.channels, place), prompts.maps)
        guesses, truths = drawn[:, 0] > 0, prompts.target > 0.5
        dice += [_dice(guesses[n], truths[n]) for n in prompts.valid.nonzero()[:, 0].tolist()]
    return float(np.mean(dice)) if dice else 0.0


def _seen(network: GroundingNetwork, one: Slice, expert: Expert) -> Tensor:
    """(h, w) 0 or 1 + index of the structure that is seen."""
    channels = inputs.scale(one.image[None], expert.modality)
    maps = network_maps(
        network, channels, torch.tensor([one.plane]), expert.pixel_mm, symmetric=expert.symmetric
    )
    return torch.cat([torch.zeros_like(maps.logits[:, :1]), maps.logits], 1).argmax(1)[0]


def _regions(one: Slice) -> list[int]:
    present = torch.unique(one.labels)
    return [int(value) - 1 for value in present if value > 0]


def _dice(guess: Tensor, truth: Tensor) -> float:
    total = int(guess.sum() + truth.sum())
    return 2 * int((guess & truth).sum()) / total if total else 1.0


def _picture(one: Slice, best: Tensor) -> NDArray[np.uint8]:
    """(rows, columns, 3): the slice with the correction in green and the answer in red, both in yellow."""
    image = one.image.numpy()
    low, high = np.percentile(image, [0.5, 99.5])
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255
    rgb = np.repeat(grey[..., None], 3, -1).astype(np.float32)
    corrected = one.labels.numpy() > 0
    asked = torch.tensor([1 + k for k in _regions(one)])
    answered = torch.isin(best, asked).numpy()
    return overlaid(rgb, corrected, answered)


@torch.no_grad()
def kept_dice(network: GroundingNetwork, batches: Sequence[Batch], expert: Expert) -> float:
    """Mean Dice over the structures that the expert knew, on batches with all their labels."""
    count = len(expert.structures)
    size = len(network.config.structures)
    tally = Tally(*(torch.zeros(size) for _ in range(3)))
    for batch in batches:
        _, logits, _ = predicted(network, batch, expert.pixel_mm, symmetric=expert.symmetric)
        add_to_tally(tally, logits, batch)
    return float(tally.dice[:count].nanmean())
