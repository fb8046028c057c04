"""Label names as people write them ("kidney_left", "Lung-Rt", "vertebrae_L1") to vocabulary and side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_phrases import phrase_key
from napari_medreason.core.question_words import singular

_SIDES = {
    **dict.fromkeys(("left", "lt", "l", "lh", "sinistra", "sinister"), "left"),
    **dict.fromkeys(("right", "rt", "r", "rh", "dextra", "dexter"), "right"),
}
_NUMBERING = re.compile(r"[a-z]?\d{1,3}$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class LabelName:
    """What a label stands for.

    structure: id in the anatomy vocabulary, "" when it is not in it. name: without the side, in words.
    side: the patient's "left" or "right" as the name says it, "" for none.
    """

    structure: str
    name: str
    side: str = ""


@cache
def named(text: str) -> LabelName:
    """The structure and side that a label's name means; numbers such as "L1" stay in the name only."""
    words = tuple(word for word in re.split(r"[^0-9A-Za-z']+", _CAMEL.sub(" ", text.strip())) if word)
    whole = _phrases().get(phrase_key(" ".join(words)))
    if whole:
        return LabelName(whole, structures()[whole].name)
    sides = {_SIDES[word.lower()] for word in words if word.lower() in _SIDES}
    rest = tuple(word for word in words if word.lower() not in _SIDES)
    side = sides.pop() if len(sides) == 1 and rest else ""
    if not side:
        rest = words
    found = _lookup(rest)
    if found:
        name = structures()[found].name
        return LabelName(found, name, "" if side in name.split() else side)
    found = _lookup(tuple(word for word in rest if not _NUMBERING.match(word.lower())))
    return LabelName(found, _lower_words(tuple(map(singular, rest)) if found else rest), side)


def _lower_words(words: tuple[str, ...]) -> str:
    """Words in lower case, but short capitals such as "CSF" and "L1" as they are."""
    kept = (word if word.isupper() and len(word) <= 4 else word.lower() for word in words)
    return " ".join(kept)


def _lookup(words: tuple[str, ...]) -> str:
    key = phrase_key(" ".join(words))
    return _phrases().get(key) or _unordered().get(tuple(sorted(key))) or ""


@cache
def _phrases() -> Mapping[tuple[str, ...], str]:
    index: dict[tuple[str, ...], str] = {}
    for item in structures().values():
        for phrase in item.phrases:
            index.setdefault(phrase_key(phrase), item.id)
    return index


@cache
def _unordered() -> Mapping[tuple[str, ...], str | None]:
    """The same in any order of words; None where two structures share the words."""
    index: dict[tuple[str, ...], str | None] = {}
    for key, structure in _phrases().items():
        words = tuple(sorted(word for word in key if word != "of"))
        index[words] = structure if index.get(words, structure) == structure else None
    return index
