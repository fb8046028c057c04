"""The released folder of PRS-Med, one for each epoch: which files it has, and its adapter.

    llm_seg_N/lora_adapter/  adapter_config.json, adapter_model.safetensors (older: .bin)
    llm_seg_N/tokenizer/     (older: in lora_adapter/)
    llm_seg_N/image_encoder.pth, mask_decoder.pth; cls.pth is for training only

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, read_tensors, renamed
from napari_medreason.models.medisee.checkpoint import merge_lora
from napari_medreason.models.store_files import epoch_lacks, newest_epoch

_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")
_PART = "lora_adapter"
_SPELLINGS = ((r"^base_model\.model\.", ""), (r"\.(lora_[AB])\.(\w+\.)?weight$", r".\1"))
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "alpha_pattern": ({}, None),
    "layer_replication": (None, []),
}
"""What an adapter's settings may say; anything else would need more than W + alpha / rank · B A."""


@dataclass(frozen=True)
class PrsMedFolder:
    """The files of one epoch. tokenizer: the folder with the tokenizer, None when it is not there."""

    name: str
    adapter: Path
    adapter_settings: Path
    image_encoder: Path
    mask_decoder: Path
    tokenizer: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read of it and makes the model."""
        return self.adapter, self.image_encoder, self.mask_decoder


def find_folder(place: Path) -> PrsMedFolder:
    """The files of a released folder, or of the last whole epoch in a folder of epochs.

    WeightsError names a file that is missing.
    """
    if not place.is_dir():
        raise WeightsError(
            f"{place.name or place!s} is not a folder; give the folder llm_seg_N of the PRS-Med weights"
        )
    folder = newest_epoch(place)
    if lacking := epoch_lacks(folder):
        raise WeightsError(
            f"{folder.name} is no PRS-Med folder: it lacks {', '.join(lacking)}; give the folder llm_seg_N "
            "of the PRS-Med weights"
        )
    adapters = [folder / _PART / name for name in _ADAPTER_FILES]
    files = (
        next(file for file in adapters if file.is_file()),
        folder / _PART / "adapter_config.json",
        folder / "image_encoder.pth",
        folder / "mask_decoder.pth",
    )
    return PrsMedFolder(folder.name, *files, _tokenizer_folder(folder))


def _tokenizer_folder(folder: Path) -> Path | None:
    places = (folder / "tokenizer", folder / _PART)
    return next((p for p in places if any((p / name).is_file() for name in _TOKENIZER_FILES)), None)


def with_adapter(base: Tensors, folder: PrsMedFolder) -> Tensors:
    """LLaVA-Med's tensors, by LLaVA's own names, with the adapter merged into the bare base weights.

    WeightsError when the adapter is of another kind, or when one of its tensors finds no weight: the
    released loader passes such tensors over silently and answers with the bare model.
    """
    alpha = _alpha(folder.adapter_settings)
    adapter = adapter_tensors(folder.adapter)
    homeless = sorted({_layer(name) for name in adapter if f"{_layer(name)}.weight" not in base})
    if homeless:
        raise WeightsError(
            f"the adapter of {folder.name} changes {len(homeless)} layers that LLaVA-Med does not have "
            f"({homeless[0]}, …); give the LLaVA-Med v1.5 and the CLIP tower that PRS-Med was trained with"
        )
    changed = {f"{_layer(name)}.weight" for name in adapter}
    touched = {name: base[name] for name in changed} | adapter
    return {**base, **merge_lora(touched, alpha=alpha, what=folder.name)}


def adapter_tensors(file: Path) -> Tensors:
    """The halves of the adapter's pairs as `….lora_A` and `….lora_B`, by LLaVA's own names.

    WeightsError when it holds anything else, or nothing.
    """
    tensors = renamed(read_tensors(file), _SPELLINGS)
    others = [name for name in tensors if not name.endswith((".lora_A", ".lora_B"))]
    if others or not tensors:
        found = f"{len(others)} tensors that are no such pair ({others[0]}, …)" if others else "no tensor"
        raise WeightsError(f"{file.name} holds {found}; a plain LoRA adapter is needed, as PRS-Med saves it")
    broken = next((name for name, value in tensors.items() if not _is_finite(value)), None)
    if broken is not None:
        raise WeightsError(
            f"{broken} in {file.name} holds values that are not numbers (NaN or infinity); its training "
            "failed, please take another epoch"
        )
    return tensors


def _is_finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _alpha(file: Path) -> float:
    """The adapter's scale; WeightsError for settings that more than a plain LoRA needs."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        alpha = float(settings["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file.name} is no readable settings file of an adapter; please install the weights again"
        ) from error
    for key, accepted in _PLAIN.items():
        if settings.get(key, accepted[0]) not in accepted:
            raise WeightsError(
                f"the adapter has {key} = {settings[key]!r}, which can't be merged here; accepted is "
                f"{accepted[0]!r}, as in the released PRS-Med"
            )
    return alpha
