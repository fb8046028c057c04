"""Folders and files of segmenters: which family they hold, and their tensors and hashes."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.fit import PRECISIONS
from napari_medreason.models.weights import combined_sha256, file_sha256, weight_files, weights_sha256

if TYPE_CHECKING:
    import torch

_SUFFIXES = (".pt", ".pth", ".bin")
_FAMILIES = (
    ("image_encoder.trunk.", "sam2"),
    ("image_encoder.blocks.0.Adapter.", "sam_med2d"),
    ("image_encoder.blocks.0.", "sam"),
)
"""Beginnings of tensor names, the first one that is found decides."""


def released_file(place: Path) -> Path | None:
    """The one checkpoint that `place` is or holds; None for a folder in transformers' layout.

    WeightsError when there is nothing there, or more than one checkpoint to choose from.
    """
    if place.is_file():
        return place
    if (place / "config.json").is_file():
        return None
    files = sorted(file for file in _files(place) if file.suffix in _SUFFIXES)
    files = files or sorted(file for file in _files(place) if file.suffix == ".safetensors")
    if len(files) == 1:
        return files[0]
    found = ", ".join(file.name for file in files[:4]) if files else "no weights"
    raise WeightsError(
        f"{place.name or place!s} holds {found}; give one checkpoint as it was released (.pt, .pth), or the "
        "folder that holds config.json and the .safetensors files"
    )


def model_type_of(place: Path) -> str:
    """The family of a segmenter: `model_type` of its config.json, or by the names in its checkpoint.

    WeightsError when there is no such file, or it can't be read; "unknown" for another model's checkpoint.
    """
    place = Path(place)
    file = released_file(place)
    if file is not None:
        return _family(file)
    try:
        return str(json.loads((place / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{place.name} has no readable config.json with a model_type; give the folder that holds "
            "config.json and the .safetensors files"
        ) from error


def released_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The model's tensors in a released checkpoint, flat or under "model"; see models.checkpoints.

    A pickle is converted beside itself once; where its folder can't be written, it is read each time.
    """
    from napari_medreason.models.checkpoints import read_tensors, safetensors_of

    _, section = _converted_earlier(file)
    try:
        return read_tensors(safetensors_of(file, section=section))
    except WeightsError:
        return read_tensors(file, section=section)


def name_of(place: Path) -> str:
    """What a segmenter's weights are called: the file without suffix, or the folder.

    A folder in a cache of the hub, models--AUTHOR--NAME/snapshots/REVISION, is called NAME.
    """
    file = released_file(place)
    if file is not None:
        return file.stem
    repository = place.parent.parent.name
    in_cache = place.parent.name == "snapshots" and repository.startswith("models--")
    return repository.rpartition("--")[2] if in_cache else place.name


def place_sha256(place: Path) -> str:
    """The hash under which a segmenter's weights are named in answers."""
    file = released_file(place)
    return combined_sha256([file_sha256(file)]) if file is not None else weights_sha256(weight_files(place))


def encoder_precision(precision: str | None, device: torch.device) -> AbstractContextManager[Any]:
    """Where an image encoder computes in bfloat16: for every precision but fp32 (the default).

    Segmenters are small beside a reasoner: their weights stay as they are, int8 and 4bit count as bf16, and
    prompts and masks are always computed in fp32, since pixel positions need it.
    """
    import torch

    if precision is not None and precision not in PRECISIONS:
        raise ModelUnavailableError(
            f"precision {precision!r} is not known; use one of {', '.join(PRECISIONS)}"
        )
    if precision in (None, "fp32"):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _files(place: Path) -> list[Path]:
    return [file for file in place.iterdir() if file.is_file()] if place.is_dir() else []


def _family(file: Path) -> str:
    from napari_medreason.models.checkpoints import read_tensors

    readable, section = _converted_earlier(file)
    # Mapped, and not converted: it may be another model's.
    names = list(read_tensors(readable, section=section))
    for beginning, family in _FAMILIES:
        if any(name.startswith(beginning) for name in names):
            return family
    return "unknown"


def _converted_earlier(file: Path) -> tuple[Path, str | None]:
    """The checkpoint or what it was converted to, and the section of the model's tensors."""
    from napari_medreason.models.checkpoints import conversion_of, sections_of

    return conversion_of(file) or (file, "model" if "model" in sections_of(file) else None)
