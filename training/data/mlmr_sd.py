"""MLMR-SD records: a structure is described by its attributes or its location and has to be named.

The steps are those of the MediSee paper, section 3: caption of the image; attribute- and
location-oriented descriptions, short and long; an evaluator that keeps, mends or rejects them;
questions and answers. What comes out waits for review.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from napari_medreason.core.record import Record, TemplateUse
from napari_medreason.core.strict import to_plain
from napari_medreason.core.template_slots import render

from .cases import LoadedCase
from .context import Builder, Context
from .making import Origin, Words, make_record, target_key
from .targets import PlaneTargets, Target
from .telling import picture, told, told_image, told_others
from .writers.task import Descriptions, Pair, Task, TaskKind, prompt

Orientation = Literal["attribute", "location"]
ORIENTATIONS: tuple[Orientation, ...] = ("attribute", "location")
LENGTHS: tuple[Literal["short", "long"], ...] = ("short", "long")


def build(plane: PlaneTargets, loaded: LoadedCase, origin: Origin, context: Context) -> Iterator[Record]:
    """Up to four records per target and round: attribute and location oriented, short and long."""
    caption = _caption(plane, loaded, context)
    if caption is None:
        context.dropped.add("region: no caption of its image", len(plane.chosen))
        return
    for number in range(context.config.rounds):
        for orientation in ORIENTATIONS:
            yield from _round(_Round(plane, caption, orientation, number, origin, context))


def _caption(plane: PlaneTargets, loaded: LoadedCase, context: Context) -> str | None:
    first = plane.chosen[0]
    writer = context.config.writer
    send = writer.kind == "endpoint" and writer.send_images
    names = ", ".join(render("{name}", target.facts) for target in plane.seen)
    task = Task(
        kind="caption",
        key=f"caption|{target_key(first)}",
        prompt=prompt("caption", image=told_image(first), structures=names),
        target=first,
        others=plane.beside(first),
        picture=picture(loaded, first) if send else None,
    )
    written = context.write(task)
    return None if written is None else str(written.answer.caption)


@dataclass(frozen=True, eq=False)
class _Round:
    """One pass over a plane; number counts the rounds from 0."""

    plane: PlaneTargets
    caption: str
    orientation: Orientation
    number: int
    origin: Origin
    context: Context

    def task(
        self, kind: TaskKind, target: Target, wording: Mapping[str, str], given: Mapping[str, Any]
    ) -> Task:
        """A task about one target, with the words that every prompt of this system needs."""
        others = self.plane.beside(target)
        words = {"image": told_image(target), "target": told(target), "others": told_others(others)}
        return Task(
            kind=kind,
            key=f"{kind}|{self.orientation}|{self.number}|{target_key(target)}",
            prompt=prompt(kind, **words, **wording),
            target=target,
            others=others,
            given=given,
            split=self.origin.split,
        )


def _round(work: _Round) -> Iterator[Record]:
    for target in work.plane.chosen:
        texts = _described(work, target)
        kept = _evaluated(work, target, texts) if texts else None
        if kept is not None:
            yield from _records(work, target, kept)


def _described(work: _Round, target: Target) -> Descriptions | None:
    unlike = f"\n- Write something unlike your earlier answers; this is round {work.number + 1}."
    wording = {"caption": work.caption, "unlike": unlike if work.number else ""}
    written = work.context.write(work.task(work.orientation, target, wording, {"round": work.number}))
    return None if written is None else written.answer


def _evaluated(work: _Round, target: Target, texts: Descriptions) -> Descriptions | None:
    """What the evaluator keeps; a rejected text is "" and is counted."""
    given = {**to_plain(texts), "approach": work.orientation}
    wording = {"short": texts.short, "long": texts.long}
    written = work.context.write(work.task("evaluate", target, wording, given))
    if written is None:
        return None
    kept: Descriptions = written.answer
    rejected = sum(not text for text in (kept.short, kept.long))
    work.context.dropped.add(f"text: {work.orientation}: rejected by the evaluator", rejected)
    return kept if rejected < len(LENGTHS) else None


def _records(work: _Round, target: Target, kept: Descriptions) -> Iterator[Record]:
    given = {**to_plain(kept), "approach": work.orientation}
    wording = {"short": kept.short, "long": kept.long, "name": render("{name}", target.facts)}
    written = work.context.write(work.task("ask", target, wording, given))
    if written is None:
        return
    for length in LENGTHS:
        pair: Pair = getattr(written.answer, length)
        if not pair.question:
            continue
        words = Words(
            question=pair.question,
            answer=pair.answer,
            approach=work.orientation,
            length=length,
            short_description=kept.short,
            long_description=kept.long,
            template=written.templates.get(length, TemplateUse()),
        )
        yield make_record(work.origin, target, words)


BUILDER = Builder("mlmr-sd", "MLMR-SD: a structure described by its attributes or its location", build)
