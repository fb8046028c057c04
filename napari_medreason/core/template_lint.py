"""What a reviewer should look at before a template is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from napari_medreason.core import template_words as words
from napari_medreason.core.question_words import ARTICLES
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_grammar import diagnostic_words, number_faults, text_faults
from napari_medreason.core.template_names import phrases_in
from napari_medreason.core.template_samples import sample_facts, scope_structures
from napari_medreason.core.template_slots import empty_slots, gives_away, render, slot_fault
from napari_medreason.core.template_split import wording
from napari_medreason.core.templates import TEXTS, Template, latest

Check = Literal["slot", "leak", "name", "incomplete", "cue", "duplicate", "grammar", "diagnostic"]

NEAR_DUPLICATE = 0.75
"""Share of words that two texts have in common from which they count as near-duplicates."""
_MOST_SENTENCES = 5
_SLOT = re.compile(r"\{[a-z_]+\}")
_POSITION_WORDS = re.compile(
    r"\b(?:top|bottom|left|right|upper|lower|cent(?:er|re)|middle|uppermost|lowermost|left-hand|right-hand)\b",
    re.I,
)
_COMPARED = {
    "medpos": ("question", "answer"),
    "u-mrg": ("question", "reasoning"),
    "mlmr-sd": ("question", "answer"),
}
_VERB_ALONE = re.compile(r"(?:^|[.?!;])(?:(?!\{part\}|\{a?_?structure\}|\{name\})[^.?!;])*\{functions\}")
_CUE_SLOTS = ("place", "neighbour")


@dataclass(frozen=True)
class Finding:
    """One thing to look at. field: "question", "answer" or "reasoning". words: what is wrong, one line."""

    template_id: str
    field: str
    check: Check
    words: str


def lint(template: Template, others: Iterable[Template] = ()) -> tuple[Finding, ...]:
    """Everything to look at in one template, each finding once.

    others: the templates it must not repeat; those with its own id are left out. Unknown and broken
    slots are told alone, since nothing else can be tried with them.
    """
    slots = [
        Finding(template.id, field, "slot", fault)
        for field, text in _texts(template)
        if (fault := slot_fault(text))
    ]
    if slots:
        return tuple(slots)
    found = (
        *_leaks(template),
        *_names(template),
        *_incomplete(template),
        *_cues(template),
        *_diagnostic(template),
        *_grammar(template),
        *_duplicates(template, tuple(others)),
    )
    return tuple(dict.fromkeys(found))


def lint_all(templates: Sequence[Template]) -> tuple[Finding, ...]:
    """Findings of the newest version of every template; each pair of duplicates is told once."""
    newest = latest(templates)
    found: list[Finding] = []
    for index, template in enumerate(newest):
        found += lint(template, newest[:index])
    return tuple(found)


def similarity(one: str, other: str) -> float:
    """Share of words, slots counted as words and articles left out, that two texts have in common, 0 to 1."""
    first, second = _word_set(one), _word_set(other)
    either = len(first | second)
    return len(first & second) / either if either else 1.0


def _texts(template: Template) -> Iterator[tuple[str, str]]:
    return ((field, text) for field, text in zip(TEXTS, template.texts, strict=True) if text)


def _leaks(template: Template) -> Iterator[Finding]:
    """The place in a question of MedPos or U-MRG, which ask for it; the whole answer in any question."""
    if template.system != "mlmr-sd":
        for slot in gives_away(template.question, "position"):
            yield Finding(template.id, "question", "leak", f"{{{slot}}} gives the position away")
    if template.system == "medpos" and (match := _POSITION_WORDS.search(_literal(template.question))):
        yield Finding(template.id, "question", "leak", f"{match.group()!r} gives the position away")
    if wording(template.answer) in wording(template.question):
        yield Finding(template.id, "question", "leak", "the question holds the whole answer")


def _names(template: Template) -> Iterator[Finding]:
    if not template.implicit:
        return
    for slot in gives_away(template.question, "name"):
        yield Finding(template.id, "question", "name", f"{{{slot}}} names the structure")
    for name in phrases_in(_literal(template.question), _scope_names(template.scope)):
        yield Finding(template.id, "question", "name", f"{name!r} is a structure of the scope")


def _incomplete(template: Template) -> Iterator[Finding]:
    asked: Literal["name", "position"] = "name" if template.implicit else "position"
    if not gives_away(template.answer, asked):
        yield Finding(template.id, "answer", "incomplete", f"no slot of the answer gives the {asked}")
    if template.system == "medpos" and not gives_away(template.question, "name"):
        yield Finding(template.id, "question", "incomplete", "the question does not name the structure")
    if template.system != "u-mrg":
        return
    sentences = [sentence for sentence in re.split(r"(?<=[.?!])\s+", template.reasoning) if sentence]
    if not 1 <= len(sentences) <= _MOST_SENTENCES:
        yield Finding(
            template.id, "reasoning", "incomplete", f"{len(sentences)} sentences; accepted are 1 to 5"
        )
    elif not gives_away(sentences[-1], "name"):
        yield Finding(template.id, "reasoning", "incomplete", "the last step does not name the structure")


def _cues(template: Template) -> Iterator[Finding]:
    """Attribute-oriented questions hold no place; location-oriented ones do."""
    if template.system != "mlmr-sd":
        return
    placed = gives_away(template.question, "position") or any(
        f"{{{slot}}}" in template.question for slot in _CUE_SLOTS
    )
    if template.kind.startswith("attribute") and placed:
        yield Finding(template.id, "question", "cue", "an attribute-oriented question holds a place")
    if template.kind.startswith("location") and not placed:
        yield Finding(template.id, "question", "cue", "a location-oriented question holds no place")


def _diagnostic(template: Template) -> Iterator[Finding]:
    for field, text in _texts(template):
        for word in diagnostic_words(_literal(text)):
            yield Finding(template.id, field, "diagnostic", f"{word!r} judges health; describe what is seen")


def _grammar(template: Template) -> Iterator[Finding]:
    for field, text in _texts(template):
        if _VERB_ALONE.search(text):
            fault = "{functions} without {part}, {structure} or {name} before it; use {function}"
            yield Finding(template.id, field, "grammar", fault)
    for facts in sample_facts(template.scope, template.kind):
        names = (words.definite(facts), words.introduced(facts), words.bare_name(facts))
        for field, text in _texts(template):
            if empty_slots(text, facts):
                continue
            filled = render(text, facts)
            own = _name_phrases(text, facts) and names
            faults = (
                *text_faults(filled, question=field == "question"),
                *number_faults(filled, own, plural=words.is_plural(facts)),
            )
            for fault in faults:
                yield Finding(template.id, field, "grammar", f"{fault}: {filled}")


def _name_phrases(text: str, facts: Facts) -> tuple[str, ...]:
    return tuple(render(f"{{{slot}}}", facts) for slot in gives_away(text, "name"))


def _duplicates(template: Template, others: Sequence[Template]) -> Iterator[Finding]:
    for other in others:
        if other.id == template.id or other.system != template.system:
            continue
        for field in _COMPARED[template.system]:
            one, two = getattr(template, field), getattr(other, field)
            share = similarity(one, two)
            if wording(one) == wording(two):
                yield Finding(template.id, field, "duplicate", f"the same wording as {other.id}")
            elif share >= NEAR_DUPLICATE:
                yield Finding(
                    template.id, field, "duplicate", f"{100 * share:.0f} % of the words of {other.id}"
                )


def _literal(text: str) -> str:
    """A text without its slots; a full stop takes their place, so that no phrase grows across one."""
    return _SLOT.sub(".", text)


@lru_cache(maxsize=4096)
def _word_set(text: str) -> frozenset[str]:
    return frozenset(wording(text).split()) - ARTICLES


@lru_cache(maxsize=64)
def _scope_names(scope: str) -> tuple[str, ...]:
    items = scope_structures(scope)
    return tuple(dict.fromkeys(name for item in items for name in (item.name, item.plural) if name))
