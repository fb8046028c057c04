"""A LoRA on LLaVA-Med's text layers while it is trained, through PEFT."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from napari_medreason.core.run_recipes_joint import MediSeeRecipe, PrsMedRecipe
from napari_medreason.errors import RunError
from napari_medreason.io import replace_file
from napari_medreason.models.reasoners.adapters import SETTINGS, WEIGHTS


class TextLora:
    """The LoRA of one network, put on in place; `network` must be frozen before."""

    def __init__(self, network: Any, settings: PrsMedRecipe | MediSeeRecipe) -> None:
        self._config = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=rf".*language_model\..*\.({'|'.join(settings.lora_targets)})",
            bias="none",
        )
        try:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT's own
                self._adapted = PeftModel(network, self._config)
        except ValueError as error:
            raise RunError(
                f"lora_targets = {list(settings.lora_targets)} names no layer of the text model; accepted "
                "are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj"
            ) from error

    @contextmanager
    def off(self) -> Iterator[None]:
        """The network without it, in this block."""
        self._enable(on=False)
        try:
            yield
        finally:
            self._enable(on=True)

    def save(self, folder: Path) -> None:
        """Write it as PEFT does, without what names files."""
        tensors = {
            name: value.detach().float().cpu().contiguous()
            for name, value in get_peft_model_state_dict(self._adapted).items()
        }
        with replace_file(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, {"format": "pt"})
        config = self._config
        settings = {
            "peft_type": "LORA",
            "r": config.r,
            "lora_alpha": config.lora_alpha,
            "lora_dropout": config.lora_dropout,
            "target_modules": config.target_modules,
            "bias": config.bias,
        }
        with replace_file(folder / SETTINGS) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    def _enable(self, *, on: bool) -> None:
        for module in self._adapted.modules():
            if isinstance(module, BaseTunerLayer):
                module.enable_adapters(on)
