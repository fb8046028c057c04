"""Texts from templates and facts alone: the offline writer, which needs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from napari_medreason.core.record import TemplateUse
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_names import names_in
from napari_medreason.core.template_slots import empty_slots, render
from napari_medreason.core.template_words import definite
from napari_medreason.core.templates import Template, applicable, fill

from ..making import choices
from .task import (
    Caption,
    Descriptions,
    Format,
    Formats,
    Pair,
    Pairs,
    ReasonedPair,
    Task,
    TaskKind,
    TextRefusedError,
    Usage,
    Written,
)

_ATTRIBUTE = (
    ("{description}", "{description} that {function}"),
    ("{size} area that is {shape}", "{size} area that is {shape} and {brightness} its surroundings"),
    ("{size} area that is {shape}", "{size} area that is {shape}, {extent}, seen as {pieces}"),
)
_LOCATION = (
    ("the {part} {neighbour}", "the {part} {where}, {neighbour}"),
    ("the {part} {patient_side}, {where}", "the {size} area {where}, {patient_side}"),
    ("the {part} {where}", "the {size} area {where}, covering {share}"),
)
_PATTERNS = {"attribute": _ATTRIBUTE, "location": _LOCATION}
_SHORT_SENTENCES = (
    "{a_size_area} is seen {where}; its outline is {shape}.",
    "An area with an outline that is {shape} is seen {where}.",
)
_LONG_SENTENCES = (
    "The outlined area lies {where}, covers {share} and is {shape}.",
    "It is {brightness} its surroundings.",
    "It measures {extent} and is seen as {pieces}.",
    "In words: {description}.",
    "As a rule {it} {lies} {place}.",
    "It {function}.",
)


@dataclass
class TemplateWriter:
    """Fills templates with the facts of a region; the same seed gives the same texts."""

    templates: Sequence[Template]
    seed: int
    name: str = "template"
    model: str = ""
    usage: Usage = field(default_factory=Usage)

    def write(self, task: Task) -> Written:
        """An answer in the form that the task asks for; TextRefusedError when no template applies."""
        return _WRITERS[task.kind](self, task)

    def choose(self, kinds: tuple[str, ...], task: Task) -> Template:
        """One of the templates that apply to the target, in this split, by the seed."""
        candidates = self.candidates(kinds, task)
        if not candidates:
            raise TextRefusedError("no template applies")
        return choices(self.seed, task.key, *kinds).choice(candidates)

    def candidates(self, kinds: tuple[str, ...], task: Task) -> list[Template]:
        """Templates of some kinds that apply to the target and ask for no other structure of the plane."""
        facts = _facts(task)
        split = "test" if task.split == "test" else "train"
        fitting = [one for one in self.templates if one.kind in kinds and one.split == split]
        return [one for one in applicable(fitting, facts) if not _fits_another(one.question, task)]


def _facts(task: Task) -> Facts:
    if task.facts is None:
        raise TextRefusedError("no structure to write about")
    return task.facts


def _fits_another(pattern: str, task: Task) -> bool:
    """Whether the text reads the same for another structure of the plane, so that it is ambiguous."""
    own = render(pattern, _facts(task))
    return any(render(pattern, other.facts) == own for other in task.others)


def _caption(_writer: TemplateWriter, task: Task) -> Written:
    facts = _facts(task)
    names = dict.fromkeys(definite(one) for one in (facts, *(other.facts for other in task.others)))
    text = f"{render('{image}', facts)} with {', '.join(names)} outlined."
    return Written(Caption(text[:1].upper() + text[1:]))


def _described(patterns: tuple[tuple[str, str], ...]) -> Callable[[TemplateWriter, Task], Written]:
    def describe(_writer: TemplateWriter, task: Task) -> Written:
        found = next(_sound(patterns, task), None)
        if found is None:
            raise TextRefusedError("no words describe it")
        return Written(Descriptions(*(render(pattern, _facts(task)) for pattern in found)))

    return describe


def _sound(patterns: tuple[tuple[str, str], ...], task: Task) -> Iterator[tuple[str, str]]:
    """Pairs of patterns that the facts fill, that hide the name, the unambiguous ones first."""
    facts = _facts(task)
    rounds = int(task.given.get("round", 0))
    turned = patterns[rounds % len(patterns) :] + patterns[: rounds % len(patterns)]
    filled = [pair for pair in turned if not any(_unusable(pattern, facts) for pattern in pair)]
    yield from sorted(filled, key=lambda pair: _fits_another(pair[1], task))


def _unusable(pattern: str, facts: Facts) -> bool:
    return bool(empty_slots(pattern, facts) or names_in(render(pattern, facts), facts))


def _evaluate(_writer: TemplateWriter, task: Task) -> Written:
    """Keep a description unless another structure of the plane has the same one."""
    patterns = [pattern for pair in _PATTERNS[task.given["approach"]] for pattern in pair]
    taken = {render(pattern, other.facts) for other in task.others for pattern in patterns}
    kept = ("" if task.given[length] in taken else task.given[length] for length in ("short", "long"))
    return Written(Descriptions(*kept))


def _ask(writer: TemplateWriter, task: Task) -> Written:
    pairs: dict[str, Pair] = {}
    used: dict[str, TemplateUse] = {}
    for length in ("short", "long"):
        pairs[length] = Pair("", "")
        if not task.given[length]:
            continue
        template = writer.choose((f"{task.given['approach']}-{length}",), task)
        filled = fill(template, _facts(task))
        pairs[length] = Pair(filled.question, filled.answer)
        used[length] = TemplateUse(template.id, template.version)
    return Written(Pairs(**pairs), used)


def _description(_writer: TemplateWriter, task: Task) -> Written:
    facts = _facts(task)
    size = render("A {size} area", facts)
    short = [text.replace("{a_size_area}", size) for text in _SHORT_SENTENCES]
    usable = [text for text in short if not _unusable(text, facts)]
    long = [render(text, facts) for text in _LONG_SENTENCES if not _unusable(text, facts)]
    if not usable or not long:
        raise TextRefusedError("no words describe it")
    return Written(Descriptions(render(usable[0], facts), " ".join(long)))


def _formats(writer: TemplateWriter, task: Task) -> Written:
    """The templates of a super-category as formats, slots unfilled."""
    split = "test" if task.split == "test" else "train"
    of_kind = [one for one in writer.templates if one.split == split and one.scope == task.given["category"]][
        : int(task.given["count"])
    ]
    formats = tuple(Format(number, one.question, one.answer) for number, one in enumerate(of_kind, 1))
    return Written(Formats(str(task.given["category"]), formats))


def _pair(writer: TemplateWriter, task: Task) -> Written:
    """One of the given formats that applies, filled."""
    wanted = {entry.question for entry in task.given["formats"]}
    candidates = [one for one in writer.candidates(_U_MRG, task) if one.question in wanted]
    if not candidates:
        raise TextRefusedError("no template applies")
    template = choices(writer.seed, task.key).choice(candidates)
    filled = fill(template, _facts(task))
    answer = ReasonedPair(filled.question, filled.reasoning, filled.answer)
    return Written(answer, {"": TemplateUse(template.id, template.version)})


_U_MRG = ("look", "place", "function", "mixed")
_WRITERS: dict[TaskKind, Callable[[TemplateWriter, Task], Written]] = {
    "caption": _caption,
    "attribute": _described(_ATTRIBUTE),
    "location": _described(_LOCATION),
    "evaluate": _evaluate,
    "ask": _ask,
    "description": _description,
    "formats": _formats,
    "pair": _pair,
}
