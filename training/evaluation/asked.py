"""Which records an evaluation asks, checked, and the planes that they are asked on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medreason.core.evaluation_config import EvaluationConfig
from napari_medreason.core.plane import Plane
from napari_medreason.core.record import Record, to_line
from napari_medreason.core.run_check import leaking_patients, plane_of, usable
from napari_medreason.errors import RunError
from napari_medreason.io.records import read_records

from ..run_data import labelled_planes
from ..runs import data_sha256


@dataclass(frozen=True, eq=False)
class AskedRecords:
    """The records of one evaluation. left_out: reasons with their numbers.

    learning: patients of the same files that are there to learn from. sha256: of all records in the files, as
    training runs note it.
    """

    records: tuple[Record, ...]
    left_out: dict[str, int]
    learning: frozenset[str]
    sha256: str

    @property
    def patients(self) -> int:
        """Different patients."""
        return len({record.patient for record in self.records})


def asked_records(config: EvaluationConfig, base: Path) -> AskedRecords:
    """Read the records that a configuration names; RunError, DataSetError for what can't be evaluated."""
    given: list[Record] = []
    for name in config.records:
        given += read_records(base / name)
    _refuse_twice(given)
    used = usable(given)
    asked = [record for record in used if record.split in config.splits]
    _refuse_leaks(used, config)
    seen = [record for record in asked if record.image.path and any(record.mask_runs[1::2])]
    left_out = Counter(
        {
            "rejected in review": len(given) - len(used),
            "of another split": len(used) - len(asked),
            "without an image (label map only)": sum(not record.image.path for record in asked),
            "with an empty mask": sum(bool(r.image.path) and not any(r.mask_runs[1::2]) for r in asked),
        }
    )
    if not seen:
        raise RunError(_nothing(config, used, left_out))
    kept = _spread(seen, config.limit)
    left_out["beyond the limit"] = len(seen) - len(kept)
    learning = frozenset(record.patient for record in used if record.split != "test")
    sha256 = data_sha256([to_line(record) for record in used])
    return AskedRecords(tuple(kept), {why: n for why, n in left_out.items() if n}, learning, sha256)


def asked_planes(
    records: Iterable[Record], config: EvaluationConfig, base: Path
) -> Iterator[tuple[Plane, tuple[Record, ...]]]:
    """Every plane with the records asked on it, image after image; RunError when an image is missing."""
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record.source].append(record)
    for source, own in by_source.items():
        on: dict[object, list[Record]] = defaultdict(list)
        for record in own:
            on[plane_of(record)].append(record)
        for labelled in labelled_planes(own, base / config.images_of(source)):
            yield labelled.plane, tuple(on[plane_of(labelled.regions[0].record)])


def check_images(records: Iterable[Record], config: EvaluationConfig, base: Path) -> None:
    """RunError when a source has no folder of images, or an image file is not there."""
    for source, path in sorted({(record.source, record.image.path) for record in records}):
        folder = base / config.images_of(source)
        if not folder.is_dir():
            raise RunError(
                f"the images of {source} should be in {folder.name}, which is no folder; correct `images`"
            )
        if not (folder / path).exists():
            raise RunError(
                f"{path} of {source} is not in {folder.name}; correct `images`, or build the records again"
            )


def _refuse_twice(records: Sequence[Record]) -> None:
    twice = [id_ for id_, number in Counter(record.id for record in records).items() if number > 1]
    if twice:
        raise RunError(
            f"record {twice[0]} and {len(twice) - 1} more are there twice; name each file of records once"
        )


def _refuse_leaks(used: Sequence[Record], config: EvaluationConfig) -> None:
    """A patient who is asked may not be one to learn from too, unless all splits are asked."""
    for patient, splits in sorted(leaking_patients(used).items()):
        outside = set(splits) - set(config.splits)
        if outside and outside != set(splits):
            raise RunError(
                f"patient {patient} is in {' and in '.join(splits)}; put all records of a patient into one "
                "split, or the figures will be too good"
            )


def _nothing(config: EvaluationConfig, used: Sequence[Record], left_out: Counter[str]) -> str:
    found = Counter(record.split for record in used)
    splits = ", ".join(f"{number} {split}" for split, number in sorted(found.items())) or "none"
    reasons = ", ".join(f"{number} {why}" for why, number in left_out.items() if number)
    return (
        f"no record of {' or '.join(config.splits)} can be asked (records found: {splits}; left out: "
        f"{reasons or 'none'}); set splits, or give records with images and masks"
    )


def _spread(records: Sequence[Record], limit: int) -> list[Record]:
    """At most `limit` of them, evenly spread."""
    if not limit or len(records) <= limit:
        return list(records)
    return [records[place] for place in np.linspace(0, len(records) - 1, limit).round().astype(int)]
