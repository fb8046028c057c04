"""A start for structures that a network does not know: which of its pixel features tell them from the rest.

Without it a new row would need thousands of steps to grow as large as the old ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.errors import RunError
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.network import GroundingNetwork, doubled, weighted_pixels

from .tuned_slices import Slice

MOST_WEIGHT = 8.0
"""Pixels of a rare structure count at most so many times more than the others."""
RIDGE, ROUNDS = 1e-3, 60
OFFSET = (0, 0)


@torch.no_grad()
def start_new_rows(network: GroundingNetwork, slices: Sequence[Slice], expert: Expert) -> None:
    """Set weights and bias of the new rows by logistic regression on features of the corrected slices.

    RunError when no slice shows a structure.
    """
    old = len(expert.structures)
    for index in range(old, len(network.config.structures)):
        shown = [one for one in slices if bool((one.labels == 1 + index).any())]
        if not shown:
            raise RunError(
                f"no region of {vocabulary()[network.config.structures[index]].name} is left at the "
                f"{expert.pixel_mm:g} mm pixels of the embedded model; label larger ones, or leave it out"
            )
        parts = [_pixels(network, one, expert, index, old) for one in shown]
        features, others, wanted, change = (torch.cat(part) for part in zip(*parts, strict=True))
        row = _fitted(features, others, wanted)
        mean = change.mean(0)
        network.weights[index] = row[:-1] - mean[:-1]
        network.bias[index] = row[-1] - mean[-1]


def _pixels(
    network: GroundingNetwork, one: Slice, expert: Expert, index: int, old: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (n, F) of every second pixel, log of all others (n,), targets (n,), change (1, F + 1)."""
    channels = inputs.scale(one.image[None], expert.modality)
    place = inputs.place_maps(channels, torch.tensor([one.plane]), expert.pixel_mm)
    seen = network.features(channels, place, OFFSET)
    change = network.adapt(network.queries(seen))
    weights, bias = network.weights + change[..., :-1], network.bias + change[..., -1]
    logits = weighted_pixels(seen, weights[:, :old], bias[:, :old], OFFSET)[0]
    others = torch.logsumexp(torch.cat([torch.zeros_like(logits[:1]), logits]), 0)
    features = torch.cat([doubled(seen.coarse, OFFSET), seen.fine], 1)[0]
    wanted = one.labels[::2, ::2] == 1 + index
    return features.flatten(1).T, others.flatten(), wanted.flatten().float(), change[:, index]


@torch.enable_grad()
def _fitted(features: Tensor, others: Tensor, wanted: Tensor) -> Tensor:
    """(F + 1,) weights and bias against the others, by L-BFGS."""
    share = float((1 - wanted).sum() / wanted.sum().clamp(min=1))
    positive = torch.tensor(min(MOST_WEIGHT, share**0.5))
    row = torch.zeros(features.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([row], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = features @ row[:-1] + row[-1] - others
        value = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=positive)
        value = value + RIDGE * (row[:-1] ** 2).mean()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return row.detach()
