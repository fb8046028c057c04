"""Whole copies of a base with an adapter merged into it, for programs that know no adapters."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from napari_medreason.core.renaming import rename
from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models import store
from napari_medreason.models.adapter_card import card_text, check_base_weights
from napari_medreason.models.adapter_files import copy_files
from napari_medreason.models.adapter_store import OWN_FOLDER, Adapter, checked, get
from napari_medreason.models.weights import safetensors_header, weight_files, weights_sha256

MERGED = "merged.json"
"""The adapter's card in a merged copy."""
_BESIDE = ("*.json", "*.txt", "*.model", "*.jinja")
"""Files of a model folder beside its weights: tokenizer, processor, templates."""


def merge(adapter_id: str, out: Path, *, base_folder: Path | None = None) -> Path:
    """Write base and adapter as one folder of weights, whole or not at all; gives the folder.

    base_folder: the base's folder where it is not in the catalogue. WeightsError when something is missing,
    damaged or for another base; ModelUnavailableError when this kind of adapter can't be merged.
    """
    adapter, out = checked(get(adapter_id)), Path(out)
    if adapter.card.kind == "embedded-expert":
        with _new_folder(out, adapter) as folder:
            _merge_expert(adapter, folder)
    elif adapter.card.kind == "peft":
        base = base_folder or _base_folder(adapter)
        with _new_folder(out, adapter) as folder:
            _merge_reasoner(adapter, base, folder)
    else:
        raise ModelUnavailableError(
            f"an adapter of {adapter.card.base} changes parts of several networks and is not merged; ask "
            f"{adapter.model_id}, or export it as it is"
        )
    return out


def _base_folder(adapter: Adapter) -> Path:
    if adapter.card.base.startswith(OWN_FOLDER):
        raise WeightsError(
            f"adapter {adapter.id} was made for {adapter.card.base.removeprefix(OWN_FOLDER)}, a folder of "
            "your own; name it with --base-folder"
        )
    return store.folder(adapter.card.base)


def _merge_expert(adapter: Adapter, folder: Path) -> None:
    """Both experts of the embedded model, the tuned one in its place."""
    from napari_medreason.models.embedded.adapter import tuned_experts
    from napari_medreason.models.embedded.experts import load_experts

    for expert in tuned_experts(adapter.folder, load_experts()):
        copy_files(expert.folder, folder, (f"{expert.id}.json", expert.file.name))


def _merge_reasoner(adapter: Adapter, base: Path, folder: Path) -> None:
    check_base_weights(adapter.card, weights_sha256(weight_files(base)), base=base.name)
    from transformers import AutoModelForImageTextToText

    from napari_medreason.models.loading import load_model, placement_for
    from napari_medreason.models.reasoners.adapters import merged

    place = placement_for(base, device="cpu", precision="bf16" if _is_bf16(base) else "fp32")
    network = load_model(AutoModelForImageTextToText, base, device=place.device, dtype=place.dtype)
    whole = merged(network, adapter.folder)
    whole.save_pretrained(folder, safe_serialization=True, max_shard_size="4GB")
    written = {file.name for file in folder.iterdir()}
    copy_files(base, folder, [name for name in _beside(base) if name not in written])


def _is_bf16(folder: Path) -> bool:
    """Whether a model's weights are stored so; other numbers are merged and written in 32 bits."""
    header = safetensors_header(weight_files(folder)[0])[1]
    return all(about["dtype"] == "BF16" for about in header.values())


def _beside(folder: Path) -> list[str]:
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    found = [name for name in names if any(fnmatchcase(name, pattern) for pattern in _BESIDE)]
    return [name for name in found if not name.endswith(".index.json")]


@contextmanager
def _new_folder(out: Path, adapter: Adapter) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends without an error; WeightsError when there is one."""
    if out.exists():
        raise WeightsError(f"{out.name} is there already; name a new folder for the merged weights")
    temporary = out.with_name(f".{secrets.token_hex(4)}.{out.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        (temporary / MERGED).write_text(card_text(adapter.card), encoding="utf-8")
        for file in temporary.iterdir():
            _flush(file)
        rename(temporary, out)
    except OSError as error:
        raise WeightsError(
            f"{out.name} can't be written ({error.strerror or error}); check space and permission"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
