"""MediSee's released checkpoint: the whole state of a network that PEFT had wrapped, taken apart.

It holds LLaVA-Med (by LLaVA's names, 32002 words), its LoRA, the CLIP tower, MedSAM and the heads.
Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, read_tensors, renamed

LORA_ALPHA = 16.0
"""Scale of the LoRA of the released weights; its rank is read off the tensors (8)."""
_ENDINGS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_SPELLINGS = (
    (r"^(module\.)?(base_model\.model\.)?", ""),
    (r"\.base_layer\.", "."),
    (r"\.(lora_[AB])\.(\w+\.)?weight$", r".\1"),
)
"""PEFT's prefix, and the part that newer versions of it put into the names of wrapped layers."""
_SAM = r"^model\.visual_model\."
_HEADS = r"^model\.(?=(router_seg|router_box|bbox_decoder|text_hidden_fcs)\.)"
_NEEDED = ("router_seg.gate.0.weight", "bbox_decoder.layers.0.weight", "text_hidden_fcs.0.2.weight")


@dataclass(frozen=True, eq=False)
class MediSeeTensors:
    """The parts: LLaVA-Med by LLaVA's names with the LoRA merged, SAM and the heads by their own names."""

    name: str
    llava: Tensors
    sam: Tensors
    heads: Tensors
    files: tuple[Path, ...]


def read_checkpoint(place: Path, *, lora_alpha: float = LORA_ALPHA) -> MediSeeTensors:
    """A released checkpoint, one file or a folder whose files are read together.

    Names with PEFT's prefix and `base_layer`, as older and newer versions of it wrote them, or without; the
    LoRA may be merged already. WeightsError for another system's checkpoint, or a damaged one.
    """
    files = checkpoint_files(place)
    tensors: Tensors = {}
    for file in files:
        tensors |= read_tensors(file)
    plain = renamed(tensors, _SPELLINGS)
    sam = renamed(_matching(plain, _SAM), [(_SAM, "")])
    heads = renamed(_matching(plain, _HEADS), [(_HEADS, "")])
    _check_system(place.name, heads, sam)
    llava = {name: value for name, value in plain.items() if not re.search(f"{_SAM}|{_HEADS}", name)}
    return MediSeeTensors(place.name, merge_lora(llava, alpha=lora_alpha, what=place.name), sam, heads, files)


def checkpoint_files(place: Path) -> tuple[Path, ...]:
    """The weight files of a checkpoint; WeightsError when there are none."""
    if place.is_file():
        return (place,)
    for ending in _ENDINGS:
        files = tuple(sorted(file for file in place.glob(ending) if file.name != "training_args.bin"))
        if files:
            return files
    raise WeightsError(
        f"{place.name or place!s} holds no weight files; give the folder or the file of MediSee's weights "
        f"({', '.join(_ENDINGS)})"
    )


def merge_lora(tensors: Tensors, *, alpha: float, what: str) -> Tensors:
    """The tensors with every LoRA pair added to its weight: W + alpha / rank · B A.

    tensors: pairs are named `….lora_A` and `….lora_B`, beside `….weight`. Computed in 32-bit, kept as the
    weight was. WeightsError when a pair lacks a half or its weight, or does not fit it.
    """
    halves = [name for name in tensors if name.endswith((".lora_A", ".lora_B"))]
    merged = {name: tensor for name, tensor in tensors.items() if name not in halves}
    for layer in sorted({name.rpartition(".")[0] for name in halves}):
        parts = [tensors.get(f"{layer}.{part}") for part in ("weight", "lora_A", "lora_B")]
        merged[f"{layer}.weight"] = _with_lora(parts, alpha, f"{layer} of {what}")
    return merged


def _with_lora(parts: list[Tensor | None], alpha: float, what: str) -> Tensor:
    weight, down, up = parts
    if weight is None or down is None or up is None:
        raise WeightsError(f"the LoRA of {what} is incomplete; please install the weights again")
    if (up.shape[0], down.shape[1]) != tuple(weight.shape) or up.shape[1] != down.shape[0]:
        raise WeightsError(
            f"the LoRA of {what} has another shape than its layer; give weights that belong together"
        )
    change = (up.float() @ down.float()) * (alpha / down.shape[0])
    return (weight.float() + change).to(weight.dtype)


def _matching(tensors: Tensors, pattern: str) -> Tensors:
    return {name: value for name, value in tensors.items() if re.search(pattern, name)}


def _check_system(name: str, heads: Tensors, sam: Tensors) -> None:
    lacking = [key for key in _NEEDED if key not in heads]
    if lacking or not sam:
        found = "routers and heads" if heads else "neither routers nor a box head"
        raise WeightsError(
            f"{name} is no MediSee checkpoint: it has {found}{'' if sam else ' and no MedSAM'} "
            f"({(*lacking, 'visual_model')[0]} is missing); give the weights released with MediSee"
        )
    broken = next((key for key, value in heads.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise WeightsError(
            f"{broken} in {name} holds values that are not numbers (NaN or infinity); the file is damaged "
            "or its training failed, please install the weights again"
        )
