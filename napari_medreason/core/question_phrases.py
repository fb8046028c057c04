"""Names and synonyms of the vocabulary in a question, and the part that each of them plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_roles import RULE_WORDS, Role, role
from napari_medreason.core.question_words import ARTICLES, Word, split, word_list
from napari_medreason.core.spelling import corrected

How = Literal["name", "synonym", "spelling", "function", "description"]

_SIDES = word_list("left right")


@dataclass(frozen=True)
class Mention:
    """A structure named in the text.

    spans: places in the text, as (start, end), without a side word in between. plural: "kidneys".
    """

    structure: str
    spans: tuple[tuple[int, int], ...]
    role: Role
    how: How
    plural: bool = False

    @property
    def start(self) -> int:
        """Place of the first character."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Place after the last character."""
        return self.spans[-1][1]


@dataclass(frozen=True)
class _Entry:
    """What a phrase of the vocabulary stands for."""

    structure: str
    is_name: bool


@dataclass(frozen=True)
class _Found:
    """An entry found in a sequence of words, from word `start` up to word `end`."""

    entry: _Entry
    start: int
    end: int
    words: tuple[Word, ...]


def phrase_key(phrase: str) -> tuple[str, ...]:
    """The word forms of a phrase without articles; equal keys mean the same wording."""
    return tuple(word.form for word in split(phrase) if word.form not in ARTICLES)


@cache
def _phrases() -> Mapping[tuple[str, ...], _Entry]:
    """Word forms of every name and synonym."""
    index: dict[tuple[str, ...], _Entry] = {}
    for item in structures().values():
        for phrase in item.phrases:
            index.setdefault(phrase_key(phrase), _Entry(item.id, phrase in (item.name, item.plural)))
    return index


@cache
def _unordered() -> Mapping[tuple[str, ...], _Entry]:
    """The same for phrases of two words and more in any order, where that is unambiguous."""
    index: dict[tuple[str, ...], _Entry] = {}
    clashes = set()
    for key, entry in _phrases().items():
        free = tuple(sorted(key))
        if len(key) > 1 and index.setdefault(free, entry).structure != entry.structure:
            clashes.add(free)
    return {key: entry for key, entry in index.items() if key not in clashes}


@cache
def _longest_phrase() -> int:
    """Number of words in the longest phrase, and one more for a skipped side word."""
    return max(map(len, _phrases())) + 1


@cache
def _vocabulary_words() -> frozenset[str]:
    """Every word form that occurs in a name or synonym."""
    return frozenset(form for key in _phrases() for form in key)


@cache
def _single_words() -> frozenset[str]:
    """Word forms that are a name or synonym on their own."""
    return frozenset(key[0] for key in _phrases() if len(key) == 1)


@cache
def _protected_words() -> frozenset[str]:
    """Words of the table's own descriptions and of these rules, never taken for a misspelling."""
    texts = (f"{item.function} {item.description} {item.place}" for item in structures().values())
    return frozenset(word.form for text in texts for word in split(text)) | RULE_WORDS


def find_mentions(words: Sequence[Word]) -> tuple[Mention, ...]:
    """Structures named in the words, in order, with their roles."""
    meaningful = tuple(_spelled(word) for word in words if word.form not in ARTICLES)
    found = tuple(_longest(meaningful))
    return tuple(_mention(meaningful, found, n) for n in range(len(found)))


def _spelled(word: Word) -> Word:
    if word.form in _protected_words() or word.form in _vocabulary_words():
        return word
    for form in (f"{word.form}s", word.form) if word.plural else (word.form,):
        better = corrected(form, _vocabulary_words(), _single_words())
        if better is not None:
            return replace(word, form=better, plural=word.plural and form == word.form, corrected=True)
    return word


def _longest(words: tuple[Word, ...]) -> Iterator[_Found]:
    """Longest matches from left to right; a side word inside a phrase may be skipped."""
    position = 0
    while position < len(words):
        match = _longest_at(words, position)
        if match is not None:
            yield match
        position = match.end if match is not None else position + 1


def _longest_at(words: tuple[Word, ...], start: int) -> _Found | None:
    for length in range(min(_longest_phrase(), len(words) - start), 0, -1):
        window = words[start : start + length]
        sideless = tuple(word for word in window if word.form not in _SIDES)
        for used in (window, sideless):
            key = tuple(word.form for word in used)
            entry = _phrases().get(key) or _unordered().get(tuple(sorted(key)))
            if entry is not None and used[0] is window[0] and used[-1] is window[-1]:
                return _Found(entry, start, start + length, used)
    return None


def _mention(words: tuple[Word, ...], found: tuple[_Found, ...], n: int) -> Mention:
    match = found[n]
    misspelt = any(word.corrected for word in match.words)
    return Mention(
        match.entry.structure,
        _runs(words[match.start : match.end], match.words),
        "inside" if _says_where(found, n) else _role(words, found, n),
        "spelling" if misspelt else "name" if match.entry.is_name else "synonym",
        plural=any(word.plural for word in match.words),
    )


def _runs(window: tuple[Word, ...], used: tuple[Word, ...]) -> tuple[tuple[int, int], ...]:
    """Places of the used words of a window, joined where no word is left out between them."""
    runs: list[tuple[int, int]] = []
    joined = False
    for word in window:
        if word in used and joined:
            runs[-1] = (runs[-1][0], word.end)
        elif word in used:
            runs.append((word.start, word.end))
        joined = word in used
    return tuple(runs)


def _role(words: tuple[Word, ...], found: tuple[_Found, ...], n: int) -> Role:
    """The part a mention plays; "the X and Y" play the same."""
    start = found[n].start
    between = [word.form for word in words[found[n - 1].end : start] if word.form not in _SIDES] if n else []
    if between in (["and"], ["or"]):
        return _role(words, found, n - 1)
    return role(words, start)


def _says_where(found: tuple[_Found, ...], n: int) -> bool:
    """Whether an organ stands directly before a finding or tissue ("liver cyst") and only says where."""
    if n + 1 == len(found) or found[n].end != found[n + 1].start:
        return False
    table = structures()
    organ, following = table[found[n].entry.structure], table[found[n + 1].entry.structure]
    return not organ.is_finding and (following.is_finding or following.region == "body")
