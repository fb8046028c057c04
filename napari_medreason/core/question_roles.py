"""The part that a named structure plays in a question: asked for, or only said where something is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from napari_medreason.core.question_words import Word, word_list

Role = Literal["target", "inside", "beside", "not"]
"""target: asked for; inside: "in the X"; beside: "next to the X"; not: excluded ("not the X")."""

_BESIDE = word_list(
    """
    behind below beneath under underneath above over beside besides near between around surrounding by
    against adjacent next from into towards toward to through past along touching covering joining
    connecting join connect link surround enclose cover touch than outside round onto
    """
)
_INSIDE = word_list("of in on at within inside for")
_EXCLUDING = word_list("not except excluding minus instead rather without")
_WISHES = word_list(
    "segment want need mark outline include draw label show mean mask contour delineate color"
)
_REMOVING = word_list("strip remove delete hide erase drop discard suppress clear cut crop fade dim")
_ALL = word_list("everything all anything nothing")
_BEFORE_NAMES = word_list(
    """
    left right both upper lower inner outer top bottom front back middle whole entire two each every either
    first last next lowest highest
    """
)
_DRAWN = word_list(
    """
    mask pixel voxel contour outline border boundary extent segmentation label annotation delineation roi
    overlay box rectangle polygon circle ring line silhouette perimeter circumference marker arrow square
    cursor crosshair pointer pin flag tag dot seed spotlight
    """
)
"""Things drawn on an image: with "of", "in", "around" and the like after them, the structure is meant."""
_ROUND = word_list("around round over about onto to")
_OWNED = _DRAWN | word_list(
    """
    shape size volume location position picture appearance look length width diameter function job role
    purpose rest remainder entirety all color whereabouts anatomy coordinate course much most bit piece
    amount fraction percentage proportion dimension measurement presence absence drawing sketch rendering
    """
)
"""Nouns after which "of the X" plays the part in the question that the noun itself plays."""

_VERBS: Mapping[str, frozenset[str]] = {
    "in": word_list(
        "color coloring colored fill filling shade shading paint painting draw drawing hatch interested"
    ),
    "at": word_list("look looking point pointing aim stare"),
    "on": word_list(
        "zoom zooming focus focusing click clicking center concentrate concentrating in info detail"
    ),
    "onto": word_list("zoom focus click"),
    "into": word_list("zoom zooming look"),
    "for": word_list("look looking search searching hunt hunting ask asking scan watch care"),
    "to": word_list(
        """
        belong belonging correspond corresponding point pointing refer referring relate relating assigned
        attributed go jump navigate scroll me us crop switch turn proceed move return skip limit restrict
        confine reduce attention closer
        """
    ),
    "of": word_list(
        "made consist consisting think thinking sight view evidence glimpse trace sign idea overview"
    ),
    "over": word_list("go going hover run"),
    "through": word_list("scroll slice cut section go going run"),
    "around": word_list("draw drawing trace tracing go going"),
    "round": word_list("draw drawing trace tracing go going"),
}
"""Verbs and the word that belongs to each of them: "colour in the X" asks for X itself."""

RULE_WORDS = _BESIDE | _EXCLUDING | _DRAWN | frozenset(word for words in _VERBS.values() for word in words)
"""Words of these rules, never taken for a misspelt structure."""


def role(words: Sequence[Word], start: int) -> Role:
    """The part played by what is named from word `start` on, from the words before it (sides left out).

    words: of the whole text, without articles.
    """
    before = ["", "", *(word.form for word in words[:start] if word.form not in _BEFORE_NAMES)]
    last, previous = before[-1], before[-2]
    if _excluded(last, previous) or _unwanted(before):
        return "target" if last != "not" and _REMOVING.intersection(before) else "not"
    if _takes(previous, last):
        return "target"
    two_before = words[start - 2].form if start > 1 else ""
    if last in _BESIDE or (last == "of" and two_before in ("left", "right", "front")):
        return "beside"
    if last == "of" and start > 1 and previous == two_before and previous in _OWNED:
        return role(words, start - 2)
    return "inside" if last in _INSIDE and previous else "target"


def _unwanted(before: Sequence[str]) -> bool:
    """Whether a wish is denied: "don't segment the X", "I do not want the X"."""
    wish = before[:-1] if before[-1] == "me" else before
    return wish[-1] in _WISHES and tuple(wish[-3:-1]) in (("don", "t"), ("do", "not"))


def _takes(previous: str, last: str) -> bool:
    """Whether the two words before a name ask for it: "colour in", "belong to", "pixels in"."""
    drawn = previous in _DRAWN and (last in _ROUND or (last in _INSIDE and last != "of"))
    return drawn or previous in _VERBS.get(last, ())


def _excluded(last: str, previous: str) -> bool:
    return (
        last in _EXCLUDING
        or (last == "but" and previous in _ALL)
        or (last in ("of", "than", "for") and previous in _EXCLUDING)
    )
