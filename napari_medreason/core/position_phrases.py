"""Positions in plain English, for people to read; the same whatever the storage order.

Every sentence takes its noun with the article, such as "the spleen" (see answer_words.noun_phrase).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from napari_medreason.core.label_extents import LabelExtent
from napari_medreason.core.neighbours import Neighbourhood
from napari_medreason.core.patient_position import PatientPosition

_PLACE = "{noun} {lies} {side}{depth}{level}."
_DISTANCE = "{its} centre is {midline} mm from the {middle}{surface}."
_SIZE = (
    "{it} {measures} {width} x {depth} x {height} mm (left to right, front to back, top to bottom), {volume}."
)
_TOUCHES = "{it} {touches} {others}."
_BETWEEN = "{it} {lies} between {one} and {other}."
_DIRECTION = "{it} {lies} {direction} {other}."

_SIDE = {
    "left": "on the patient's left",
    "right": "on the patient's right",
    "midline": "in the midline",
}
_ACROSS = ", reaching across the midline,"
_DIRECTIONS = {
    "left of": "to the left of",
    "right of": "to the right of",
    "anterior to": "in front of",
    "posterior to": "behind",
    "superior to": "above",
    "inferior to": "below",
}
_MANY = 4
"""More touching neighbours than this are not all named."""


def place_phrase(noun: str, position: PatientPosition, *, plural: bool = False) -> str:
    """Side, depth and level, and distances in mm: two sentences."""
    body = "body" if position.reference == "body" else "field of view"
    across = position.crosses_midline and position.side != "midline"
    depth = (
        f" in the {position.anterior_posterior} third of the {body}" if position.anterior_posterior else ""
    )
    level = "over its whole visible height"
    if position.superior_inferior:
        height = "visible height" if position.reference == "body" else "height"
        level = f"in the {position.superior_inferior} third of its {height}"
    if not depth:
        level = level.replace("its", f"the {body}'s")
    joined = f"{depth} and " if depth else " "
    place = _PLACE.format(
        noun=_capital(noun),
        lies="lie" if plural else "lies",
        side=_SIDE[position.side] + (_ACROSS if across else ","),
        depth=joined,
        level=level,
    )
    return f"{place} {_distance(position, plural=plural)}"


def size_phrase(extent: LabelExtent, *, plural: bool = False) -> str:
    """Size in mm and volume in ml; "" when the pixel size or the orientation is unknown."""
    if extent.size_mm is None or extent.volume_ml is None:
        return ""
    width, depth, height = extent.size_mm
    return _SIZE.format(
        it="They" if plural else "It",
        measures="measure" if plural else "measures",
        width=_number(width),
        depth=_number(depth),
        height=_number(height),
        volume=f"{_number(extent.volume_ml)} ml",
    )


def neighbour_phrase(around: Neighbourhood, names: Mapping[int, str], *, plural: bool = False) -> str:
    """What a structure touches, between which structures it lies, or beside which; "" when none is named.

    names: noun phrases by label, such as {3: "the liver"}; labels without one are left out.
    """
    it, lies = ("They", "lie") if plural else ("It", "lies")
    sentences = []
    touching = [names[n.label] for n in around.touching if n.label in names]
    if touching:
        others = listed(touching[:_MANY])
        sentences.append(_TOUCHES.format(it=it, touches="touch" if plural else "touches", others=others))
    between = [pair for pair in around.between if pair[0] in names and pair[1] in names]
    if between:
        one, other = (names[label] for label in between[0])
        sentences.append(_BETWEEN.format(it=it, lies=lies, one=one, other=other))
    beside = [n for n in around.neighbours if n.direction and n.label in names]
    if beside and not between:
        words = _DIRECTIONS[str(beside[0].direction)]
        sentences.append(_DIRECTION.format(it=it, lies=lies, direction=words, other=names[beside[0].label]))
    return " ".join(sentences)


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _distance(position: PatientPosition, *, plural: bool) -> str:
    seen = position.reference == "body"
    surface = ""
    if position.surface_mm is not None:
        surface = f" and {_number(position.surface_mm)} mm below the skin"
    return _DISTANCE.format(
        its="Their" if plural else "Its",
        midline=_number(position.midline_mm),
        middle="midline" if seen else "middle of the field of view",
        surface=surface,
    )


def _number(value: float) -> str:
    """Whole above 10, one decimal below."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"
