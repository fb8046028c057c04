"""How much memory a run will take, before it starts: an estimate, said to be one wherever it is shown."""

from __future__ import annotations

from napari_medreason.core.run_config import RunConfig
from napari_medreason.errors import RunError

_BYTES, _BYTES_PER_IMAGE = 1_000_000_000, 60_000_000
"""Measured on one core with images of 128 pixels: libraries, phantoms, network, base and optimiser."""


def training_bytes(config: RunConfig) -> int:
    """Bytes of memory at the peak."""
    return _BYTES + _BYTES_PER_IMAGE * config.embedded.batch


def check_memory(config: RunConfig, free_bytes: int) -> str:
    """The estimate in words; RunError when it is more than is free."""
    needed = training_bytes(config)
    words = f"about {needed / 1e9:.1f} GB of memory are needed, {free_bytes / 1e9:.1f} GB are free"
    if needed > free_bytes:
        raise RunError(f"{words}; choose a smaller batch, or close other programs")
    return words
