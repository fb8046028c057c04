"""MedPos records: where is a named structure in the image? Masks and templates, no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from napari_medreason.core.record import Record, TemplateUse
from napari_medreason.core.templates import Template, applicable, fill

from .cases import LoadedCase
from .context import Builder, Context
from .making import Origin, Words, choices, make_record, target_key
from .targets import PlaneTargets, Target


def build(plane: PlaneTargets, _loaded: LoadedCase, origin: Origin, context: Context) -> Iterator[Record]:
    """`questions_per_region` records for each region of a plane, with wordings of the record's split."""
    split = "test" if origin.split == "test" else "train"
    templates = [one for one in context.templates if one.split == split]
    for target in plane.chosen:
        for template in _some(templates, target, context):
            filled = fill(template, target.facts)
            words = Words(
                question=filled.question,
                answer=filled.answer,
                reasoning=filled.reasoning,
                approach="position",
                template=TemplateUse(template.id, template.version),
            )
            yield make_record(origin, target, words)


def _some(templates: Sequence[Template], target: Target, context: Context) -> list[Template]:
    candidates = applicable(templates, target.facts)
    if not candidates:
        context.dropped.add("text: position: no template applies")
    config = context.config
    count = min(config.questions_per_region, len(candidates))
    context.dropped.add("text: position: fewer templates than questions", config.questions_per_region - count)
    return choices(config.seed, "medpos", target_key(target)).sample(candidates, count)


BUILDER = Builder("medpos", "MedPos: position of a named structure", build)
