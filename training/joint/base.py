"""Where a run of joint training starts from: weights of the catalogue, or a folder in the released layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from napari_medreason.core.run_memory import BaseSize
from napari_medreason.core.run_recipes_joint import TrainingPrecision
from napari_medreason.errors import RunError
from napari_medreason.models import store
from napari_medreason.models.fit import Precision
from napari_medreason.models.llava_layout import read_settings, read_tower_config
from napari_medreason.models.published import check_weights

from ..several import process_count

System = Literal["prs-med", "medisee"]
LANGUAGE, TOWER = "llava-med-7b", "clip-vit-l-336"
"""Ids of the catalogue for LLaVA-Med and its stock vision tower."""
LANGUAGE_FOLDER, TOWER_FOLDER = "base", "clip"
"""Folders beside a user's own weights that take the place of those two."""


@dataclass(frozen=True)
class BaseFolders:
    """Folders of a system. name: as an adapter's card says it."""

    system: System
    name: str
    weights: Path
    language: Path
    vision_tower: Path


def base_folders(named: str, start: Path, system: System) -> BaseFolders:
    """The folders that `base` of a configuration names.

    "" or the system's own id: those of the catalogue, which must be installed. Else a folder, relative to
    `start`, with the weights as they were released; LLaVA-Med and CLIP may lie in its folders "base" and
    "clip". RunError for what is neither, WeightsError for weights that are missing.
    """
    if named in ("", system):
        check_weights(system, (system, LANGUAGE, TOWER))
        weights, language, tower = (store.folder(one) for one in (system, LANGUAGE, TOWER))
        return BaseFolders(system, system, weights, language, tower)
    folder = start / named
    if not folder.is_dir():
        raise RunError(
            f"base = {named!r} is neither {system!r} nor a folder; leave base out, or name the folder of "
            f"{system} weights in their released layout"
        )
    language = _beside(folder, LANGUAGE_FOLDER, LANGUAGE, system)
    tower = _beside(folder, TOWER_FOLDER, TOWER, system)
    return BaseFolders(system, f"folder:{folder.resolve().name}", folder, language, tower)


def base_size(folders: BaseFolders) -> BaseSize:
    """What of a base decides how much memory its training takes, from its configuration files."""
    text, tower = read_settings(folders.language), read_tower_config(folders.vision_tower)
    hidden, inner, layers = (
        int(text[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    pair = hidden * int(text["num_key_value_heads"]) // int(text["num_attention_heads"])
    vocabulary = int(text["vocab_size"])
    layer = 2 * hidden * hidden + 2 * hidden * pair + 3 * hidden * inner
    seen = 4 * tower.hidden_size**2 + 2 * tower.hidden_size * tower.intermediate_size
    return BaseSize(
        text=layers * layer,
        words=2 * vocabulary * hidden,
        vision=tower.num_hidden_layers * seen,
        layers=layers,
        hidden=hidden,
        inner=inner,
        pair=pair,
        vocabulary=vocabulary,
    )


def device_for(wanted: str) -> str | None:
    """The device that a base is loaded on; with several processes each has a graphics card of its own."""
    if wanted in ("", "cuda") and process_count() > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return wanted or None


def precision_of(wanted: TrainingPrecision) -> Precision | None:
    """The precision that a loader is asked for; None is what fits."""
    return wanted or None


def _beside(folder: Path, name: str, weights_id: str, system: System) -> Path:
    if (folder / name).is_dir():
        return folder / name
    check_weights(system, (weights_id,))
    return store.folder(weights_id)
