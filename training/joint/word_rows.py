"""Rows of words that are trained beside a language model, in 32 bits and without touching its own.

A step of the optimiser is often smaller than what 16 bits can tell apart near a weight; it would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TrainedRows(nn.Module):
    """The last `count` rows of a network's embeddings and output layer, which take their places.

    embed, output: (count, hidden) float32. Only these are trained, decayed and kept in checkpoints.
    """

    def __init__(self, network: Any, count: int) -> None:
        super().__init__()
        embeddings, output = network.get_input_embeddings(), network.get_output_embeddings()
        rows = (layer.weight.detach()[-count:].float().clone() for layer in (embeddings, output))
        self.embed, self.output = map(nn.Parameter, rows)
        self._first, self._on = len(embeddings.weight) - count, True
        embeddings.register_forward_hook(self._embedded)
        output.register_forward_hook(self._judged)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The network with its own rows, in this block."""
        self._on = False
        try:
            yield
        finally:
            self._on = True

    def _embedded(self, _: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        if not self._on:
            return found
        ids = given[0]
        own = functional.embedding((ids - self._first).clamp(min=0), self.embed).to(found.dtype)
        return torch.where((ids >= self._first)[..., None], own, found)

    def _judged(self, _: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        if not self._on:
            return found
        own = functional.linear(given[0].to(self.output.dtype), self.output).to(found.dtype)
        return torch.cat([found[..., : self._first], own], dim=-1)
