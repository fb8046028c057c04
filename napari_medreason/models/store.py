"""Weights on this computer: where they lie, whether they are whole, and how they come here.

Weights are in a folder of the program (downloaded) or in one that the user already has and named; using an
own folder needs no network. Nothing here imports torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from napari_medreason.errors import WeightsError
from napari_medreason.models.base import Cancelled
from napari_medreason.models.catalogue import WeightFile, Weights, weights
from napari_medreason.models.download import sha256_of
from napari_medreason.models.settings import read_settings, remember_folder
from napari_medreason.models.store_files import look
from napari_medreason.models.store_record import (
    Record,
    forget_record,
    read_record,
    weights_root,
    write_record,
)

LOCK_SECONDS = 5.0
"""How long to wait for another download of the same weights, which may just have been cancelled."""

State = Literal["missing", "partial", "installed", "own", "faulty"]
OnTransfer = Callable[[str, int, int | None], None]
"""Receives what is worked on, the bytes done and all bytes (None if unknown)."""


@dataclass(frozen=True)
class WeightsStatus:
    """What of a set of weights is here. fault: why they can't be used, "" if they can or are missing.

    bytes_here: of what a download has brought, whole or not. bytes_total: None before the first download.
    """

    id: str
    state: State
    bytes_here: int = 0
    bytes_total: int | None = None
    revision: str = ""
    fault: str = ""

    @property
    def usable(self) -> bool:
        """Whether a model can load them."""
        return self.state in ("installed", "own")


@dataclass(frozen=True)
class Verified:
    """What `verify` read. known: whether there were hashes to compare with; else they are recorded now."""

    files: int
    bytes: int
    known: bool


def folder(weights_id: str) -> Path:
    """The folder to load from, or the file if the weights are one file.

    WeightsError says how to get weights that are not here, or what is wrong with those that are;
    UnknownModelError for an unknown id.
    """
    entry = weights(weights_id)
    if (own := own_place(entry)) is not None:
        return look(entry, own)
    if read_record(weights_id) is None:
        raise WeightsError(f"{entry.title} is not on this computer; {how_to_get(entry)}")
    return look(entry, downloaded_place(entry))


def how_to_get(entry: Weights) -> str:
    """The commands that bring weights here, as half a sentence."""
    use = f"`medreason models use {entry.id} FOLDER`"
    if entry.downloadable:
        return f"get it with `medreason models pull {entry.id}`, or name a copy that you have: {use}"
    return f"download it by hand{f' from {entry.page}' if entry.page else ''} and name the folder: {use}"


def status(weights_id: str) -> WeightsStatus:
    """What is here of these weights, from names and sizes alone; faults are told, not raised."""
    entry = weights(weights_id)
    here = _bytes_here(weights_id)
    try:
        record = read_record(weights_id)
        if (own := own_place(entry)) is not None:
            look(entry, own)
            return WeightsStatus(weights_id, "own", here)
        if record is None:
            return WeightsStatus(weights_id, "partial" if here else "missing", here)
        look(entry, downloaded_place(entry))
        _check_sizes(entry, record)
        return WeightsStatus(weights_id, "installed", here, record.size, record.revision)
    except WeightsError as error:
        return WeightsStatus(weights_id, "faulty", here, fault=str(error))


def use_folder(weights_id: str, place: str | Path) -> Path:
    """Load these weights from a folder or file that the user has, after a look at it; needs no network.

    WeightsError when something else or only a part is there; then the earlier choice stays.
    """
    entry = weights(weights_id)
    found = look(entry, Path(place).expanduser().absolute())
    remember_folder(weights_id, str(found))
    forget_record(f"{weights_id}.own")
    return found


def use_downloaded(weights_id: str) -> None:
    """Forget the user's own folder; its files are left alone."""
    remember_folder(weights(weights_id).id, None)
    forget_record(f"{weights_id}.own")


def pull(weights_id: str, *, progress: OnTransfer, cancelled: Cancelled) -> Path:
    """Download what is missing and give the place to load from; see store_pull.pull."""
    from napari_medreason.models.store_pull import pull as pull_now  # it brings the hub's library

    return pull_now(weights(weights_id), progress=progress, cancelled=cancelled)


