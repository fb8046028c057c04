"""The model that a run starts from: where it lies, which family it is of, and how it is made trainable."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from napari_medreason.core.run_recipes_reasoning import GrpoRecipe, SftRecipe
from napari_medreason.errors import RunError, UnknownModelError
from napari_medreason.models import store
from napari_medreason.models.catalogue import catalogue
from napari_medreason.models.loading import Placement, load_model, load_processor, pick_device
from napari_medreason.models.pair_choice import reasoner_family
from napari_medreason.models.reasoners.forms import Family
from napari_medreason.models.weights import weight_files, weights_sha256

from .. import several

Settings = SftRecipe | GrpoRecipe
_NEEDED_KEYS = 3
"""A box and two points: rewards and examples need all of them."""


@dataclass(frozen=True)
class BaseModel:
    """name: as adapter cards tell it, an id of the catalogue or "folder:NAME"."""

    folder: Path
    name: str
    family: Family

    @property
    def sha256(self) -> str:
        """Hash of the weights, as answers of the base show it."""
        return weights_sha256(weight_files(self.folder))


def base_model(name: str, start: Path) -> BaseModel:
    """The base that a configuration names: a folder of weights, from `start`, or an id of the catalogue.

    RunError when none is named, when it is a tuned model or one that writes no key points; WeightsError when
    the weights are not on this computer.
    """
    reasoners = ", ".join(entry.id for entry in catalogue().values() if entry.kind == "reasoner")
    if not name:
        raise RunError(f"no base model is named; set base to a folder of weights or to one of {reasoners}")
    place = start / name
    if not place.is_dir() and "@" in name:
        raise RunError(
            f"base {name!r} is a tuned model; merge its adapter into a folder of weights first, and name "
            "that folder"
        )
    if not place.is_dir() and name not in catalogue():
        raise UnknownModelError(
            f"base {name!r} is no folder and not in the catalogue; name a folder of weights or one of "
            f"{reasoners}"
        )
    folder = place if place.is_dir() else store.folder(name)
    found = family_of(folder, "" if place.is_dir() else name)
    return BaseModel(folder, f"folder:{folder.name}" if place.is_dir() else name, found)


def family_of(folder: Path, weights_id: str) -> Family:
    """The family of a folder; RunError for one that writes no key points or fractions."""
    info = reasoner_family(folder, weights_id=weights_id or None)
    family = info.create.keywords.get("family") if isinstance(info.create, partial) else None
    if not isinstance(family, Family) or len(family.form.keys) != _NEEDED_KEYS:
        raise RunError(
            f"{info.title} does not write a box and two points, so it can't be trained here; choose "
            "MedReasoner, Lingshu, Qwen2.5-VL, InternVL3 or MedGemma"
        )
    if family.coordinates == "fractions":
        raise RunError(f"{info.title} writes fractions, which the rewards can't judge; choose another base")
    return family


def check_settings(settings: Settings, base: BaseModel) -> None:
    """RunError for settings that can't work together."""
    if settings.numbers == "4bit" and settings.trained == "all":
        raise RunError('numbers = "4bit" can train a low-rank adapter only; set trained = "low-rank"')
    if settings.square % base.family.multiple or settings.square < base.family.multiple:
        raise RunError(
            f"square = {settings.square}: this family needs a multiple of {base.family.multiple}, such as 840"
        )


def device_of(name: str) -> torch.device:
    """The named device or the best there is; one GPU for each process of several."""
    device = pick_device(name or None)
    if device.type == "cuda" and several.process_count() > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def load_network(base: BaseModel, settings: Settings, device: torch.device) -> Any:
    """The base in the numbers that training wants.

    Weights that are trained are held in fp32 also where it computes in bf16: an update of 1e-6 would be lost
    in the rounding of bf16.
    """
    if settings.numbers == "4bit":
        placement = Placement(device, torch.bfloat16, "4bit")
        return load_model(AutoModelForImageTextToText, base.folder, placement=placement)
    half = settings.numbers == "bf16" and settings.trained == "low-rank"
    dtype = torch.bfloat16 if half else torch.float32
    network = load_model(AutoModelForImageTextToText, base.folder, device=device, dtype=dtype)
    if not settings.vision:
        for name, weights in network.named_parameters():
            weights.requires_grad_(not is_vision(name))
    return network


def load_words(base: BaseModel) -> Any:
    """Tokenizer and image processor; pictures keep their size where the family wants exact pixels."""
    processor = load_processor(AutoProcessor, base.folder)
    if base.family.exact_pixels:
        processor.image_processor.do_resize = False
    processor.tokenizer.padding_side = "left"
    return processor


def low_rank_config(network: Any, settings: Settings) -> Any:
    """PEFT's settings of the adapter on the text layers, None when all weights are trained."""
    if settings.trained == "all":
        return None
    from peft import LoraConfig

    decoder = network.get_decoder()
    path = next(name for name, module in network.named_modules() if module is decoder)
    targets = "|".join(re.escape(name) for name in settings.low_rank_targets)
    names = rf"{re.escape(path)}\.layers\.\d+\..*\.({targets})"
    if not any(re.fullmatch(names, name) for name, _ in network.named_modules()):
        raise RunError(
            f"the base has none of the layers {', '.join(settings.low_rank_targets)}; set low_rank_targets "
            "to names of its linear layers"
        )
    return LoraConfig(
        r=settings.low_rank,
        lora_alpha=settings.low_rank_scale,
        lora_dropout=0.0,
        target_modules=names,
        task_type="CAUSAL_LM",
    )


def is_vision(name: str) -> bool:
    """Whether a weight is of the image encoder or of what joins it to the words (Qwen has that inside)."""
    parts = ("visual.", "vision_tower.", "vision_model.", "multi_modal_projector.")
    return any(part in name for part in parts)
