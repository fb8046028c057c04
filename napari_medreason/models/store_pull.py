"""Downloading a set of weights: what is whole stays, what is partial goes on, only a whole set is used."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from napari_medreason.core.renaming import rename
from napari_medreason.errors import WeightsError
from napari_medreason.models.base import Cancelled
from napari_medreason.models.catalogue import Loader, WeightFile, Weights
from napari_medreason.models.download import RefusedError, RemoteFile, fetch, part_of
from napari_medreason.models.download_hub import Plan, check_reachable, gated_advice, make_plan
from napari_medreason.models.settings import read_settings
from napari_medreason.models.store import (
    OnTransfer,
    Share,
    alone,
    downloaded_place,
    gigabytes,
    has_size,
    own_place,
)
from napari_medreason.models.store_files import look
from napari_medreason.models.store_record import (
    Record,
    forget_record,
    read_record,
    weights_root,
    write_record,
)

_SAFETENSORS_ONLY: tuple[Loader, ...] = ("transformers", "sam", "sam2", "grounding-dino")
"""Loaders of transformers' layout; the others read the older format themselves."""

SPARE_BYTES = 256 << 20
"""Left free on the disk by a download."""


def pull(entry: Weights, *, progress: OnTransfer, cancelled: Cancelled) -> Path:
    """Download what is missing and give the place to load from; goes on where an earlier try stopped.

    Files that are whole are not fetched again. CancelledError between two blocks. WeightsError when the disk
    is too small, the server refuses or can't be reached, or a file is not what it should be; everything that
    had come is kept, and no half set of weights is ever used.
    """
    settings = read_settings()
    if (own := own_place(entry)) is not None:
        raise WeightsError(
            f"{entry.title} is loaded from your folder {own.name}; to download it instead, first "
            f"`medreason models use {entry.id} --downloaded`"
        )
    check_reachable(entry, settings)
    with alone(entry):
        progress("", 0, None)
        earlier = read_record(entry.id) or read_record(_unfinished(entry))
        plan = make_plan(entry, settings, earlier)
        here = _already_here(entry, plan, earlier)
        _check_space(entry, plan, here)
        files = _fetch_missing(entry, plan, here, progress=progress, cancelled=cancelled)
        place = downloaded_place(entry)
        if entry.loader in _SAFETENSORS_ONLY:
            _convert(place)
        look(entry, place)
        write_record(entry.id, Record(entry.repository, plan.revision, files))
        forget_record(_unfinished(entry))
        return place


def _convert(folder: Path) -> None:
    """Make model.safetensors of a model folder that holds weights in the older format alone, once.

    WeightsError when the file would run code, or is cut off; see models.checkpoints.
    """
    old, new = folder / "pytorch_model.bin", folder / "model.safetensors"
    if not old.is_file() or any(folder.glob("*.safetensors")):
        return
    from napari_medreason.models.checkpoints import safetensors_of  # needs torch

    rename(safetensors_of(old), new)


def _unfinished(entry: Weights) -> str:
    """Name of the record of a download that has not ended: it holds the revision and the whole files."""
    return f"{entry.id}.part"


def _already_here(entry: Weights, plan: Plan, record: Record | None) -> dict[str, WeightFile]:
    """Files of the plan that are whole on the disk, by the record of this same revision."""
    if record is None or record.revision != plan.revision:
        return {}
    place = weights_root() / entry.id
    return {
        file.name: record.files[file.name]
        for file in plan.files
        if file.name in record.files and _is_whole(place / file.name, file, record.files[file.name])
    }


def _is_whole(path: Path, file: RemoteFile, known: WeightFile) -> bool:
    agrees = file.sha256 in ("", known.sha256) and file.size in (None, known.size)
    return agrees and has_size(path, known.size)


def _check_space(entry: Weights, plan: Plan, here: Mapping[str, WeightFile]) -> None:
    place = weights_root() / entry.id
    place.mkdir(parents=True, exist_ok=True)
    missing = [file for file in plan.files if file.name not in here]
    parts = [part_of(place / file.name) for file in missing]
    needed = sum(file.size or 0 for file in missing) - sum(p.stat().st_size for p in parts if p.is_file())
    free = shutil.disk_usage(place).free
    if missing and needed + SPARE_BYTES > free:
        raise WeightsError(
            f"{entry.title} needs {gigabytes(needed)} more and {gigabytes(SPARE_BYTES)} to spare, but the "
            f"disk has {gigabytes(free)} free; free some space, or choose another folder with "
            "MEDREASON_WEIGHTS in the environment"
        )


def _fetch_missing(
    entry: Weights,
    plan: Plan,
    here: Mapping[str, WeightFile],
    *,
    progress: OnTransfer,
    cancelled: Cancelled,
) -> dict[str, WeightFile]:
    place, files = weights_root() / entry.id, dict(here)
    for file in plan.files:
        if file.name in here:
            continue
        write_record(_unfinished(entry), Record(entry.repository, plan.revision, files))
        report = Share(progress, file.name, sum(one.size or 0 for one in files.values()), plan.size)
        target = place / file.name
        try:
            digest = fetch(file, target, on_bytes=report, cancelled=cancelled)
        except RefusedError as error:
            raise gated_advice(entry, file.token) if entry.repository else error from error
        files[file.name] = WeightFile(file.name, "", target.stat().st_size, digest)
    return files
