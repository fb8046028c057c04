"""A U-Net of the same size for comparison: every structure has a fixed output, nothing is asked.

It shows what the queries of the grounding network cost or bring. Trained with the same images and
losses: `plain = true` in a configuration.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_medreason.models.embedded.network import (
    GroundingNetwork,
    ImageFeatures,
    NetworkConfig,
    weighted_pixels,
)

WIDER = (48, 104, 216, 272)
"""Trunk channels that make up for the parameters of the queries."""


def plain_config(config: NetworkConfig) -> NetworkConfig:
    """The sizes of a plain U-Net with about as many parameters."""
    return replace(config, widths=WIDER, query_blocks=0)


class PlainUNet(GroundingNetwork):
    """Fixed weights over the pixel features per structure, presence from the mean of the context."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.seen = nn.Linear(config.widths[2], len(config.structures))
        for unused in ("tokens", "blocks", "adapt", "presence"):
            delattr(self, unused)
        del self.query

    def structures(
        self, features: ImageFeatures, offset: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (B, K, h, w) against a background of 0, and presence logits (B, K)."""
        count = len(features.trunk)
        weights, bias = self.weights.expand(count, -1, -1), self.bias.expand(count, -1)
        presence: Tensor = self.seen(features.context.mean((2, 3)))
        return weighted_pixels(features, weights, bias, offset), presence.float()


def network_for(config: NetworkConfig, *, plain: bool) -> GroundingNetwork:
    """The grounding network of these sizes, or the plain U-Net beside it."""
    return PlainUNet(plain_config(config)) if plain else GroundingNetwork(config)


def parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(torch.numel(parameter) for parameter in network.parameters())
