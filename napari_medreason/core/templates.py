"""Question and answer templates: patterns with slots, where they apply, and how they are filled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date as calendar_date
from typing import Any, Literal, get_args

from napari_medreason.core.anatomy import SUPER_CATEGORIES, structures
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_names import names_in
from napari_medreason.core.template_slots import render, slot_fault, slot_words, slots_in
from napari_medreason.errors import TemplateError

System = Literal["medpos", "u-mrg", "mlmr-sd"]
State = Literal["draft", "approved", "rejected"]
Split = Literal["train", "test"]

KINDS = {
    "medpos": ("any", "near", "far"),
    "u-mrg": ("look", "place", "function", "mixed"),
    "mlmr-sd": ("attribute-short", "attribute-long", "location-short", "location-long"),
}
"""Kinds of each system. MedPos: for which positions it is meant. U-MRG: the cue that the question
gives. MLMR-SD: attribute or location oriented, short or long."""

TEXTS = ("question", "answer", "reasoning")
"""The fields with slots."""


@dataclass(frozen=True)
class Template:
    """One pattern. Make it with `checked`, which also tidies and validates every field.

    id: the same in all versions. kind: one of KINDS[system]. scope: "any", "anatomy", "finding", one of
    the fifteen super-categories, or the id of a structure. reasoning: steps that lead to the answer,
    "" for none. version: from 1. state, reviewer, date (of the review, ISO), reason: the review.
    """

    id: str
    system: System
    kind: str
    scope: str
    question: str
    answer: str
    reasoning: str = ""
    version: int = 1
    state: State = "draft"
    reviewer: str = ""
    date: str = ""
    reason: str = ""
    split: Split = "train"

    @property
    def implicit(self) -> bool:
        """Whether the question must not name the structure."""
        return self.system != "medpos"

    @property
    def texts(self) -> tuple[str, str, str]:
        """Question, answer and reasoning."""
        return self.question, self.answer, self.reasoning


@dataclass(frozen=True)
class Filled:
    """A template filled with the facts of one region."""

    question: str
    answer: str
    reasoning: str
    template_id: str
    template_version: int


FIELDS = tuple(field.name for field in fields(Template))
"""Names of a template's fields, as in files."""


def checked(**values: Any) -> Template:
    """A template from its fields, runs of white space made one space.

    TemplateError that names the field, what was found and what is accepted: an unknown field or value,
    a missing text, a broken or unknown slot, a review without its name, date or reason.
    """
    for key in values:
        if key not in FIELDS:
            raise TemplateError(f"unknown key {key!r}; accepted are {', '.join(FIELDS)}")
    for key in ("id", "system", "kind", "scope", "question", "answer"):
        if not str(values.get(key) or "").strip():
            raise TemplateError(f"{key!r} is missing or empty; every template needs it")
    tidy = {key: _tidy(key, value) for key, value in values.items()}
    template = Template(**tidy)
    _check_choices(template)
    _check_review(template)
    for key, text in zip(TEXTS, template.texts, strict=True):
        fault = slot_fault(text)
        if fault:
            raise TemplateError(f"{key}: {fault}")
    return template


def fill(template: Template, facts: Facts) -> Filled:
    """The template with the facts of one region; TemplateError with the reason when it does not apply."""
    reason = why_not(template, facts)
    if reason:
        raise TemplateError(f"{template.id} can't be filled: {reason}")
    question, answer, reasoning = (render(text, facts) for text in template.texts)
    return Filled(question, answer, reasoning, template.id, template.version)


def why_not(template: Template, facts: Facts) -> str:
    """Why a template does not apply to these facts, "" when it does; few wordings, so they can be counted."""
    if not in_scope(template.scope, facts):
        return "another scope"
    if not _fits_kind(template, facts):
        return "another position"
    words = slot_words(facts)
    empty = next((name for text in template.texts for name in slots_in(text) if not words[name]), "")
    if empty:
        return f"no words for {empty}"
    if template.implicit and names_in(render(template.question, facts), facts):
        return "the question would name the structure"
    return ""


def applicable(templates: Iterable[Template], facts: Facts) -> tuple[Template, ...]:
    """The templates that can be filled with these facts, in their order."""
    return tuple(template for template in templates if not why_not(template, facts))


def in_scope(scope: str, facts: Facts) -> bool:
    """Whether a structure is within the scope of a template."""
    if scope in ("any", facts.structure):
        return True
    item = facts.item
    if item is None:
        return False
    return scope == item.super_category or scope == ("finding" if item.is_finding else "anatomy")


def latest(templates: Iterable[Template]) -> tuple[Template, ...]:
    """The newest version of every id, in the order of first appearance."""
    newest: dict[str, Template] = {}
    for template in templates:
        known = newest.get(template.id)
        if known is None or template.version > known.version:
            newest[template.id] = template
    return tuple(newest.values())


def _fits_kind(template: Template, facts: Facts) -> bool:
    if template.kind not in ("near", "far"):
        return True
    if not facts.position:
        return False
    near = bool(facts.near_center) or "center" in facts.position
    return near == (template.kind == "near")


def _tidy(key: str, value: Any) -> Any:
    if key == "version":
        return _version(value)
    if not isinstance(value, str):
        raise TemplateError(f"{key!r} is {value!r}; accepted is a text")
    tidy = " ".join(value.split())
    if not tidy.isprintable():
        raise TemplateError(f"{key!r} holds a character that can't be printed; remove it")
    return tidy


def _version(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= 99999:
        raise TemplateError(f"'version' is {value!r}; accepted is a whole number from 1")
    return int(text)


def _check_choices(template: Template) -> None:
    _one_of("system", template.system, get_args(System))
    _one_of("kind", template.kind, KINDS[template.system])
    _one_of("state", template.state, get_args(State))
    _one_of("split", template.split, get_args(Split))
    scopes = ("any", "anatomy", "finding", *SUPER_CATEGORIES)
    if template.scope not in scopes and template.scope not in structures():
        raise TemplateError(
            f"'scope' is {template.scope!r}; accepted are {', '.join(scopes)} or an id of the vocabulary"
        )


def _one_of(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise TemplateError(f"{key!r} is {value!r}; accepted are {', '.join(accepted)}")


def _check_review(template: Template) -> None:
    """A draft holds no review; an approval has a name and a day; a rejection has a reason too."""
    if template.state == "draft":
        if template.reviewer or template.date or template.reason:
            raise TemplateError(
                "a draft has no reviewer, date or reason; set 'state' to approved or rejected"
            )
        return
    if not template.reviewer or not template.date:
        raise TemplateError(
            f"an {template.state} template needs 'reviewer' and 'date'".replace("an r", "a r")
        )
    if template.state == "rejected" and not template.reason:
        raise TemplateError("the state 'rejected' needs a 'reason'")
    try:
        calendar_date.fromisoformat(template.date)
    except ValueError as error:
        raise TemplateError(f"'date' is {template.date!r}; accepted is a day such as 2026-03-31") from error
