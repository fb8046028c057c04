"""From a target and written words to a record; shared by the three builders."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from hashlib import sha256

from napari_medreason import __version__
from napari_medreason.core.anatomy import structures
from napari_medreason.core.record import (
    Approach,
    Length,
    Record,
    RecordProvenance,
    Split,
    System,
    TemplateUse,
    runs_of,
    with_id,
)

from .cases import Case
from .targets import Target


@dataclass(frozen=True)
class Words:
    """The written part of one record."""

    question: str
    answer: str
    approach: Approach
    reasoning: str = ""
    length: Length = ""
    short_description: str = ""
    long_description: str = ""
    template: TemplateUse = field(default_factory=TemplateUse)


@dataclass(frozen=True)
class Origin:
    """What all records of one case share."""

    system: System
    case: Case
    patient: str
    split: Split
    healthy: bool | None
    provenance: RecordProvenance


def provenance(writer: str, model: str, seed: int) -> RecordProvenance:
    """Who wrote the words, with this program's version."""
    return RecordProvenance(writer, model, seed, f"napari-medreason {__version__}")


def make_record(origin: Origin, target: Target, words: Words) -> Record:
    """One record that waits for review."""
    item = structures().get(target.name.structure)
    record = Record(
        id="",
        system=origin.system,
        source=origin.case.source,
        patient=origin.patient,
        split=origin.split,
        image=target.image,
        structure=target.name.structure,
        label=target.name.name,
        value=target.value,
        side=target.facts.side if target.facts.side in ("left", "right") else "",
        super_category=item.super_category if item else "",
        healthy=origin.healthy,
        approach=words.approach,
        length=words.length,
        question=words.question,
        reasoning=words.reasoning,
        answer=words.answer,
        short_description=words.short_description,
        long_description=words.long_description,
        box_plane=target.box_plane,
        key_points_plane=target.key_points_plane,
        mask_runs=runs_of(target.mask),
        position=target.position,
        patient_position=target.patient,
        template=words.template,
        provenance=origin.provenance,
    )
    return with_id(record)


def choices(seed: int, *parts: object) -> random.Random:
    """Random numbers that depend on the seed and on what is chosen for, never on the order of work."""
    text = "\0".join(map(str, (seed, *parts)))
    return random.Random(int.from_bytes(sha256(text.encode("utf-8")).digest()[:8], "big"))


def target_key(target: Target) -> str:
    """A stable name of a target within its source."""
    image = target.image
    return f"{image.mask_path}|{image.axis}|{image.index}|{target.value}|{target.name.name}"
