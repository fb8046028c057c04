"""Which files an adapter folder is made of, their hashes, and copies of it; no torch here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_medreason.errors import WeightsError
from napari_medreason.models.adapter_card import CARD, AdapterCard, Kind
from napari_medreason.models.weights import file_sha256

_EXPERT = (r"(brain_mr|body_ct)\.json", r"(brain_mr|body_ct)\.safetensors")
_PEFT = (r"adapter_config\.json", r"adapter_model\.safetensors")
_JOINT = (*_PEFT, r"parts\.safetensors")
_NAMES: Mapping[Kind, tuple[str, ...]] = {
    "embedded-expert": _EXPERT,
    "peft": _PEFT,
    "prs-med": _JOINT,
    "medisee": _JOINT,
}
"""Patterns of the files of each kind beside its card; of each pattern there is one at least."""
_LAYOUT: Mapping[Kind, str] = {
    "embedded-expert": "a description (such as brain_mr.json) and weights (brain_mr.safetensors)",
    "peft": "adapter_config.json and adapter_model.safetensors",
    "prs-med": "adapter_config.json, adapter_model.safetensors and parts.safetensors",
    "medisee": "adapter_config.json, adapter_model.safetensors and parts.safetensors",
}


def is_adapter_file(name: str, kind: Kind) -> bool:
    """Whether a file of this name belongs to an adapter of this kind, its card apart."""
    return name != CARD and any(re.fullmatch(pattern, name) for pattern in _NAMES[kind])


def adapter_files(folder: Path, card: AdapterCard) -> tuple[str, ...]:
    """Names of the adapter's files, sorted, its card apart; WeightsError when one is missing."""
    if card.extra.get("whole_model"):
        raise WeightsError(
            f"{folder.name} holds a whole model, all of whose weights were trained, and no adapter; name the "
            "folder as weights with `medreason models use ID FOLDER`"
        )
    try:
        names = sorted(file.name for file in Path(folder).iterdir() if file.is_file())
    except OSError as error:
        raise WeightsError(f"{folder.name} can't be read ({error.strerror}); check the folder") from error
    found = tuple(name for name in names if is_adapter_file(name, card.kind))
    whole = all(any(re.fullmatch(pattern, name) for name in found) for pattern in _NAMES[card.kind])
    lacking = sorted(set(card.files) - set(found))
    if not whole or lacking:
        what = f" lacks {lacking[0]}" if lacking else " is not whole"
        raise WeightsError(
            f"adapter {folder.name}{what}; {_LAYOUT[card.kind]} are needed beside {CARD}, get it again"
        )
    return found


def hashed_files(folder: Path, card: AdapterCard) -> dict[str, str]:
    """SHA-256 of the adapter's files by name; WeightsError when one is missing or is not as the card says."""
    found = {name: file_sha256(folder / name) for name in adapter_files(folder, card)}
    for name, sha256 in card.files.items():
        if found[name] != sha256:
            raise WeightsError(
                f"{name} of adapter {folder.name} is damaged or was changed: its SHA-256 is not the expected "
                f"{sha256[:12]}…; get the adapter again, or accept it anew from its run"
            )
    return found


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files into a folder and flush them to the disk; OSError leaves what is there to the caller."""
    for name in names:
        with (source / name).open("rb") as reading, (target / name).open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())
