"""What a run needs beside what is free on the device that it will use."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_memory import BaseSize, check_memory, memory_estimate
from napari_medreason.models.fit_memory import free_memory
from napari_medreason.models.loading import pick_device

from . import several
from .runs import note


def tell_memory(config: RunConfig, base: BaseSize | None = None) -> None:
    """Note the estimate in the run's log; RunError when the device has too little free.

    How much of it each of several processes takes depends on what they share out, which is not known here.
    """
    if several.process_count() > 1:
        words = memory_estimate(config, base).words
        note(f"about {words} of memory on one process; {several.process_count()} share it")
        return
    device = pick_device(config.device or None)
    note(check_memory(config, free_memory(device, exclusive=bool(config.device)).free, base))


def reasoner_size(folder: Path) -> BaseSize:
    """What of a vision-language model decides its memory; built without weights, so that none is read."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(config)  # type: ignore[no-untyped-call]
    settings = config.get_text_config()
    width = getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
    text = _weights(network.get_decoder().layers)
    words = _weights(network.get_input_embeddings()) + _weights(network.get_output_embeddings())
    everything = _weights(network)
    if network.get_input_embeddings().weight is network.get_output_embeddings().weight:
        words //= 2
    return BaseSize(
        text=text,
        words=words,
        vision=everything - text - words,
        layers=settings.num_hidden_layers,
        hidden=settings.hidden_size,
        inner=settings.intermediate_size,
        pair=width * settings.num_key_value_heads,
        vocabulary=settings.vocab_size,
    )


def _weights(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())
