"""What a language model has made of a picture and of the prompt's head, kept for the next question.

Keys and values of the attention are kept on the model's device. Going on from them never changes them: a
new token's are appended by concatenation, which makes new tensors; only the layers' shells are copied.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

KEPT_PREFIXES = 4
"""As many as planes of which the segmenter's embedding is kept."""
KEPT_BYTES = 512 * 2**20
"""A picture of 840 pixels takes about 55 MB in a model of 7 billion weights."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """State after the first `length` tokens.

    rope_deltas: positions after a picture, of Qwen's models. input_ids: these tokens, (1, length).
    """

    cache: Any
    length: int
    rope_deltas: torch.Tensor | None = None
    input_ids: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(part.nbytes for layer in self.cache.layers for part in (layer.keys, layer.values))

    def continued(self) -> Any:
        """A cache that a generation may add to without changing this one."""
        fresh = copy.copy(self.cache)
        fresh.layers = [copy.copy(layer) for layer in self.cache.layers]
        return fresh


class PrefixCache:
    """The prefixes used last, bounded in number and in bytes."""

    def __init__(self, *, limit: int = KEPT_PREFIXES, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._prefixes: dict[Hashable, Prefix] = {}

    def get(self, key: Hashable) -> Prefix | None:
        """The prefix, now the most recent one, or None."""
        prefix = self._prefixes.pop(key, None)
        if prefix is not None:
            self._prefixes[key] = prefix
        return prefix

    def put(self, key: Hashable, prefix: Prefix) -> None:
        """Keep a prefix and drop the oldest ones beyond the limits; one that is too large is not kept."""
        self._prefixes[key] = prefix
        while self._prefixes and (len(self._prefixes) > self._limit or self.nbytes > self._limit_bytes):
            del self._prefixes[next(iter(self._prefixes))]

    def clear(self) -> None:
        """Forget all, when the model changes or is closed."""
        self._prefixes.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(prefix.nbytes for prefix in self._prefixes.values())

    def __len__(self) -> int:
        return len(self._prefixes)
