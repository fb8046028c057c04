"""Adapters as zip archives, and those that come from elsewhere; nothing leaves the target folder.

Only the known files of an adapter are ever unpacked, each up to a bound, into a temporary folder that
becomes an adapter of the store when all of it has been checked.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from napari_medreason.core.renaming import rename
from napari_medreason.errors import WeightsError
from napari_medreason.models.adapter_card import CARD, AdapterCard, read_adapter_card, write_adapter_card
from napari_medreason.models.adapter_files import adapter_files, copy_files, hashed_files, is_adapter_file
from napari_medreason.models.adapter_store import OWN_FOLDER, Adapter, accept, get
from napari_medreason.models.catalogue import catalogue, is_safe_name

LARGEST_ADAPTER = 8 * 2**30
"""Bytes of all files together; a LoRA adapter of a 7 B model at rank 64 has about 0.7 GB."""
MOST_ENTRIES = 100
PEFT_SETTINGS = "adapter_config.json"
_MAX_RATIO = 1032
"""Deflate can't shrink further (zlib technical notes); an archive that claims more is malicious."""
_CHUNK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises on damaged, encrypted or exotic archives."""


def export_zip(adapter_id: str, file: Path) -> Path:
    """Write an adapter of the store as one zip archive, whole or not at all; gives the file.

    UnknownModelError for an unknown id; WeightsError when it is damaged or the file can't be written.
    """
    adapter, file = get(adapter_id), Path(file)
    names = (CARD, *hashed_files(adapter.folder, adapter.card))
    temporary = file.with_name(f".{file.name}.part")
    try:
        with temporary.open("wb") as opened:
            with zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in names:
                    archive.write(adapter.folder / name, name)
            opened.flush()
            os.fsync(opened.fileno())
        rename(temporary, file)
    except OSError as error:
        raise WeightsError(
            f"{file.name} can't be written ({error.strerror or error}); check space and permission"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return file


def import_from(path: Path, *, name: str = "", base: str = "") -> Adapter:
    """Take an adapter from a folder or zip archive into the store, under `name` if one is given.

    base: weights id of the model that a PEFT adapter without a card was made for; "" where its own settings
    name a model of the catalogue. WeightsError says what is wrong with it; the store is then as it was.
    """
    path = Path(path)
    if path.name in ("", ".."):  # such as "."; the folder's name is needed
        path = path.resolve()
    if path.is_dir():
        return _taken(path, name, base)
    if not path.is_file():
        raise WeightsError(f"{path.name} is not there; give the folder or zip archive of an adapter")
    with unpacked(path) as folder:
        return _taken(folder, name, base)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A temporary folder with the known files of an archive; WeightsError when it is damaged or unsafe."""
    with tempfile.TemporaryDirectory(prefix="medreason-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / (path.stem or "adapter")
        folder.mkdir()
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder, path.name)
        except _DAMAGED as error:
            raise WeightsError(
                f"{path.name} is damaged, encrypted or no zip archive; get it again, or give a folder"
            ) from error
        except OSError as error:
            raise WeightsError(f"{path.name} can't be unpacked ({error.strerror or error})") from error
        yield folder


def _taken(folder: Path, name: str, base: str) -> Adapter:
    if (folder / CARD).is_file():
        card = read_adapter_card(folder)
        if base and base != card.base:
            raise WeightsError(f"{folder.name} was made for {card.base}, not for {base}; leave the base out")
        return accept(folder, name)
    with tempfile.TemporaryDirectory(prefix="medreason-", ignore_cleanup_errors=True) as temporary:
        card = _card_of_peft(folder, name, base)
        made = Path(temporary) / folder.name
        try:
            made.mkdir()
            copy_files(folder, made, adapter_files(folder, card))
        except OSError as error:
            raise WeightsError(f"{folder.name} can't be copied ({error.strerror or error})") from error
        write_adapter_card(made, card)
        return accept(made)


def _card_of_peft(folder: Path, name: str, base: str) -> AdapterCard:
    """A card for an adapter that somebody else made with PEFT: nothing is known but its base."""
    try:
        settings: Any = json.loads((folder / PEFT_SETTINGS).read_text(encoding="utf-8"))
        named = str(settings.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{folder.name} holds neither {CARD} nor a readable {PEFT_SETTINGS}; give the folder or archive "
            "of an adapter"
        ) from error
    reasoners = {one.id: one for one in catalogue().values() if one.kind == "reasoner"}
    found = base or next((one.id for one in reasoners.values() if named and one.repository == named), "")
    if found not in reasoners and not found.startswith(OWN_FOLDER):
        raise WeightsError(
            f"{folder.name} has no card, so it isn't known for which model it was made; name it with --base, "
            f"one of {', '.join(reasoners)}, or {OWN_FOLDER}NAME for a model folder of your own"
        )
    return AdapterCard(name or folder.name, "peft", found)


def _unpack(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
    _check_bounds(archive, entries, name)
    top = _top(entries)
    here = {file.removeprefix(top): entry for file, entry in entries.items() if file.startswith(top)}
    for inside, entry in here.items():
        if inside != CARD and not _is_known(inside):
            continue
        with archive.open(entry) as source, (folder / inside).open("wb") as sink:
            # zipfile itself stops at the size that the entry states, so the bounds above hold.
            shutil.copyfileobj(source, sink, _CHUNK)


def _check_bounds(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str) -> None:
    total = sum(entry.file_size for entry in entries.values())
    packed = sum(entry.compress_size for entry in entries.values())
    links = any(stat.S_ISLNK(entry.external_attr >> 16) for entry in entries.values())
    if links or not all(is_safe_name(file) for file in entries):
        raise WeightsError(f"{name} holds a link or a file outside its folder; it is not unpacked")
    if len(archive.infolist()) > MOST_ENTRIES or total > LARGEST_ADAPTER:
        raise WeightsError(
            f"{name} holds {len(archive.infolist())} files, {total / 2**30:.1f} GiB; an adapter has up to "
            f"{MOST_ENTRIES} and {LARGEST_ADAPTER / 2**30:.0f} GiB, unpack it yourself and give the folder"
        )
    if total > _MAX_RATIO * packed + _CHUNK:
        raise WeightsError(f"{name} claims an impossible size for its content; it is not unpacked")


def _top(entries: dict[str, zipfile.ZipInfo]) -> str:
    """The one folder that holds the adapter in the archive, with "/"; "" when it lies at the top."""
    for inside in (CARD, PEFT_SETTINGS):
        found = sorted((file for file in entries if PurePosixPath(file).name == inside), key=len)
        if found:
            return found[0].removesuffix(inside)
    return ""


def _is_known(inside: str) -> bool:
    return any(is_adapter_file(inside, kind) for kind in ("embedded-expert", "peft", "prs-med", "medisee"))
