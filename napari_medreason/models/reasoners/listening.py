"""What is told and asked while a text is written: its words as they come, and whether to stop.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import torch
from transformers import StoppingCriteria, TextStreamer

from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, OnText

CANCEL_SECONDS = 0.05
"""How often `cancelled` is asked while a token is made; the first one, with the picture, may take long."""


class CancelWatch:
    """Asks between the layers of a network whether to stop, so that a picture on a CPU can be cancelled."""

    def __init__(self, network: Any) -> None:
        self._cancelled: Cancelled | None = None
        self._asked = 0.0
        for module in network.modules():
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(self._before_layer)

    @contextmanager
    def listening(self, cancelled: Cancelled) -> Iterator[None]:
        """Raises CancelledError inside the network when `cancelled` says so."""
        self._cancelled, self._asked = cancelled, monotonic()
        try:
            yield
        finally:
            self._cancelled = None

    def _before_layer(self, *_: Any) -> None:
        if self._cancelled is None or monotonic() - self._asked < CANCEL_SECONDS:
            return
        self._asked = monotonic()
        if self._cancelled():
            raise CancelledError


class CallbackStreamer(TextStreamer):
    """Hands whole words on as they are made."""

    def __init__(self, tokenizer: Any, on_text: OnText) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by `generate`, with text that no later token can change."""
        if text:
            self._on_text(text)


class StopWhenCancelled(StoppingCriteria):
    """Asked by `generate` after every token."""

    def __init__(self, cancelled: Cancelled) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(texts,) bool: whether each of them is to end."""
        return torch.full((input_ids.shape[0],), self._cancelled(), dtype=torch.bool, device=input_ids.device)
