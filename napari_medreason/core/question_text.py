"""What a question asks for: structure, side and kind, by rules over the anatomy vocabulary.

Names and synonyms come first (longest match), then corrected spelling, then what the words say about
function, look and place. Where none of these is clear, no structure is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from napari_medreason.core.anatomy import Structure, is_known, structures
from napari_medreason.core.question_meaning import best_description
from napari_medreason.core.question_phrases import Mention, find_mentions
from napari_medreason.core.question_words import Word, split

Side = Literal["left", "right", "both", ""]
Kind = Literal["locate", "presence", "describe"]
How = Literal["name", "synonym", "spelling", "function", "description", ""]

_PRESENCE = re.compile(
    r"""\b(?:(?:is|are|was|were|isn't|aren't)\ there
    | (?:can|do|could)\ (?:you|we|i)\ (?:see|find|spot|detect)
    | any | visible | present | absent | missing | in\ view | appears?\ (?:in|on)
    | does\ (?:it|this|the\ \w+)\ (?:show|contain|have|include)
    | is\ (?:it|this)\ an?)\b
    | ^(?:is|are|was|were|has|have|no|without)\b""",
    re.VERBOSE,
)
_DESCRIBE = re.compile(
    r"""\b(?:describe | explain | tell\ (?:me|us)\ about
    | what\ (?:does|do)\ (?:the|a|an)
    | how\ (?:big|large|small|long|wide|thick|much|many)
    | what\ (?:is|are)\ (?:the\ )?(?:function|job|role|purpose|size|shape|volume)
    | what\ (?:is|are|'s)\ (?:a|an|this|that|these) | what's\ this
    | what\ do\ you\ see | what\ can\ you\ see | what\ am\ i\ looking)\b""",
    re.VERBOSE,
)
_COMMAND = ("where", "which", "show", "segment", "find", "mark", "outline", "locate", "highlight")
_NOT_A_SIDE = re.compile(
    r"""\bright\ (?=(?:now|away|here|there|behind|above|below|under|beneath|beside|next|in\ front
        |in\ the\ middle|organ|structure|answer|place|spot|thing)\b)
    | \ball\ right\b | \bthat'?s\ right\b | \b(?:am\ i|are\ you|is\ (?:that|this|it))\ right\b
    | ^right\b(?=[,.\ ]+(?:so|where|show|can|now|then|please)) | ,\ ?right(?=\ ?\?*$)
    | \bleft(?:[\ -]?over|\ out|\ behind|\ alone)\b
    | \b(?:any|is\ there|are\ there|much)\b(?:\ (?!on\b|the\b|to\b|left\b)\w+){0,3}\ left
        (?=\ ?(?:\?|\.|$|after|over))""",
    re.VERBOSE,
)
_IMAGE = r"(?:image|picture|screen|scan|slice|view|photo|display|monitor|frame|figure|window)"
_IMAGE_SIDE = re.compile(
    rf"""\b(left|right)(?:[\ -]hand)?(?:\ (?:side|half|part|edge))?\ (?:of|in|on)\ (?:the|this|my)\ {_IMAGE}\b
    | \b{_IMAGE}(?:'s)?[\ -](left|right)\b
    | \b(?:viewer|observer|reader|my)(?:'s)?[\ -](left|right)\b
    | \b(left|right)\ as\ (?:i\ see|shown|displayed|seen)\b""",
    re.VERBOSE,
)
_PATIENT_SIDE = re.compile(r"\bpatient'?s?\b")
_SIDE = re.compile(
    r"\b(?:both|bilateral|left and right|right and left|each side|either side|two|left|right)\b"
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
    how: How
    side_of: Literal["patient", "image"] = "patient"
    other_sides: tuple[Side, ...] = ()
    located_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class _SideWord:
    side: Side
    start: int
    in_image: bool


def understand(text: str, known: Collection[str]) -> Understood:
    """The structure, side and kind of question that `text` asks for; `known` are ids a model knows."""
    lower = " ".join(text.lower().replace("\u2019", "'").split())
    plain = _NOT_A_SIDE.sub(lambda match: " " * len(match.group()), lower)
    words = split(plain)
    mentions = find_mentions(words)
    sides = _side_words(plain, mentions)
    targets = [mention for mention in mentions if mention.role == "target"]
    if not targets:
        targets = _by_meaning(words)
    if not targets:
        targets = [mention for mention in mentions if mention.role == "inside"][:1]
    return _understood(lower, known, targets, mentions, sides)


def _understood(
    lower: str,
    known: Collection[str],
    targets: list[Mention],
    mentions: tuple[Mention, ...],
    sides: list[_SideWord],
) -> Understood:
    first = targets[0] if targets else None
    structure = first.structure if first else ""
    others = tuple(dict.fromkeys(m.structure for m in targets[1:] if m.structure != structure))
    first_of = {target.structure: target for target in reversed(targets)}
    asked = {id_: _side_of(target, targets, sides) for id_, target in first_of.items()}
    is_image = any(word.in_image for word in sides) and not _PATIENT_SIDE.search(lower)
    recognised = is_known(structure, known)
    return Understood(
        structure=structure,
        side=asked.get(structure, ""),
        others=others,
        kind=_kind(lower),
        known=recognised,
        suggestions=() if recognised else _suggestions(structure, lower, mentions, known),
        matched=" ".join(lower[start:end] for start, end in first.spans) if first else "",
        how=first.how if first else "",
        side_of="image" if is_image else "patient",
        other_sides=tuple(asked[id_] for id_ in others),
        located_by=tuple(
            dict.fromkeys(m.structure for m in mentions if m not in targets and m.role != "not")
        ),
    )


def _kind(lower: str) -> Kind:
    if _DESCRIBE.search(lower):
        return "describe"
    if _PRESENCE.search(lower) and not lower.startswith(_COMMAND):
        return "presence"
    return "locate"


def _side_words(plain: str, mentions: tuple[Mention, ...]) -> list[_SideWord]:
    """Every left, right and both outside of names such as "left atrium", in order."""
    inside_names = [span for mention in mentions for span in mention.spans]
    image_sides = {m.start(n) for m in _IMAGE_SIDE.finditer(plain) for n in (1, 2, 3, 4) if m.group(n)}
    found: list[_SideWord] = []
    for match in _SIDE.finditer(plain):
        if not any(start <= match.start() < end for start, end in inside_names):
            side: Side = (
                "left" if match.group() == "left" else "right" if match.group() == "right" else "both"
            )
            found.append(_SideWord(side, match.start(), match.start() in image_sides))
    return found


def _side_of(target: Mention, targets: list[Mention], sides: list[_SideWord]) -> Side:
    """The side that belongs to a mention: the last one before it since the mention before, else one after."""
    if not structures()[target.structure].paired:
        return ""
    ends = [mention.end for mention in targets if mention.end <= target.start]
    starts = [mention.start for mention in targets if mention.start >= target.end]
    low, high = max(ends, default=-1), min(starts, default=10**9)
    before = [word.side for word in sides if low < word.start < target.start]
    after = [word.side for word in sides if target.end <= word.start < high]
    near = before[-1:] or after[:1]
    if near:
        return near[0] if len(set(before or after)) == 1 else "both"
    return "both" if target.plural else ""


def _by_meaning(words: tuple[Word, ...]) -> list[Mention]:
    match = best_description(words)
    if match is None:
        return []
    spans = tuple((word.start, word.end) for word in match.words)
    return [Mention(match.structure, spans, "target", match.how, plural=False)]


def _suggestions(
    structure: str, lower: str, mentions: tuple[Mention, ...], known: Collection[str]
) -> tuple[str, ...]:
    """Up to five names of known structures: neighbours of what was asked, or words spelled alike."""
    table = structures()
    available = [table[id_] for id_ in table if id_ in known]
    wanted = structure or next((mention.structure for mention in mentions), "")
    if wanted:
        near = sorted(available, key=lambda other: -_kinship(table[wanted], other))
        return tuple(other.name for other in near if _kinship(table[wanted], other) > 0)[:5]
    phrases = {phrase.lower(): item.name for item in available for phrase in item.phrases}
    alike = [
        phrases[close]
        for word in split(lower)
        if len(word.form) > 3
        for close in get_close_matches(word.form, phrases, n=2, cutoff=0.7)
    ]
    return tuple(dict.fromkeys(alike))[:5]


def _kinship(wanted: Structure, other: Structure) -> int:
    """How close a known structure is to the one asked for: the same thing, its parts, region, kind."""
    if wanted.id == other.id:
        return 8
    family = 4 * (other.id in wanted.members or wanted.id in other.members)
    same_kind = wanted.super_category == other.super_category
    return family + 2 * (wanted.region == other.region) + same_kind