def verify(weights_id: str, *, progress: OnTransfer, cancelled: Cancelled) -> Verified:
    """Read every file anew and compare it with the catalogue and with what was recorded.

    For a folder of the user's own without known hashes they are recorded, so that the next check can tell a
    change. WeightsError names the first file that differs; CancelledError between two blocks.
    """
    entry = weights(weights_id)
    place, own = folder(weights_id), own_place(entry) is not None
    record = read_record(f"{weights_id}.own" if own else weights_id)
    pinned = {file.name: file for file in entry.files if file.sha256}
    known = {**(record.files if record else {}), **pinned}
    found = _hashed(place, sorted(known) or _names(place), progress=progress, cancelled=cancelled)
    for name, file in known.items():
        if found[name].sha256 != file.sha256:
            raise WeightsError(f"{name} of {entry.title} is damaged or was changed; {_mend(entry, own)}")
    if own and record is None:
        write_record(f"{weights_id}.own", Record("", "", found))
    return Verified(len(found), sum(file.size or 0 for file in found.values()), bool(known))


def remove(weights_id: str) -> int:
    """Delete what was downloaded of these weights, never a user's own folder; gives the bytes freed."""
    entry = weights(weights_id)
    with alone(entry):
        before = _bytes_here(weights_id)
        forget_record(weights_id)
        forget_record(f"{weights_id}.part")
        shutil.rmtree(weights_root() / weights_id, ignore_errors=True)
        return before - _bytes_here(weights_id)


def own_place(entry: Weights) -> Path | None:
    """The folder or file that the user named for these weights."""
    named = read_settings().folders.get(entry.id)
    return Path(named) if named else None


def downloaded_place(entry: Weights) -> Path:
    """Where a download puts these weights: a folder, or the file if there is only one."""
    place = weights_root() / entry.id
    return place / entry.files[0].name if entry.single_file else place


@contextmanager
def alone(entry: Weights) -> Iterator[None]:
    """Hold the lock of these weights; WeightsError when another program changes them now."""
    root = weights_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{entry.id}.lock", timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise WeightsError(f"{entry.title} is being downloaded already; wait for that to end") from error
    except PermissionError as error:
        raise WeightsError(
            "the folder of the weights can't be written; choose another one with the environment variable "
            "MEDREASON_WEIGHTS"
        ) from error


def gigabytes(count: int) -> str:
    """A number of bytes in words."""
    if count >= 1e8:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _bytes_here(weights_id: str) -> int:
    place = weights_root() / weights_id
    return sum(map(_size_of, place.rglob("*"))) if place.is_dir() else 0


def _size_of(file: Path) -> int:
    """Bytes of a file; 0 for a folder, and for a file that a running download has just moved."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:
        return 0


def _check_sizes(entry: Weights, record: Record) -> None:
    place = weights_root() / entry.id
    for file in record.files.values():
        if not has_size(place / file.name, file.size):
            raise WeightsError(
                f"{file.name} of {entry.title} is missing or cut off; {_mend(entry, own=False)}"
            )


def has_size(file: Path, size: int | None) -> bool:
    """Whether a file is there with this size."""
    return file.is_file() and file.stat().st_size == size


def _mend(entry: Weights, own: bool) -> str:
    if own:
        return "copy it again"
    return f"delete it and run `medreason models pull {entry.id}`, which fetches that file alone"


def _names(place: Path) -> list[str]:
    if place.is_file():
        return [place.name]
    return sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())


def _hashed(
    place: Path, names: list[str], *, progress: OnTransfer, cancelled: Cancelled
) -> dict[str, WeightFile]:
    """The files with size and hash as they are now; WeightsError names one that is gone."""
    base = place.parent if place.is_file() else place
    if missing := [name for name in names if not (base / name).is_file()]:
        raise WeightsError(f"{missing[0]} is missing from {base.name}; copy or download it again")
    sizes = {name: (base / name).stat().st_size for name in names}
    found: dict[str, WeightFile] = {}
    done = 0
    for name in names:
        share = Share(progress, name, done, sum(sizes.values()))
        digest = sha256_of(base / name, on_bytes=share, cancelled=cancelled)
        found[name] = WeightFile(name, "", sizes[name], digest)
        done += sizes[name]
    return found


class Share:
    """Turns the bytes of one file into those of all."""

    def __init__(self, progress: OnTransfer, name: str, before: int, total: int | None) -> None:
        self._progress, self._name, self._before, self._total = progress, name, before, total

    def __call__(self, count: int) -> None:
        """Tell that so many bytes of the file are done."""
        self._progress(self._name, self._before + count, self._total)
