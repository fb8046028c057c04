"""The user's adapters on this computer: a folder each, beside the downloaded weights; no torch here.

An adapter comes here from a run (`accept`), a folder or a zip archive (`import_from`). Each is written under
a temporary name and then renamed, so that a fault leaves the others, and the one before, as they were.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medreason.core.renaming import rename
from napari_medreason.errors import ModelUnavailableError, UnknownModelError, WeightsError
from napari_medreason.models.adapter_card import (
    AdapterCard,
    plain_name,
    read_adapter_card,
    write_adapter_card,
)
from napari_medreason.models.adapter_files import copy_files, hashed_files
from napari_medreason.models.settings import read_settings
from napari_medreason.models.store_record import weights_root
from napari_medreason.models.weights import combined_sha256

AT = "@"
"""Between the base and the adapter in a model id."""
OWN_FOLDER = "folder:"
"""A base of this beginning is a model folder of the user's own, not in the catalogue."""
OWN_MODEL = "medreasoner"
"""Id of the model that is put together from folders of the user's own."""
_LOCK_SECONDS = 10.0
_ID = re.compile(r"[a-z0-9][a-z0-9-]*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adapter:
    """One adapter. id: of letters, digits and "-"."""

    id: str
    folder: Path
    card: AdapterCard

    @property
    def base_model(self) -> str:
        """Id of the model that it is put on when nothing else is said."""
        if not self.card.base.startswith(OWN_FOLDER):
            return self.card.base
        if self.card.kind != "peft":
            return self.card.kind
        return _weights_of(self.card.base.removeprefix(OWN_FOLDER)) or OWN_MODEL

    @property
    def model_id(self) -> str:
        """Id of the base with this adapter on, such as `embedded@our-lesions`."""
        return f"{self.base_model}{AT}{self.id}"

    @property
    def sha256(self) -> str:
        """One hash of its files as its card has them; "" for one that is not in the store."""
        return combined_sha256(self.card.files.values()) if self.card.files else ""


def adapters_root() -> Path:
    """The folder of the adapters; the environment variable MEDREASON_ADAPTERS names another one."""
    named = os.environ.get("MEDREASON_ADAPTERS")
    return Path(named) if named else weights_root().parent / "adapters"


def installed() -> tuple[Adapter, ...]:
    """All adapters in the store, by id; one that can't be read is left out with a warning."""
    root, found = adapters_root(), []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir() and _ID.fullmatch(folder.name):
            try:
                found.append(Adapter(folder.name, folder, read_adapter_card(folder)))
            except WeightsError as error:
                _log.warning("%s", error)
    return tuple(found)


def get(adapter_id: str) -> Adapter:
    """The adapter with this id; UnknownModelError lists the known ones, WeightsError for a damaged card."""
    folder = adapters_root() / adapter_id
    if not _ID.fullmatch(adapter_id) or not folder.is_dir():
        known = ", ".join(adapter.id for adapter in installed()) or "none"
        raise UnknownModelError(
            f"adapter {adapter_id!r:.60} is not known; known: {known}. Choose one of these, or check the "
            "spelling"
        )
    return Adapter(adapter_id, folder, read_adapter_card(folder))


def from_folder(folder: Path) -> Adapter:
    """An adapter that is not in the store, such as that of a run; WeightsError when it is not whole.

    Its hashes are of its files as they are now.
    """
    card = read_adapter_card(folder)
    return Adapter(slug(card.name), folder, replace(card, files=hashed_files(folder, card)))


def accept(folder: Path, name: str = "") -> Adapter:
    """Copy an adapter folder, such as that of a run, into the store, under `name` if one is given.

    One that is there already, with the same name and the same files, is given as it is. WeightsError when it
    is not whole or damaged, or can't be written; the store is then as it was.
    """
    card = read_adapter_card(folder)
    card = replace(card, name=plain_name(name) or card.name, files=hashed_files(folder, card))
    with _store() as root:
        for known in installed():
            if (known.card.name, known.card.files) == (card.name, card.files):
                return known
        return _written(root, card, lambda target: copy_files(folder, target, card.files))


def remove(adapter_id: str) -> Adapter:
    """Delete an adapter from the store; UnknownModelError when there is none of this id."""
    adapter = get(adapter_id)
    with _store() as root:
        doomed = root / f".{secrets.token_hex(4)}.{adapter_id}"
        rename(adapter.folder, doomed)  # at once, so that no half of it is ever taken for an adapter
        shutil.rmtree(doomed, ignore_errors=True)
    return adapter


def checked(adapter: Adapter) -> Adapter:
    """The adapter itself; WeightsError when a file is missing or is not as its card says."""
    hashed_files(adapter.folder, adapter.card)
    return adapter


def slug(name: str) -> str:
    """An id from a name: lower-case letters without accents, digits and "-"."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:40].strip("-") or "adapter"


def _weights_of(folder_name: str) -> str:
    """Id of the weights for which the user named a folder of this name, "" for none; hashes decide later."""
    try:
        folders = read_settings().folders
    except ModelUnavailableError:  # settings that can't be read: asking tells what is wrong with them
        return ""
    return next((id_ for id_, place in sorted(folders.items()) if Path(place).name == folder_name), "")


def _written(root: Path, card: AdapterCard, fill: Callable[[Path], None]) -> Adapter:
    """A new folder in the store, whole or not at all; the card is written last."""
    adapter_id = _free_id(root, slug(card.name))
    temporary = root / f".{secrets.token_hex(4)}.{adapter_id}"
    try:
        temporary.mkdir()
        fill(temporary)
        write_adapter_card(temporary, card)
        hashed_files(temporary, card)
        rename(temporary, root / adapter_id)
    except OSError as error:
        raise WeightsError(
            f"adapter {card.name} can't be kept: {error.strerror or error}; check space and permission"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return get(adapter_id)


def _free_id(root: Path, wanted: str) -> str:
    number, found = 1, wanted
    while (root / found).exists():
        number += 1
        found = f"{wanted}-{number}"
    return found


@contextmanager
def _store() -> Iterator[Path]:
    """Hold the store's lock, with what an earlier crash left behind gone."""
    root = adapters_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock", timeout=_LOCK_SECONDS):
            for left in root.glob(".*.*"):
                shutil.rmtree(left, ignore_errors=True)
            yield root
    except Timeout as error:
        raise WeightsError("another program changes the adapters now; try again in a moment") from error
    except OSError as error:
        raise WeightsError(
            f"the folder of the adapters can't be written ({error.strerror or error}); choose another one "
            "with the environment variable MEDREASON_ADAPTERS"
        ) from error
