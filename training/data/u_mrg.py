"""U-MRG records: a vague question whose answer is reasoned step by step.

The steps are those of the MedReasoner paper, section on the data set: a meta record of each region
with a short and a long description; question and answer formats for its super-category; one format
revised to the region. What comes out waits for review.
"""

from __future__ import annotations

from collections.abc import Iterator

from napari_medreason.core.anatomy import FINDING_CATEGORIES, structures
from napari_medreason.core.record import Record, TemplateUse
from napari_medreason.core.template_slots import render

from .cases import LoadedCase
from .context import Builder, Context
from .making import Origin, Words, choices, make_record, target_key
from .targets import PlaneTargets, Target
from .telling import point_shares, told, told_image, told_others
from .writers.task import Descriptions, Format, ReasonedPair, Task, prompt

_FOCUS = {
    "anatomy": "Say what the structure does in the body.",
    "finding": "Say how the finding bears on its surroundings, without judging it.",
    "unknown": "Stay strictly with what can be seen; assume nothing.",
}
_SCOPE = {
    "anatomy": "They are about normal structures: where they lie, what they touch, what they do; no disease.",
    "finding": "They are about findings: what differs from the surroundings, its extent, what is unsure.",
}
_HEALTH = {True: "healthy", False: "not healthy", None: "health not stated"}
_MEMBERS_SHOWN = 12


def build(plane: PlaneTargets, _loaded: LoadedCase, origin: Origin, context: Context) -> Iterator[Record]:
    """One record per target whose super-category is known."""
    for target in plane.chosen:
        category = target.facts.super_category
        if not category:
            context.dropped.add("region: label outside the fifteen super-categories")
            continue
        described = _described(target, plane, origin, context)
        formats = _formats(category, origin, context) if described is not None else ()
        if described is not None and formats:
            yield from _record(target, described, formats, origin, context)


def _described(target: Target, plane: PlaneTargets, origin: Origin, context: Context) -> Descriptions | None:
    others = plane.beside(target)
    task = Task(
        kind="description",
        key=f"description|{target_key(target)}",
        prompt=prompt(
            "description",
            **_facts(target, origin),
            others=told_others(others),
            focus=_FOCUS[_kind(target.facts.super_category)],
        ),
        target=target,
        others=others,
        split=origin.split,
    )
    written = context.write(task)
    return None if written is None else written.answer


def _facts(target: Target, origin: Origin) -> dict[str, str]:
    return {
        "image": told_image(target),
        "target": told(target),
        "category": target.facts.super_category,
        "health": _HEALTH[origin.healthy],
        "points": str(point_shares(target)),
    }


def _kind(category: str) -> str:
    if not category:
        return "unknown"
    return "finding" if category in FINDING_CATEGORIES else "anatomy"


def _formats(category: str, origin: Origin, context: Context) -> tuple[Format, ...]:
    """The formats of a super-category; written once, since the writer keeps what it wrote."""
    split = "test" if origin.split == "test" else "train"
    count = context.config.formats_per_category
    members = [item.name for item in structures().values() if item.super_category == category]
    task = Task(
        kind="formats",
        key=f"formats|{category}|{split}",
        prompt=prompt(
            "formats",
            count=str(count),
            category=category,
            scope=_SCOPE[_kind(category)],
            members=", ".join(members[:_MEMBERS_SHOWN]),
        ),
        given={"category": category, "count": count},
        split=split,
    )
    written = context.write(task)
    return () if written is None else written.answer.formats


def _record(
    target: Target,
    described: Descriptions,
    formats: tuple[Format, ...],
    origin: Origin,
    context: Context,
) -> Iterator[Record]:
    form = choices(context.config.seed, "format", target_key(target)).choice(formats)
    task = Task(
        kind="pair",
        key=f"pair|{target_key(target)}",
        prompt=prompt(
            "pair",
            **_facts(target, origin),
            short=described.short,
            long=described.long,
            question=form.question,
            answer=form.answer,
            name=render("{name}", target.facts),
        ),
        target=target,
        given={"formats": formats},
        split=origin.split,
    )
    written = context.write(task)
    if written is None:
        return
    pair: ReasonedPair = written.answer
    words = Words(
        question=pair.question,
        answer=pair.answer,
        approach="reasoning",
        reasoning=pair.reasoning,
        short_description=described.short,
        long_description=described.long,
        template=written.templates.get("", TemplateUse()),
    )
    yield make_record(origin, target, words)


BUILDER = Builder("u-mrg", "U-MRG: vague question, reasoning, box and key points", build)
