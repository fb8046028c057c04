"""Free memory for a run, and the size of the model that it starts from. No torch and no Qt here."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_memory import BaseSize
from napari_medreason.errors import MedReasonError
from napari_medreason.models import store
from napari_medreason.models.catalogue import catalogue
from napari_medreason.models.fit_memory import computer_memory
from napari_medreason.models.fit_sizes import part_size

LANGUAGE = "llava-med-7b"
"""The language model of PRS-Med and of MediSee."""
_SECONDS, _MEBIBYTE = 5, 2**20


def free_bytes(config: RunConfig) -> int:
    """Bytes that are free where the run will work: on the first GPU, else in the computer.

    Asks NVIDIA's own tool, since PyTorch may not be loaded into a program that draws.
    """
    gpu = None if config.recipe == "embedded" or config.device == "cpu" else _free_on_gpu()
    return computer_memory() if gpu is None else gpu


def _free_on_gpu() -> int | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id=0"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return int(found.stdout.split()[0]) * _MEBIBYTE
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def base_size(config: RunConfig) -> BaseSize | None:
    """The size of the base from the files of its weights; None where they are not here, or say too little.

    A base that is a folder is an absolute path here.
    """
    folder = _folder(config)
    if folder is None or not (folder / "config.json").is_file():
        return None
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        part = part_size(folder)
        return _size(settings, part.quantisable, part.kept)
    except (OSError, ValueError, KeyError, TypeError, MedReasonError):
        return None


def _folder(config: RunConfig) -> Path | None:
    """Where the language model lies."""
    if config.recipe == "embedded":
        return None
    joint = config.recipe in ("prs-med", "medisee")
    own = Path(config.base)
    if own.is_absolute():
        return own / "base" if joint else own
    named = LANGUAGE if joint else config.base
    try:
        return store.folder(named) if named in catalogue() else None
    except MedReasonError:  # not on this computer
        return None


def _size(settings: Mapping[str, Any], text_weights: int, others: int) -> BaseSize:
    text = next((settings[key] for key in ("text_config", "llm_config") if key in settings), settings)
    hidden, heads, words = (int(text[key]) for key in ("hidden_size", "num_attention_heads", "vocab_size"))
    tied = bool(settings.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    table = words * hidden * (1 if tied else 2)
    width = int(text.get("head_dim") or hidden // heads)
    return BaseSize(
        text=text_weights,
        words=table,
        vision=max(0, others - table),
        layers=int(text["num_hidden_layers"]),
        hidden=hidden,
        inner=int(text["intermediate_size"]),
        pair=width * int(text.get("num_key_value_heads") or heads),
        vocabulary=words,
    )
