"""One training sample in the project's own schema, and its JSON form: one object per line.

All geometry is in the frame of the result plane (see core.plane). The form is strict: a key that is
not listed here is an error, so that a misspelt key is never silently lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.medpos import Rule
from napari_medreason.core.plane import Axis, Box, Point
from napari_medreason.core.strict import from_plain, parse_json, to_plain

SCHEMA = "medreason-record/1"

System = Literal["medpos", "mlmr-sd", "u-mrg"]
SYSTEMS: tuple[System, ...] = ("medpos", "mlmr-sd", "u-mrg")
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ReviewState = Literal["waiting for review", "accepted", "rejected"]
Approach = Literal["position", "attribute", "location", "reasoning", "unstated"]
Length = Literal["", "short", "long"]


@dataclass(frozen=True)
class ImageReference:
    """Which plane of which file, by paths relative to the data set's source folder.

    path: the image, "" where only a label map exists. mask_path: the file that the mask was taken
    from, "" when unknown. index: 0-based slice along `axis`; frame: of a 4D image, None otherwise.
    shape: (rows, columns) of the result plane; spacing: (between rows, between columns) in mm.
    orientation: patient directions of growing x and y, None when unknown. modality: "CT", "MR" ...
    """

    path: str
    mask_path: str
    axis: Axis
    index: int
    shape: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)
    orientation: tuple[str, str] | None = None
    modality: str = ""
    frame: int | None = None


@dataclass(frozen=True)
class PositionWords:
    """The MedPos label of the mask under `rule`, and whether it lies near the image centre."""

    rule: Rule
    label: str
    near_center: bool


@dataclass(frozen=True)
class TemplateUse:
    """Which template the words were made from; both "" and 0 when a model wrote them freely."""

    id: str = ""
    version: int = 0


@dataclass(frozen=True)
class Review:
    """Who looked at the record; generated text waits until a person accepts or rejects it.

    date: ISO 8601, "" while nobody did. reason: why it was rejected, or a comment.
    """

    state: ReviewState = "waiting for review"
    reviewer: str = ""
    date: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RecordProvenance:
    """What wrote the words and with which seed, enough to make them again."""

    writer: str
    model: str = ""
    seed: int = 0
    version: str = ""


@dataclass(frozen=True)
class Record:
    """One question with its answer, about one structure on one plane.

    id: from the content, so the same sample has the same id in every build. source: name of the set
    the image came from. patient: pseudonym; a patient is in one split only. structure: id in the
    anatomy vocabulary, "" when the label is not in it; label: the name used in the answer.
    value: the label's value in the mask file. side: patient's "left" or "right", "" for none or unknown.
    approach, length: which kind of question. short_description, long_description: of the structure,
    "" where the system has none. healthy: None when the label does not tell.
    box_plane: half-open (x0, y0, x1, y1). key_points_plane: two (x, y) inside the mask.
    mask_runs: row-major run lengths of the mask, the first run counts zeros.
    patient_position: words and distances in the patient, None when the orientation is unknown.
    """

    id: str
    system: System
    source: str
    patient: str
    split: Split
    image: ImageReference
    structure: str
    label: str
    value: int
    side: str
    super_category: str
    healthy: bool | None
    approach: Approach
    length: Length
    question: str
    reasoning: str
    answer: str
    short_description: str
    long_description: str
    box_plane: Box
    key_points_plane: tuple[Point, Point]
    mask_runs: tuple[int, ...]
    position: PositionWords
    patient_position: dict[str, Any] | None
    template: TemplateUse = TemplateUse()
    review: Review = Review()
    provenance: RecordProvenance = field(default=RecordProvenance(""))
    schema: str = SCHEMA

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(rows, columns) bool mask in the result plane."""
        return mask_of(self.mask_runs, self.image.shape)

    @property
    def region(self) -> str:
        """Digest of what is shown and asked about: file, plane, label and mask, without the words."""
        image = self.image
        where = (self.source, image.path, image.mask_path, image.axis, image.index, image.frame)
        return _digest([*where, self.label, self.side, self.value, list(self.mask_runs)])


def record_id(record: Record) -> str:
    """An id from what the record asks and about which region; the split and the review don't change it."""
    return f"{record.system}-{_digest([record.region, record.approach, record.length, record.question])}"


def with_id(record: Record) -> Record:
    """The record with the id that follows from its content."""
    return replace(record, id=record_id(record))


def _digest(values: list[Any]) -> str:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode("utf-8")).hexdigest()[:20]


def to_line(record: Record) -> str:
    """One JSON line without its line end; the same record always gives the same bytes."""
    return json.dumps(to_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_line(line: str, where: str = "record") -> Record:
    """The record of one JSON line; DataSetError names an unknown, missing or badly typed key."""
    record: Record = from_plain(Record, parse_json(line, where), where)
    return record


def runs_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Row-major run lengths of a (rows, columns) mask; the first run counts zeros and may be 0."""
    flat = np.asarray(mask, dtype=bool).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]]))
    start = [0] if flat.size and flat[0] else []
    return (*start, *(int(length) for length in lengths if flat.size))


def mask_of(runs: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The (rows, columns) bool mask of run lengths; ValueError when they don't fill the shape."""
    if min(runs, default=0) < 0 or sum(runs) != shape[0] * shape[1]:
        raise ValueError(f"run lengths add up to {sum(runs)}, a mask of shape {shape} needs another count")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(shape)
