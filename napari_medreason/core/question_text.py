"""What a question asks for: structure, side and kind, by rules over the anatomy vocabulary.

Names and synonyms come first (longest match, spelling corrected where that is safe), then what the
words say about function, look and place. Where none of these is clear, no structure is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from napari_medreason.core.anatomy import Structure, is_known, structures
from napari_medreason.core.question_meaning import alikeness
from napari_medreason.core.question_phrases import How, Mention, find_mentions
from napari_medreason.core.question_side import Side, SideWord, side_between, side_words, without_false_sides
from napari_medreason.core.question_targets import KIND_OF_THING, asks_for_presence, targets_of
from napari_medreason.core.question_words import COMMAND_WORDS, Word, split

Kind = Literal["locate", "presence", "describe"]
MOST_SUGGESTIONS = 5

_POLITE = re.compile(
    r"^(?:please|hello|hi|hey|ok|okay|now|so|and|[\s,]|(?:can|could|would|will) you"
    r"|i (?:want|need|would like) (?:you )?to|i'd like (?:you )?to|let's|try to)+"
)
_COMMAND = re.compile(
    r"(?:where|which|show|segment|find|mark|outline|locate|highlight|delineate|contour|draw|point|label|mask"
    r"|identify|give|get)\b"
)
_EXPLAIN = re.compile(
    rf"""\b(?:describe | explain | tell\ (?:me|us)\ about | what\ (?:does|do)\ (?:the|a|an)
    | how\ (?:big|large|small|long|wide|thick|much|many)
    | what\ (?:is|are)\ (?:the\ )?(?:function|job|role|purpose|size|shape|volume)
    | what\ (?:is|are)\ (?:this|that|these|those) | what's\ (?:this|that)
    | what\ (?:do|can)\ you\ see | what\ am\ i\ looking)\b
    | ^what(?:'s|\ is|\ are)\ (?:the|a|an)\ (?!{KIND_OF_THING}\b)\S+(?:\ \S+)?\ ?\??$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Understood:
    """What a question asks for.

    structure: vocabulary id, "" when none is clear. side: of that structure; `side_of` says whether
        the words mean the patient's side or the side of the image as shown.
    others: ids of further structures asked for at once, `other_sides` their sides.
    located_by: ids named only to say where, such as the liver in "next to the liver".
    known: whether `structure` is among the known ones, itself or through all its parts.
    suggestions: names of known structures that may be meant instead, best first.
    matched: the words of the question that led to `structure`, and `how` they did.
    """

    structure: str
    side: Side
    others: tuple[str, ...]
    kind: Kind
    known: bool
    suggestions: tuple[str, ...]
    matched: str
    how: How | Literal[""]
    side_of: Literal["patient", "image"] = "patient"
    other_sides: tuple[Side, ...] = ()
    located_by: tuple[str, ...] = ()


def understand(text: str, known: Collection[str]) -> Understood:
    """The structure, side and kind of question that `text` asks for; `known` are ids a model knows."""
    lower = " ".join(text.lower().replace("\u2019", "'").split())
    plain = without_false_sides(lower)
    words = split(plain)
    mentions = find_mentions(words)
    targets = targets_of(plain, words, mentions)
    sides = side_words(plain, [span for mention in mentions for span in mention.spans])
    first = targets[0] if targets else None
    structure = first.structure if first else ""
    others = {mention.structure: mention for mention in reversed(targets) if mention.structure != structure}
    recognised = is_known(structure, known)
    return Understood(
        structure=structure,
        side=_side_of(first, targets, sides) if first else "",
        others=tuple(reversed(others)),
        kind=_kind(lower, first.start if first else 0),
        known=recognised,
        suggestions=() if recognised else _suggestions(structure, words, mentions, known),
        matched=" ".join(lower[start:end] for start, end in first.spans) if first else "",
        how=first.how if first else "",
        side_of="image" if any(word.in_image for word in sides) else "patient",
        other_sides=tuple(_side_of(mention, targets, sides) for mention in reversed(others.values())),
        located_by=tuple(
            dict.fromkeys(
                m.structure for m in mentions if m.role in ("inside", "beside") and m not in targets
            )
        ),
    )


def _side_of(target: Mention, targets: Sequence[Mention], sides: Sequence[SideWord]) -> Side:
    item = structures()[target.structure]
    if not (item.paired or item.is_finding):
        return ""
    low = max((mention.end for mention in targets if mention.end <= target.start), default=0)
    high = min((mention.start for mention in targets if mention.start >= target.end), default=10**9)
    side = side_between(sides, low, (target.start, target.end), high)
    return side or ("both" if target.plural and item.paired else "")


def _kind(lower: str, position: int) -> Kind:
    """The kind of question in the sentence around `position`."""
    start = max(lower.rfind(mark, 0, position) for mark in ".?!") + 1
    ends = [end for mark in ".?!" if (end := lower.find(mark, position)) >= 0]
    sentence = lower[start : min(ends, default=len(lower)) + 1].strip()
    if _EXPLAIN.search(sentence):
        return "describe"
    if asks_for_presence(sentence) and not _COMMAND.match(_POLITE.sub("", sentence)):
        return "presence"
    return "locate"


def _suggestions(
    structure: str, words: Sequence[Word], mentions: Sequence[Mention], known: Collection[str]
) -> tuple[str, ...]:
    """Names of known structures: neighbours of what was asked, or of what the words are spelled like."""
    table = structures()
    available = [table[id_] for id_ in table if id_ in known]
    for wanted in (structure, *(mention.structure for mention in mentions)):
        near = {other.id: _kinship(table[wanted], other) for other in available} if wanted else {}
        kin = [id_ for id_ in near if near[id_] > 1]
        if kin:
            kin.sort(key=lambda id_: (-near[id_], -alikeness(wanted, id_)))
            return tuple(table[id_].name for id_ in kin[:MOST_SUGGESTIONS])
    phrases = {phrase.lower(): item.name for item in available for phrase in item.phrases}
    parts = [
        item.name
        for word in words
        if len(word.form) > 3 and word.form not in COMMAND_WORDS
        for item in available
        if any(word.form in phrase.lower().split() for phrase in item.phrases)
    ]
    alike = [
        phrases[close]
        for word in words
        if len(word.form) > 3
        for close in get_close_matches(word.form, phrases, n=2, cutoff=0.7)
    ]
    return tuple(dict.fromkeys(alike + parts))[:MOST_SUGGESTIONS]


def _kinship(wanted: Structure, other: Structure) -> int:
    """How close a known structure is to the one asked for: the same, part or whole, region, kind."""
    family = 4 * (wanted.id == other.id or other.id in wanted.members or wanted.id in other.members)
    same_kind = wanted.super_category == other.super_category
    return family + 2 * (wanted.region == other.region) + same_kind
