"""Left, right and both in a question: which words mean a side, of the patient or of the image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right", "both", ""]

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
    | \b(left|right)(?:\ side)?\ as\ (?:i\ see|shown|displayed|seen|viewed)\b""",
    re.VERBOSE,
)
NOT_THIS_SIDE = re.compile(r"\bnot (?:(?:on|in|at|to) )?(?:(?:the|his|her|patient's) )*(left|right)\b")
"""A side that is excluded, so that the other one is meant."""
_SIDE = re.compile(
    r"\b(?:both|bilateral|left and right|right and left|each side|either side|two|left|right)\b"
)


@dataclass(frozen=True)
class SideWord:
    """A word for a side. start: its place in the text. in_image: the side of the image as shown."""

    side: Side
    start: int
    in_image: bool


def without_false_sides(text: str) -> str:
    """The text with "left" and "right" blanked where they mean no side ("right now", "any liver left")."""

    def blanked(match: re.Match[str]) -> str:
        return re.sub(r"left|right", lambda word: " " * len(word.group()), match.group())

    return _NOT_A_SIDE.sub(blanked, text)


def side_words(text: str, names: Iterable[tuple[int, int]]) -> tuple[SideWord, ...]:
    """Every word for a side in order, leaving out those inside names such as "left atrium".

    text: as `without_false_sides` gives it. names: places of the names in it, as (start, end).
    """
    taken = tuple(names)
    denied = {match.start(1) for match in NOT_THIS_SIDE.finditer(text)}
    in_image = {match.start(n) for match in _IMAGE_SIDE.finditer(text) for n in range(1, 5) if match.group(n)}
    return tuple(
        SideWord(_side(match.group(), match.start() in denied), match.start(), match.start() in in_image)
        for match in _SIDE.finditer(text)
        if not any(start <= match.start() < end for start, end in taken)
    )


def side_between(words: Iterable[SideWord], low: int, name: tuple[int, int], high: int) -> Side:
    """The side of a name at `name` (start, end), from the words between its neighbours at low and high.

    Words before the name count first; different ones together mean both sides.
    """
    found = tuple(words)
    before = {word.side for word in found if low <= word.start < name[1]}
    sides = before or {word.side for word in found if name[1] <= word.start < high}
    if len(sides) > 1:
        return "both"
    return sides.pop() if sides else ""


def _side(word: str, denied: bool) -> Side:
    if word not in ("left", "right"):
        return "both"
    return "left" if (word == "left") != denied else "right"
