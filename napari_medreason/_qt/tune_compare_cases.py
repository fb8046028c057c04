"""Held-out cases of a run: its test records with the planes they are about. No Qt and no napari here."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason.core.plane import Plane, cut, plane_axes
from napari_medreason.core.record import Record, Split
from napari_medreason.core.run_check import usable
from napari_medreason.core.run_config import RunConfig, read_run_config
from napari_medreason.core.run_folder import CONFIG, paths_from
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.errors import CancelledError, DataSetError, RunError
from napari_medreason.io.records import read_records

MOST_CASES = 40
"""Cases that are shown; more than a person looks through. The figures of the card are of all."""
Order = Literal["patients", "worse", "better"]
"""Which cases come first: patient after patient, or those that changed most for the worse or the better."""
COMPARISON = "comparison.json"
Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class HeldOutCase:
    """One corrected region that base and adapter are asked about.

    plane: what they see. slice: the same, as a volume that is one slice thick along `record.image.axis`.
    """

    record: Record
    plane: Plane
    slice: Volume


@dataclass(frozen=True)
class HeldOut:
    """The cases of a run.

    split: "validation" where there is no test patient. total: cases of the split. order: how these were
    chosen, "patients" where the run has not noted how cases changed.
    """

    split: Split
    cases: tuple[HeldOutCase, ...]
    total: int
    order: Order = "patients"


def read_held_out(
    folder: Path, order: Order = "patients", *, progress: Progress, cancelled: Cancelled
) -> HeldOut:
    """Read the cases of a run's records; long, so call it off the GUI thread.

    RunError when there is no held-out record, or an image is missing or has changed.
    """
    config, base = read_run_config(folder / CONFIG), paths_from(folder, folder / CONFIG)
    split, records = _held_out_records(config, base)
    gains = {} if order == "patients" else _gains(folder)
    found: Order = order if gains else "patients"
    chosen = most_changed(records, gains, found) if gains else spread(records, MOST_CASES)
    cases: list[HeldOutCase] = []
    for case in _cases(chosen, base / config.images):
        cases.append(case)
        progress(len(cases), len(chosen))
        if cancelled():
            raise CancelledError("reading the held-out cases was cancelled")
    places = {record.id: place for place, record in enumerate(chosen)}
    return HeldOut(split, tuple(sorted(cases, key=lambda case: places[case.record.id])), len(records), found)


def _held_out_records(config: RunConfig, base: Path) -> tuple[Split, list[Record]]:
    try:
        records = usable(chain.from_iterable(read_records(base / name) for name in config.records))
    except DataSetError as error:
        raise RunError(f"the records of this run can't be read any more: {error}") from error
    splits: tuple[Split, ...] = ("test", "validation")
    for split in splits:
        found = {r.region: r for r in records if r.split == split and r.image.path}
        if found:
            return split, list(found.values())
    raise RunError(
        "this run has no record that it has not learnt from; give records of another patient the split "
        '"test" and start a new run'
    )


def spread(records: Iterable[Record], most: int) -> list[Record]:
    """At most so many records, of every patient in turn, whatever their numbers of slices."""
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        patients[record.patient].append(record)
    turns = chain.from_iterable(zip_longest(*patients.values()))
    chosen = [record for record in turns if record is not None][:most]
    return sorted(chosen, key=lambda r: (r.patient, r.image.path, r.image.axis, r.image.index))


def most_changed(records: Iterable[Record], gains: Mapping[str, float], order: Order) -> list[Record]:
    """The records that changed most, the most first; one without a gain counts as unchanged."""
    sign = 1 if order == "worse" else -1
    return sorted(records, key=lambda record: sign * gains.get(record.id, 0.0))[:MOST_CASES]


def _gains(folder: Path) -> dict[str, float]:
    """Mean gain of each record over the ways it was asked; empty for a run that compared nothing."""
    sums: dict[str, list[float]] = defaultdict(list)
    try:
        pairs = json.loads((folder / COMPARISON).read_text(encoding="utf-8"))["pairs"]
        for pair in pairs:
            sums[str(pair["record"])].append(float(pair["after"]) - float(pair["before"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {record: sum(values) / len(values) for record, values in sums.items()}


def _cases(records: Iterable[Record], images: Path) -> Iterator[HeldOutCase]:
    files: dict[tuple[str, int | None], list[Record]] = defaultdict(list)
    for record in records:
        files[record.image.path, record.image.frame].append(record)
    for (path, frame), own in files.items():
        volume = io.read(images / path).frame(frame)
        volume = replace(volume, modality=own[0].image.modality or volume.modality)
        for record in own:
            yield _case(record, volume)


def _case(record: Record, volume: Volume) -> HeldOutCase:
    image = record.image
    plane = cut(volume, image.axis, image.index, default_window(volume))
    if plane.grid.shape != image.shape:
        raise RunError(
            f"{Path(image.path).name} has planes of {plane.grid.shape} pixels, its records say "
            f"{image.shape}; put the image back as it was when the records were built"
        )
    return HeldOutCase(record, plane, one_slice(volume, plane))


def one_slice(volume: Volume, plane: Plane) -> Volume:
    """The slice of a plane as a volume of its own at the same place, copied."""
    normal = plane_axes(volume, plane.grid.axis)[2]
    place: list[slice] = [slice(None)] * 3
    place[2 - normal] = slice(plane.grid.index, plane.grid.index + 1)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, normal] * plane.grid.index
    voxels = volume.voxels[tuple(place)].copy()
    return replace(volume, voxels=voxels, affine=affine, slice_positions=None, label_names={})


def dice(found: NDArray[np.bool_] | None, corrected: NDArray[np.bool_]) -> float:
    """Overlap of two (rows, columns) masks, 0 to 1; of nothing found, 0, unless nothing was to be found."""
    mask = np.zeros_like(corrected) if found is None else found
    total = int(mask.sum() + corrected.sum())
    return 2 * int((mask & corrected).sum()) / total if total else 1.0
