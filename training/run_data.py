"""The records of a run, checked, and their planes with all that is labelled on them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason.core.plane import Plane, cut
from napari_medreason.core.record import Record, Split, to_line
from napari_medreason.core.run_check import DataCheck, check_data, plane_of, usable
from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_folder import LAST
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.errors import MedReasonError, RunError
from napari_medreason.io import replace_file
from napari_medreason.io.records import read_records

from . import several
from .runs import RunWriter, data_sha256

T = TypeVar("T")

DATA = "data.json"
"""In the run folder: which records the run began with."""


@dataclass(frozen=True, eq=False)
class RunRecords:
    """What a run learns from and is judged by. sha256: of all records, whatever their order."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    check: DataCheck
    sha256: str
    images: Path


@dataclass(frozen=True, eq=False)
class Region:
    """One labelled thing on a plane. side: the patient's "left" or "right", "" for none or unknown.

    mask: (rows, columns) bool in the plane's pixels. record: one of those that describe it.
    """

    structure: str
    side: str
    mask: NDArray[np.bool_]
    record: Record


@dataclass(frozen=True, eq=False)
class LabelledPlane:
    """A plane with everything that the records say about it."""

    plane: Plane
    patient: str
    regions: tuple[Region, ...]


def run_records(config: RunConfig, base: Path) -> RunRecords:
    """Read and check the records that a configuration names; `base` is where its paths start.

    RunError for the first fault that the check finds, DataSetError for a file that is no record file.
    """
    records: list[Record] = []
    for name in config.records:
        records += read_records(base / name)
    check = check_data(records)
    if check.faults:
        raise RunError(check.faults[0])
    used = usable(records)
    of: dict[Split, tuple[Record, ...]] = {
        split: tuple(record for record in used if record.split == split) for split in check.splits
    }
    images = base / config.images
    if not images.is_dir():
        raise RunError(f"images = {images.name!r} is no folder; name the one that the image paths start from")
    sha256 = data_sha256([to_line(record) for record in used])
    return RunRecords(of["train"], of["validation"], of["test"], check, sha256, images)


def keep_data(writer: RunWriter, records: RunRecords) -> None:
    """Note which records a run uses, and what its check warns of; RunError when it is resumed with others."""
    file = writer.folder / DATA
    found = {"sha256": records.sha256, "train": len(records.train)}
    found |= {"validation": len(records.validation), "test": len(records.test)}
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != found:
        raise RunError("the records have changed since this run began; start a new run with them")
    if not several.is_main():
        return
    if not (writer.folder / LAST).exists():
        for words in records.check.warnings:
            writer.event("warning", 0, {}, words)
    with replace_file(file) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many items, 0 for all; from everywhere, since records lie patient after patient."""
    if not most or len(items) <= most:
        return items
    return [items[number * len(items) // most] for number in range(most)]


def labelled_planes(records: Iterable[Record], images: Path) -> Iterator[LabelledPlane]:
    """The planes of records, image after image; RunError when an image is missing or has changed."""
    files: dict[tuple[str, int | None], list[Record]] = defaultdict(list)
    for record in records:
        files[record.image.path, record.image.frame].append(record)
    for (path, frame), own in files.items():
        volume = _volume(images, path, frame)
        volume = replace(volume, modality=own[0].image.modality or volume.modality)
        planes: dict[object, list[Record]] = defaultdict(list)
        for record in own:
            planes[plane_of(record)].append(record)
        for group in planes.values():
            yield _labelled(volume, group)


def _volume(images: Path, path: str, frame: int | None) -> Volume:
    if not path:
        raise RunError("a record names no image, only a label map; train with records that name images")
    try:
        found = io.read(images / path)
    except MedReasonError as error:
        raise RunError(f"the image of a record can't be read: {error}") from error
    return found.frame(frame)


def _labelled(volume: Volume, records: Sequence[Record]) -> LabelledPlane:
    image = records[0].image
    plane = cut(volume, image.axis, image.index, default_window(volume))
    if plane.grid.shape != image.shape:
        raise RunError(
            f"{Path(image.path).name} has planes of {plane.grid.shape} pixels, its records say "
            f"{image.shape}; build the records again from the image as it is now"
        )
    unique = {record.region: record for record in records}
    regions = tuple(Region(r.structure, r.side, r.mask, r) for r in unique.values())
    return LabelledPlane(plane, records[0].patient, regions)
