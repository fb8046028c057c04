"""A closed model's memory given back, and how to tell that memory ran out; loads no torch by itself."""

from __future__ import annotations

import gc
import sys

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def give_memory_back() -> None:
    """Return what a model has left on the GPU, once nothing refers to the model any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out.

    CUDA has a class of its own; the CPU's allocator, Metal and cuBLAS raise a RuntimeError with such words.
    """
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)
