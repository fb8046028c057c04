"""How much memory a run will take, before it starts: estimates, said to be such wherever they are shown."""

from __future__ import annotations

from napari_medreason.core.run_config import RunConfig
from napari_medreason.errors import RunError

_EMBEDDED_BYTES, _EMBEDDED_BYTES_PER_IMAGE = 1_000_000_000, 60_000_000
"""Measured on one core with images of 128 pixels: libraries, phantoms, network, base and optimiser."""
_FULL = 16
"""Bytes for each weight that is trained: bf16 weight and gradient, fp32 copy and two moments of AdamW."""
_FROZEN, _QUANTISED = 2.0, 0.6
"""Bytes for each weight that stays as it is: bf16, or 4 bits with their scales."""
_ADAPTER_SHARE_PER_RANK = 0.0004
"""Weights of LoRA on all attention and MLP layers of a 7B model, as a share of its own, for each rank."""
_ACTIVATIONS = 4_000_000_000
"""Of one sequence with pictures at 7B with gradient checkpointing; grows with the answers of a step."""


def training_bytes(config: RunConfig, parameters: int = 0) -> int:
    """Bytes of the device's memory at the peak; parameters: of the base model, 0 for the embedded one."""
    if config.recipe == "embedded":
        return _EMBEDDED_BYTES + _EMBEDDED_BYTES_PER_IMAGE * config.embedded.batch
    rank = int(config.settings.lora_rank)
    if rank == 0:
        return round(_FULL * parameters) + _ACTIVATIONS
    frozen = _QUANTISED if getattr(config.settings, "quantise", False) else _FROZEN
    trained = _ADAPTER_SHARE_PER_RANK * rank * parameters
    return round(frozen * parameters + _FULL * trained) + _ACTIVATIONS


def check_memory(config: RunConfig, free_bytes: int, parameters: int = 0) -> str:
    """The estimate in words; RunError when it is more than is free."""
    needed = training_bytes(config, parameters)
    words = f"about {needed / 1e9:.1f} GB of memory are needed, {free_bytes / 1e9:.1f} GB are free"
    if needed > free_bytes:
        remedy = "a smaller batch" if config.recipe == "embedded" else "quantise = true or a smaller rank"
        raise RunError(f"{words}; choose {remedy}, or close other programs")
    return words
