"""Giving a closed model's memory back; loads no torch where nothing else did."""

from __future__ import annotations

import gc
import sys


def give_memory_back() -> None:
    """Return what a model has left on the GPU, once nothing refers to the model any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
