"""What must be known of a run's records before it starts: leakage, balance, and sets that are too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from napari_medreason.core.record import SPLITS, Record, Split

ENOUGH_SLICES = 20
"""With fewer slices to learn from, a gain on other patients is a matter of luck."""
UNBALANCED = 20
"""A structure with so many times fewer slices than the most frequent one is learnt poorly."""


_USES: dict[Split, str] = {
    "validation": "to choose the best state by",
    "test": "to compare before and after",
}


@dataclass(frozen=True)
class SplitCount:
    """What one split holds. slices: different planes; regions: different masks on them."""

    records: int = 0
    patients: int = 0
    slices: int = 0
    regions: int = 0


@dataclass(frozen=True)
class DataCheck:
    """What was found. faults keep a run from starting; warnings don't. structures: train regions of each."""

    splits: Mapping[Split, SplitCount]
    structures: Mapping[str, int]
    modalities: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def check_data(records: Iterable[Record]) -> DataCheck:
    """Check records as a run would use them; rejected ones are left out and counted in a warning."""
    given = list(records)
    used = usable(given)
    train = [record for record in used if record.split == "train"]
    structures = Counter(name for name, _ in {(_name(record), record.region) for record in train})
    return DataCheck(
        splits={split: _count([r for r in used if r.split == split]) for split in SPLITS},
        structures=dict(structures.most_common()),
        modalities=tuple(sorted({record.image.modality for record in used})),
        faults=tuple(_faults(used, train)),
        warnings=tuple(_warnings(given, used, train, structures)),
    )


def usable(records: Iterable[Record]) -> list[Record]:
    """Records that may be learnt from or judged by: those that no reviewer has rejected."""
    return [record for record in records if record.review.state != "rejected"]


def leaking_patients(records: Iterable[Record]) -> dict[str, tuple[Split, ...]]:
    """Patients that are in more than one split, with the splits."""
    splits: dict[str, set[Split]] = {}
    for record in records:
        splits.setdefault(record.patient, set()).add(record.split)
    return {
        patient: tuple(split for split in SPLITS if split in found)
        for patient, found in splits.items()
        if len(found) > 1
    }


def plane_of(record: Record) -> tuple[str, str, int, int | None]:
    """What names the plane of a record."""
    image = record.image
    return image.path, image.axis, image.index, image.frame


def _name(record: Record) -> str:
    return record.structure or record.label


def _count(records: Sequence[Record]) -> SplitCount:
    return SplitCount(
        len(records),
        len({record.patient for record in records}),
        len({plane_of(record) for record in records}),
        len({record.region for record in records}),
    )


def _faults(used: Sequence[Record], train: Sequence[Record]) -> Iterable[str]:
    for patient, splits in sorted(leaking_patients(used).items()):
        yield (
            f"patient {patient} is in {' and in '.join(splits)}; put all records of a patient into one "
            "split, or the figures will be too good"
        )
    if not train:
        yield 'there is no record to learn from; give records with the split "train"'
        return
    if not any(any(record.mask_runs[1::2]) for record in train):
        yield "no record to learn from has a mask with a pixel in it; correct at least one slice"
    if len({record.region for record in train}) == 1:
        yield f"there is one region to learn from; correct at least {ENOUGH_SLICES} slices of two patients"
    if not any(record.image.path for record in train):
        yield "no record to learn from names an image; build the records from images with masks"


def _warnings(
    given: Sequence[Record], used: Sequence[Record], train: Sequence[Record], structures: Counter[str]
) -> Iterable[str]:
    if len(used) < len(given):
        yield f"{len(given) - len(used)} records were rejected in review and are left out"
    slices, patients = len({plane_of(r) for r in train}), len({r.patient for r in train})
    if train and slices < ENOUGH_SLICES:
        yield f"{slices} slices to learn from are few; from {ENOUGH_SLICES} on a gain is likely to hold"
    if patients == 1:
        yield "all slices to learn from are of one patient; the model may learn that patient by heart"
    most = structures.most_common(1)[0][1] if structures else 0
    for name, number in sorted(structures.items()):
        if number * UNBALANCED < most:
            yield f"{name} has {number} regions to learn from and the most frequent structure {most}"
    for split, use in _USES.items():
        if not any(record.split == split for record in used):
            yield f"there is no {split} patient, so there is nothing {use}"
