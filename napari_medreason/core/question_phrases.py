"""Names and synonyms of the vocabulary in a question, and the part that each of them plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_words import (
    ARTICLES,
    PART_NOUNS,
    Word,
    corrected,
    split,
    word_list,
)

Role = Literal["target", "inside", "beside", "not"]
"""target: asked for; inside: "in the X"; beside: "next to the X"; not: excluded ("not the X")."""

_BESIDE = word_list(
    """
    behind below beneath under underneath above over beside besides near between around surrounding by against
    adjacent next from into towards toward to through past along touching covering joining connecting joins
    connects than outside
    """
)
_INSIDE = frozenset({"of", "in", "on", "within", "inside", "for"})
_EXCLUDING = frozenset({"not", "except", "excluding", "but", "minus", "instead", "rather"})


@dataclass(frozen=True)
class Mention:
    """A structure named in the text.

    spans: places in the text, as (start, end). role: see Role. plural: "kidneys", not "kidney".
    """

    structure: str
    spans: tuple[tuple[int, int], ...]
    role: Role
    how: Literal["name", "synonym", "spelling", "function", "description"]
    plural: bool

    @property
    def start(self) -> int:
        """Place of the first character."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Place after the last character."""
        return self.spans[-1][1]


@cache
def _phrases() -> Mapping[tuple[str, ...], tuple[str, bool]]:
    """Word forms of every name and synonym to (structure id, whether it is the name)."""
    index: dict[tuple[str, ...], tuple[str, bool]] = {}
    for item in structures().values():
        for phrase in item.phrases:
            key = phrase_key(phrase)
            index.setdefault(key, (item.id, phrase in (item.name, item.plural)))
    return index


@cache
def _unordered() -> Mapping[tuple[str, ...], tuple[str, bool]]:
    """The same for phrases of two words and more in any order, where that is unambiguous."""
    index: dict[tuple[str, ...], tuple[str, bool]] = {}
    clashes = set()
    for key, value in _phrases().items():
        free = tuple(sorted(key))
        if len(key) > 1 and index.setdefault(free, value)[0] != value[0]:
            clashes.add(free)
    return {key: value for key, value in index.items() if key not in clashes}


@cache
def vocabulary_words() -> frozenset[str]:
    """Every word form that occurs in a name or synonym."""
    return frozenset(form for key in _phrases() for form in key)


@cache
def _protected_words() -> frozenset[str]:
    """Words of the table's own descriptions, never taken for a misspelling."""
    texts = (f"{item.function} {item.description} {item.place}" for item in structures().values())
    return frozenset(word.form for text in texts for word in split(text))


def phrase_key(phrase: str) -> tuple[str, ...]:
    """The word forms of a phrase without articles; equal keys mean the same wording."""
    return tuple(word.form for word in split(phrase) if word.form not in ARTICLES)


def find_mentions(words: tuple[Word, ...]) -> tuple[Mention, ...]:
    """Structures named in the words, in order, with their roles."""
    meaningful = tuple(_spelled(word) for word in words if word.form not in ARTICLES)
    found = list(_longest(meaningful))
    roles = [_role(meaningful, start, found, n) for n, (start, _, _) in enumerate(found)]
    mentions = [
        _mention(meaningful[a:b], value, role) for (a, b, value), role in zip(found, roles, strict=True)
    ]
    return tuple(_place_of_findings(mentions, found))


def _spelled(word: Word) -> Word:
    if word.form in _protected_words():
        return word
    better = corrected(word.form, vocabulary_words())
    return word if better is None else replace(word, form=better, corrected=True)


Found = tuple[int, int, tuple[str, bool]]


def _longest(words: tuple[Word, ...]) -> Iterator[Found]:
    """Longest matches from left to right as (first word, word after the last, phrase entry)."""
    longest = max(map(len, _phrases()))
    position = 0
    while position < len(words):
        for length in range(min(longest, len(words) - position), 0, -1):
            key = tuple(word.form for word in words[position : position + length])
            value = _phrases().get(key) or _unordered().get(tuple(sorted(key)))
            if value is not None:
                yield position, position + length, value
                position += length
                break
        else:
            position += 1


def _mention(words: tuple[Word, ...], value: tuple[str, bool], role: Role) -> Mention:
    structure, is_name = value
    misspelt = any(word.corrected for word in words)
    return Mention(
        structure,
        ((words[0].start, words[-1].end),),
        role,
        "spelling" if misspelt else "name" if is_name else "synonym",
        plural=words[-1].plural,
    )


def _role(words: tuple[Word, ...], start: int, found: list[Found], n: int) -> Role:
    """The part a mention plays, from the one or two words before it (sides left out)."""
    if n and found[n - 1][1] == start - 1 and words[start - 1].form in ("and", "or"):
        return _role(words, found[n - 1][0], found, n - 1)
    before = [word.form for word in words[:start] if word.form not in ("left", "right", "both", "patient")]
    last, previous = (before[-1:] or [""])[0], (before[-2:-1] or [""])[0]
    if last in _EXCLUDING or (last in ("of", "than") and previous in _EXCLUDING):
        return "not"
    raw_previous = words[start - 2].form if start > 1 else ""
    if last == "of" and raw_previous in ("left", "right", "front"):
        return "beside"
    if last in _BESIDE:
        return "beside"
    if last in _INSIDE:
        return "target" if previous in PART_NOUNS or not previous else "inside"
    return "target"


def _place_of_findings(mentions: list[Mention], found: list[Found]) -> Iterator[Mention]:
    """An organ named directly before a finding ("liver cyst") only says where the finding is."""
    for n, mention in enumerate(mentions):
        following = mentions[n + 1] if n + 1 < len(mentions) else None
        adjacent = following is not None and found[n][1] == found[n + 1][0]
        table = structures()
        if (
            adjacent
            and following is not None
            and mention.role == "target"
            and table[following.structure].is_finding
            and not table[mention.structure].is_finding
        ):
            yield replace(mention, role="inside")
        else:
            yield mention
