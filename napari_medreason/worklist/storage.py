"""The files of a work list: settings, one JSON file per study, label volumes; whole or not at all.

    worklist.json                    title, labels, where the studies are
    items/<id>.json                  state, reader, pre-label, comments, history of one study
    labels/<id>/prelabel.nii.gz      what a model drew
    labels/<id>/first.nii.gz         what the first reader drew, on the grid of the study
    labels/<id>/second-<round>.nii.gz   what the second reader drew, per acceptance
    locks/<id>.lock                  held while a study's files change; the system frees it after a crash

Each study has files of its own, so that two readers can work on a shared folder at once.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

import filelock
import numpy as np
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.strict import from_plain, parse_json, to_plain
from napari_medreason.core.volume import Volume
from napari_medreason.errors import DataSetError, ExportError, LabelMapError, WorkListError
from napari_medreason.worklist.items import ITEM_SCHEMA, SETTINGS_SCHEMA, Item, Settings

Value = TypeVar("Value", Item, Settings)

SETTINGS_FILE = "worklist.json"
ITEMS, LABELS, LOCKS = "items", "labels", "locks"
_LOCK_SECONDS = 30.0
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\..+")
_LEFTOVER_SECONDS = 3600.0
_ID = re.compile(r"[a-z0-9-]{1,40}")


def write_json(path: Path, value: Item | Settings) -> None:
    """A value as an indented JSON file; ExportError when it can't be written, and then nothing changed."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=1, allow_nan=False)
    with io.replace_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    plain = to_plain(value)
    if isinstance(plain, dict):
        return {key: _plain(entry) for key, entry in plain.items()}
    return [_plain(entry) for entry in plain] if isinstance(plain, list | tuple) else plain


def read_settings(folder: Path) -> Settings:
    """The settings of a work list; WorkListError when there is none or it is damaged."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise WorkListError(
            f"the folder {folder.name!r} holds no {SETTINGS_FILE}; choose a work list's folder"
        )
    settings: Settings = _read(path, Settings, SETTINGS_SCHEMA)
    return settings


def read_item(path: Path) -> Item:
    """One item; WorkListError when its file is damaged or points out of the folder of studies."""
    item: Item = _read(path, Item, ITEM_SCHEMA)
    parts = PurePosixPath(item.path)
    if item.id != path.stem or not _ID.fullmatch(item.id):
        raise WorkListError(f"{path.name} has the id {item.id!r}; its name and id must agree")
    if parts.is_absolute() or ".." in parts.parts or "\\" in item.path or ":" in item.path:
        raise WorkListError(f"{path.name} names a study outside of its folder; it is not used")
    return item


def _read(path: Path, kind: type[Value], schema: str) -> Value:
    try:
        value: Value = from_plain(kind, parse_json(path.read_text(encoding="utf-8"), path.name), path.name)
    except (DataSetError, UnicodeDecodeError) as error:
        raise WorkListError(f"{path.name} is damaged ({error}); bring it back from a copy") from error
    except OSError as error:
        raise WorkListError(f"{path.name} can't be read: {error.strerror}; check the folder") from error
    if value.schema != schema:
        raise WorkListError(f"{path.name} is of the form {value.schema!r}; {schema!r} is accepted: update")
    return value


def item_paths(folder: Path) -> Iterator[Path]:
    """The item files of a work list, by id."""
    for path in sorted((folder / ITEMS).glob("*.json")):
        if not path.name.startswith("."):
            yield path


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is replaced; WorkListError when it is gone."""
    try:
        status = path.stat()
    except OSError as error:
        raise WorkListError(f"{path.name} can't be read: {error.strerror}; check the folder") from error
    return status.st_mtime_ns, status.st_size


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of one item; WorkListError when another program holds it for too long."""
    lock = filelock.FileLock(folder / LOCKS / f"{name}.lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise WorkListError("another program is saving this study; try again in a moment") from error
    except (OSError, NotImplementedError) as error:
        raise WorkListError("the work list's folder can't be written; check its permissions") from error
    try:
        yield
    finally:
        lock.release()


def make_folders(folder: Path) -> None:
    """The work list's folders; ExportError when they can't be made."""
    try:
        for name in (ITEMS, LABELS, LOCKS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"the folder {folder.name!r} can't be made: {error.strerror}") from error


def write_labels(path: Path, labels: NDArray[np.integer], like: Volume) -> None:
    """A (k, j, i) label map as NIfTI in the smallest dtype that holds it, on the grid of `like`."""
    if labels.shape != like.shape_kji:
        raise LabelMapError(
            f"the labels have shape {labels.shape}, the study {like.shape_kji} (slices, rows, columns); "
            "they must agree: use labels of this study"
        )
    dtype = np.min_scalar_type(int(labels.max(initial=0)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{path.name} can't be written: {error.strerror}; check the folder") from error
    io.write(path, labels.astype(dtype), like=like)


def read_labels(path: Path, like: Volume | None = None) -> NDArray[np.integer]:
    """A (k, j, i) label map as it was written; LabelMapError when it is not on the grid of `like`."""
    volume = io.read(path)
    labels = checked_labels(volume.voxels)
    if like is None:
        return labels
    same_place = np.allclose(volume.affine, like.affine, atol=0.01)
    if labels.shape != like.shape_kji or not same_place:
        raise LabelMapError(
            f"the saved labels have shape {labels.shape} and lie elsewhere than the study {like.shape_kji}; "
            "the study was changed since: bring the old one back, or skip it"
        )
    return labels


def remove_leftovers(folder: Path) -> None:
    """Delete half-written files of programs that were killed more than an hour ago."""
    limit = time.time() - _LEFTOVER_SECONDS
    for path in (*folder.glob(".*"), *(folder / ITEMS).glob(".*"), *(folder / LABELS).glob("*/.*")):
        try:
            if _LEFTOVER.fullmatch(path.name) and path.stat().st_mtime < limit:
                path.unlink()
        except OSError:
            continue  # another program was faster


def relative_studies(folder: Path, studies: Path) -> str:
    """The way from a work list to its studies, "" where only an absolute path would say it."""
    here, there = folder.resolve(), studies.resolve()
    try:
        common = Path(os.path.commonpath([here, there]))
    except ValueError:
        return ""
    return "" if common == Path(common.anchor) else Path(os.path.relpath(there, here)).as_posix()
