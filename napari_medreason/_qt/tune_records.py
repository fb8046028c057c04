"""Records for a run: files with the folders of their images, as one set, split by patient. No Qt here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Literal

from napari_medreason._qt.tune_records_made import newest
from napari_medreason.core.record import ImageReference, Record, Split, with_id
from napari_medreason.errors import DataSetError
from napari_medreason.io.records import read_records

SplitWish = Literal["missing", "kept", "drawn"]
"""missing: drawn by patient where all records stand in one split; kept: as they are; drawn: anew."""


@dataclass(frozen=True)
class RecordSet:
    """A file of records, and the folder that its image paths start at; both absolute.

    patient: whom the user says that all of them are of, "" for what the records say.
    """

    file: Path
    images: Path
    patient: str = ""


@dataclass(frozen=True)
class SplitPlan:
    """How records are divided. validation, test: shares of the patients, from 0 to 1."""

    wish: SplitWish = "missing"
    validation: float = 0.2
    test: float = 0.2


@dataclass(frozen=True, eq=False)
class PreparedRecords:
    """The records of a run. images: folder that their paths start at.

    files: those that hold them as they are; none when they have to be written anew. drawn: whether the
    splits are others than in the files. outdated: number of those left out, since a later set has them anew.
    """

    records: tuple[Record, ...]
    images: Path
    files: tuple[Path, ...]
    drawn: bool
    outdated: int = 0


class RecordReader:
    """Reads record files, each only once as long as it does not change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], tuple[Record, ...]]] = {}

    def read(self, file: Path) -> tuple[Record, ...]:
        """The records of a file; DataSetError when it is missing or holds something else."""
        try:
            state = file.stat()
        except OSError as error:
            raise DataSetError(f"{file.name} can't be read: {error.strerror}; choose another file") from error
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            known = self._known[file] = (stamp, tuple(read_records(file)))
        return known[1]


def prepared(sets: Sequence[RecordSet], plan: SplitPlan, reader: RecordReader) -> PreparedRecords:
    """The records of all sets as one; a record that is in two of them is kept once.

    DataSetError when there is none, a file or folder is missing, or the images lie on different drives.
    """
    if not sets:
        raise DataSetError("no records are chosen; add a file of records, or the labels in the viewer")
    for one in sets:
        if not one.images.is_dir():
            raise DataSetError(
                f"{one.file.name}: its image folder {one.images.name!r} is missing; choose it anew"
            )
    root = _common_root([one.images for one in sets])
    read = [reader.read(one.file) for one in sets]
    kept = newest([(one.file, some) for one, some in zip(sets, read, strict=True)])
    outdated = sum(map(len, read)) - sum(map(len, kept))
    found = {
        record.id: record
        for one, some in zip(sets, kept, strict=True)
        for record in _moved(_of_patient(some, one.patient), one.images, root)
    }
    records = tuple(found.values())
    divided = _divided(records, plan)
    drawn, records = divided != records, divided
    as_they_are = not (drawn or outdated) and all(one.images == root and not one.patient for one in sets)
    files = tuple(one.file for one in sets) if as_they_are else ()
    return PreparedRecords(records, root, files, drawn, outdated)


def _divided(records: tuple[Record, ...], plan: SplitPlan) -> tuple[Record, ...]:
    """The records in the splits that are wished for."""
    given = len({record.split for record in records}) > 1
    if plan.wish == "kept" or (plan.wish == "missing" and given):
        return records
    splits = split_by_patient((record.patient for record in records), plan)
    return tuple(replace(record, split=splits[record.patient]) for record in records)


def _common_root(folders: Iterable[Path]) -> Path:
    try:
        return Path(os.path.commonpath(sorted({str(folder) for folder in folders})))
    except ValueError as error:
        raise DataSetError(
            "the images lie on different drives; copy them to one, or make a run for each"
        ) from error


def _of_patient(records: Iterable[Record], patient: str) -> Iterable[Record]:
    """The records as of this patient, "" for the one that they name."""
    return (with_id(replace(record, patient=patient)) for record in records) if patient else records


def _moved(records: Iterable[Record], images: Path, root: Path) -> Iterable[Record]:
    """The records with image paths that start at `root` in place of `images`."""
    lead = PurePosixPath(images.relative_to(root).as_posix())
    if lead == PurePosixPath():
        return records
    return (with_id(replace(record, image=_image_under(record, lead))) for record in records)


def _image_under(record: Record, lead: PurePosixPath) -> ImageReference:
    image = record.image
    path, mask_path = (str(lead / name) if name else "" for name in (image.path, image.mask_path))
    return replace(image, path=path, mask_path=mask_path)


def split_by_patient(patients: Iterable[str], plan: SplitPlan) -> Mapping[str, Split]:
    """A split for each patient, always the same for the same patients.

    Learning comes first, then the comparison at the end (test), then the choice of the best state: with two
    patients there is no validation, with one there is neither.
    """
    order = sorted(set(patients), key=lambda patient: sha256(patient.encode()).digest())
    free = max(0, len(order) - 1)
    test = min(free, _size(plan.test, len(order)))
    validation = min(free - test, _size(plan.validation, len(order)))
    return {patient: _split_at(place, test, validation) for place, patient in enumerate(order)}


def _split_at(place: int, test: int, validation: int) -> Split:
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def _size(share: float, count: int) -> int:
    return max(1, round(share * count)) if share > 0 else 0


def relative_to(path: Path, base: Path) -> str:
    """A path as a configuration names it, from the folder `base`; absolute only on another drive."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:
        return path.as_posix()
