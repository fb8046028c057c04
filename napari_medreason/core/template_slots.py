"""The slots that a template may hold: what each means, where its words come from, what it gives away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from napari_medreason.core import template_words as words
from napari_medreason.core.template_facts import Facts

Gives = Literal["name", "position", ""]

_SLOT = re.compile(r"\{([a-z_]+)\}")
_ARTICLE_AND_SLOT = re.compile(r"(?:\b([Aa])n? )?\{([a-z_]+)\}")
_SENTENCE_START = re.compile(r"(^|[.?!] +)([a-z])")
_SHOWN = 30


@dataclass(frozen=True)
class Slot:
    """One slot. gives: what it tells, so that a question that asks for it may not hold it."""

    name: str
    meaning: str
    source: str
    example: str
    gives: Gives
    words: Callable[[Facts], str] = field(repr=False, compare=False)


def _agreeing(one: str, many: str) -> Callable[[Facts], str]:
    return lambda facts: many if words.is_plural(facts) else one


def _function(facts: Facts) -> str:
    # The vocabulary has the verb in the number of the name: "the ribs shield", never "a part that shield".
    return "" if words.is_plural(facts) and not facts.function else _functions(facts)


def _functions(facts: Facts) -> str:
    # It has no plural for two of a pair: "both kidneys filters" would be wrong.
    if facts.function:
        return facts.function
    return facts.item.function if facts.item and facts.side != "both" else ""


def _description(facts: Facts) -> str:
    return facts.description or (facts.item.description if facts.item else "")


def _place(facts: Facts) -> str:
    return words.lies_words(facts.place or (facts.item.place if facts.item else ""))


def _half(first: str, second: str) -> Callable[[Facts], str]:
    def half(facts: Facts) -> str:
        parts = facts.quadrant.split()
        return next((part for part in parts if part in (first, second)), "")

    return half


_VOCABULARY, _MASK, _MEDPOS = "anatomy vocabulary", "mask", "MedPos position of the mask"
_AFFINE, _HEADER, _NUMBER = "mask and orientation of the study", "study", "number of the structure's name"

_ALL = (
    Slot("structure", "the structure as one already spoken of", _VOCABULARY, "the left kidney", "name",
         words.definite),
    Slot("a_structure", "the structure as one first spoken of", _VOCABULARY, "a liver tumour", "name",
         words.introduced),
    Slot("name", "its name without an article", _VOCABULARY, "left kidney", "name", words.bare_name),
    Slot("function", "what it does, after a singular such as \"a part that\"", _VOCABULARY,
         "filters the blood", "", _function),
    Slot("functions", "what it does or they do, after {part}, {structure} or {name}", _VOCABULARY,
         "shield the lungs", "", _functions),
    Slot("description", "what it looks like, without an article", _VOCABULARY, "bean-shaped organ", "",
         _description),
    Slot("place", "where it lies in every patient, with a preposition", _VOCABULARY,
         "at the back of the abdomen", "", _place),
    Slot("part", "structure or structures, finding or findings", _VOCABULARY, "structure", "",
         lambda facts: ("finding" if facts.item and facts.item.is_finding else "structure")
         + ("s" if words.is_plural(facts) else "")),
    Slot("position", "the bare MedPos words", _MEDPOS, "top left", "position", lambda facts: facts.position),
    Slot("where", "the MedPos words with a preposition", _MEDPOS, "in the top left of the image", "position",
         words.where_words),
    Slot("quadrant", "the quadrant, also for a mask near the center", _MEDPOS, "top left", "position",
         lambda facts: facts.quadrant),
    Slot("horizontal", "the half from side to side", _MEDPOS, "left", "position", _half("left", "right")),
    Slot("vertical", "the half from top to bottom", _MEDPOS, "top", "position", _half("top", "bottom")),
    Slot("side", "the patient's side", "label name or orientation", "left", "position",
         lambda facts: facts.side),
    Slot("patient_side", "the side in patient space, with a preposition", _AFFINE, "on the patient's left",
         "position", words.patient_side_words),
    Slot("patient_place", "where in the body, in patient words", _AFFINE, "towards the back of the body",
         "position", lambda facts: facts.patient_place),
    Slot("neighbour", "place against the nearest other label, with a preposition", "other labels",
         "below the liver", "", lambda facts: facts.neighbours[0] if facts.neighbours else ""),
    Slot("shape", "outline, follows \"is\"", _MASK, "compact and rounded", "", words.shape_words),
    Slot("extent", "width and height", "mask and pixel spacing", "42 by 30 mm", "",
         words.extent_words),
    Slot("share", "share of the image", _MASK, "about 3 % of the image", "", words.share_words),
    Slot("size", "small, medium-sized or large", _MASK, "small", "", words.size_words),
    Slot("pieces", "number of separate pieces", _MASK, "one piece", "", words.pieces_words),
    Slot("brightness", "grey level against the surroundings, follows \"is\"", "mask and image",
         "brighter than", "", words.brightness_words),
    Slot("image", "what the image is, without an article", _HEADER, "axial CT slice", "", words.image_words),
    Slot("modality", "kind of imaging", _HEADER, "CT", "", words.modality_words),
    Slot("plane", "axial, coronal or sagittal", _HEADER, "axial", "", lambda facts: facts.axis),
    Slot("is", "is or are", _NUMBER, "is", "", _agreeing("is", "are")),
    Slot("has", "has or have", _NUMBER, "has", "", _agreeing("has", "have")),
    Slot("does", "does or do", _NUMBER, "does", "", _agreeing("does", "do")),
    Slot("lies", "lies or lie", _NUMBER, "lies", "", _agreeing("lies", "lie")),
    Slot("sits", "sits or sit", _NUMBER, "sits", "", _agreeing("sits", "sit")),
    Slot("appears", "appears or appear", _NUMBER, "appears", "", _agreeing("appears", "appear")),
    Slot("occupies", "occupies or occupy", _NUMBER, "occupies", "", _agreeing("occupies", "occupy")),
    Slot("it", "it or they", _NUMBER, "it", "", _agreeing("it", "they")),
    Slot("them", "it or them", _NUMBER, "it", "", _agreeing("it", "them")),
    Slot("its", "its or their", _NUMBER, "its", "", _agreeing("its", "their")),
    Slot("this", "this or these", _NUMBER, "this", "", _agreeing("this", "these")),
)  # fmt: skip

SLOTS: Mapping[str, Slot] = MappingProxyType({slot.name: slot for slot in _ALL})
"""Every slot by name, in the order of the table in docs/templates.md."""


@lru_cache(maxsize=4096)
def slots_in(text: str) -> tuple[str, ...]:
    """Names between well-formed braces in order, each once, known or not."""
    return tuple(dict.fromkeys(_SLOT.findall(text)))


def slot_fault(text: str) -> str:
    """What is wrong with the slots of a text, with what is accepted; "" when nothing is."""
    rest = _SLOT.sub("", text)
    brace = re.search(r"[{}]", rest)
    if brace is not None:
        near = rest[brace.start() : brace.start() + _SHOWN]
        return (
            f"broken slot near {near!r}; a slot is one name in braces, such as {{structure}}, "
            "and braces are not used otherwise"
        )
    unknown = [name for name in slots_in(text) if name not in SLOTS]
    if not unknown:
        return ""
    close = get_close_matches(unknown[0], SLOTS, n=1)
    meant = f"did you mean {{{close[0]}}}? " if close else ""
    return f"unknown slot {{{unknown[0]}}}; {meant}accepted are {', '.join(SLOTS)}"


def empty_slots(text: str, facts: Facts) -> tuple[str, ...]:
    """Names of the slots of a text for which the facts have no words."""
    words_by_slot = slot_words(facts)
    return tuple(name for name in slots_in(text) if not words_by_slot[name])


@lru_cache(maxsize=256)
def slot_words(facts: Facts) -> Mapping[str, str]:
    """The words of every slot for these facts, "" for those that they don't give; kept for the last ones."""
    return MappingProxyType({name: slot.words(facts) for name, slot in SLOTS.items()})


def render(text: str, facts: Facts) -> str:
    """A text with its slots filled, articles right before a slot corrected, sentences capitalised."""
    words_by_slot = slot_words(facts)

    def words_for(match: re.Match[str]) -> str:
        filled = words_by_slot[match[2]]
        if match[1] is None:
            return filled
        article = words.article_for(filled)
        return f"{article.capitalize() if match[1] == 'A' else article} {filled}"

    filled = _ARTICLE_AND_SLOT.sub(words_for, text)
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), filled)


def gives_away(text: str, what: Gives) -> tuple[str, ...]:
    """Names of the slots of a text that tell `what`."""
    return tuple(name for name in slots_in(text) if name in SLOTS and SLOTS[name].gives == what)
