"""Records to the three released forms and back; what a form can't hold is left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import structures
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.label_names import named
from napari_medreason.core.medpos import locate
from napari_medreason.core.record import (
    Approach,
    ImageReference,
    Length,
    PositionWords,
    Record,
    RecordProvenance,
    Split,
    System,
    runs_of,
    with_id,
)
from napari_medreason.errors import DataSetError
from napari_medreason.io.records import read_records, write_records

from .dropped import Dropped
from .patients import pseudonym_of

WRITER = "released form"
"""Provenance of records whose words come from a released set."""


@dataclass(frozen=True)
class Given:
    """What a released form says about one sample."""

    system: System
    source: str
    patient: str
    split: Split
    image_path: str
    mask_path: str
    label: str
    question: str
    answer: str
    approach: Approach
    length: Length = ""
    reasoning: str = ""
    super_category: str = ""
    modality: str = ""
    short_description: str = ""
    long_description: str = ""
    healthy: bool | None = None


def record_of(given: Given, mask: NDArray[np.bool_]) -> Record | None:
    """A record from a released sample and its (rows, columns) mask; None when the mask is empty.

    Position words follow the released rule; box and key points are measured on the mask.
    """
    box, position = mask_box(mask), locate(mask, rule="released")
    if box is None or position is None:
        return None
    name = named(given.label)
    item = structures().get(name.structure)
    rows, columns = mask.shape
    record = Record(
        id="",
        system=given.system,
        source=given.source,
        patient=pseudonym_of(given.source, given.patient),
        split=given.split,
        image=ImageReference(
            given.image_path, given.mask_path, "axial", 0, (rows, columns), modality=given.modality
        ),
        structure=name.structure,
        label=name.name,
        value=1,
        side=name.side,
        super_category=given.super_category or (item.super_category if item else ""),
        healthy=given.healthy,
        approach=given.approach,
        length=given.length,
        question=given.question,
        reasoning=given.reasoning,
        answer=given.answer,
        short_description=given.short_description,
        long_description=given.long_description,
        box_plane=box,
        key_points_plane=key_points(mask),
        mask_runs=runs_of(mask),
        position=PositionWords("released", position.label, position.near_center),
        patient_position=None,
        provenance=RecordProvenance(WRITER),
    )
    return with_id(record)


def to_released(system: System, source: Path, target: Path, *, root: Path) -> tuple[int, dict[str, int]]:
    """Write the records of a file in a system's released form; (count, what was left out by reason).

    root: folder of the images that the records name. DataSetError when no record can be written.
    """
    dropped = Dropped()
    records = (record for record in read_records(source) if _of_system(record, system, dropped))
    count = _WRITERS[system]()(records, target, root, dropped)
    if not count:
        reasons = "; ".join(f"{number} {reason}" for reason, number in dropped.as_dict().items())
        raise DataSetError(
            f"no record of {source.name} can be written as {system}: {reasons or 'it is empty'}"
        )
    return count, dropped.as_dict()


def from_released(system: System, source: Path, target: Path, *, root: Path) -> tuple[int, dict[str, int]]:
    """Read a released set into a record file; (count, what was left out by reason)."""
    dropped = Dropped()
    records = _READERS[system]()(source, root, dropped)
    return write_records(target, _unique(records, dropped)), dropped.as_dict()


def _of_system(record: Record, system: System, dropped: Dropped) -> bool:
    if record.system != system:
        dropped.add(f"record: made for {record.system}")
    return record.system == system


def _unique(records: Iterator[Record], dropped: Dropped) -> Iterator[Record]:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            dropped.add("record: duplicate")
        else:
            seen.add(record.id)
            yield record


FormWriter = Callable[[Iterator[Record], Path, Path, Dropped], int]
FormReader = Callable[[Path, Path, Dropped], Iterator[Record]]


def _medpos_writer() -> FormWriter:
    from .released_medpos import write

    return write


def _medpos_reader() -> FormReader:
    from .released_medpos import read

    return read


def _mlmr_sd_writer() -> FormWriter:
    from .released_mlmr_sd import write

    return write


def _mlmr_sd_reader() -> FormReader:
    from .released_mlmr_sd import read

    return read


def _u_mrg_writer() -> FormWriter:
    from .released_u_mrg import write

    return write


def _u_mrg_reader() -> FormReader:
    from .released_u_mrg import read

    return read


_WRITERS: dict[System, Callable[[], FormWriter]] = {
    "medpos": _medpos_writer,
    "mlmr-sd": _mlmr_sd_writer,
    "u-mrg": _u_mrg_writer,
}
_READERS: dict[System, Callable[[], FormReader]] = {
    "medpos": _medpos_reader,
    "mlmr-sd": _mlmr_sd_reader,
    "u-mrg": _u_mrg_reader,
}
