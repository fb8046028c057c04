"""Short plain-English answers made from a result: what is seen, not seen, unknown or out of place.

These are templates, marked as such in the provenance of an answer; they describe the image and draw
no clinical conclusion.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_medreason.core.anatomy import Structure, structures

UNSURE_BELOW = 0.5
"""Confidence under which an answer is worded as doubtful."""
_EXPERIMENTAL = "The model is experimental for this structure: {}."
_LISTED = 8
_REGION_WORDS = {
    "head": "head",
    "neck": "neck",
    "chest": "chest",
    "abdomen": "abdomen",
    "pelvis": "pelvis",
    "spine": "spine",
    "limb": "arm or leg",
    "body": "body",
}


def noun_phrase(structure: str, side: str = "") -> tuple[str, bool]:
    """Words for a structure with its article, and whether they take a plural verb.

    structure: vocabulary id; another text is used as it is. side: "left", "right", "both" or "".
    "kidney", "left" gives ("the left kidney", False); "both" gives ("both kidneys", True).
    """
    item = structures().get(structure)
    if item is None:
        return structure, False
    if side == "both":
        return _both(item)
    plural = item.plural == item.name
    if side and item.is_finding:
        return f"{_with_article(item, item.name)} on the {side}", plural
    name = f"{side} {item.name}" if item.paired and side else item.name
    if item.paired and not side and item.plural and not plural:
        return f"{_a_or_an(name)} {name}", False
    return _with_article(item, name), plural


def _with_article(item: Structure, name: str) -> str:
    if item.article == "a" and item.plural != item.name:
        return f"{_a_or_an(name)} {name}"
    return f"the {name}" if item.article else name


def found_answer(
    structure: str,
    *,
    axis: str,
    side: str = "",
    position: str = "",
    confidence: float | None = None,
    experimental: bool = False,
) -> str:
    """One or two sentences for a structure that was found.

    structure: vocabulary id. axis: "axial", "coronal" or "sagittal". side: the patient's "left",
    "right", "both" or "" when it is not known. position: words that follow a comma, such as
    "in the upper right of the image". confidence: 0 to 1, None when the model has none. experimental:
    whether the model was measured to be poor at this structure; then the answer is worded as doubtful.
    """
    words, plural = noun_phrase(structure, side)
    place = f", {position}" if position else ""
    if experimental:
        return f"Possibly {words}, on this {axis} slice{place}. {_EXPERIMENTAL.format('please check')}"
    if confidence is not None and confidence < UNSURE_BELOW:
        doubt = f"The model is not sure of this (confidence {_per_cent(confidence)})."
        return f"{_capital(words)} may be seen on this {axis} slice{place}. {doubt}"
    return f"{_capital(words)} {_verb(plural)} seen on this {axis} slice{place}."


def absent_answer(structure: str, *, axis: str, side: str = "", experimental: bool = False) -> str:
    """What is said of a structure that was looked for and not seen; arguments as for `found_answer`."""
    words, plural = _all_of(structure) if side in ("", "both") else noun_phrase(structure, side)
    doubt = f" {_EXPERIMENTAL.format('it is often missed')}" if experimental else ""
    return f"{_capital(words)} {_verb(plural)} not seen on this {axis} slice.{doubt}"


def unknown_answer(asked: str, suggestions: Sequence[str]) -> str:
    """One sentence for a structure or question that the model does not know.

    asked: the words or the name that were understood, "" when nothing was.
    suggestions: names the model does know, best first; the first eight are shown.
    """
    subject = f"this structure ({asked})" if asked else "this structure"
    if not suggestions:
        return f"I don't know {subject}."
    more = ", …" if len(suggestions) > _LISTED else "."
    return f"I don't know {subject}; I know: {', '.join(suggestions[:_LISTED])}{more}"


def outside_answer(structure: str, *, side: str = "") -> str:
    """One sentence for an image that does not look like the body part where the structure lies."""
    words, plural = _all_of(structure) if side in ("", "both") else noun_phrase(structure, side)
    item = structures().get(structure)
    region = _REGION_WORDS[item.region] if item else ""
    where = f"the {region}" if region else "the expected body part"
    return f"This image does not look like {where}, so {words} {'were' if plural else 'was'} not looked for."


def _all_of(structure: str) -> tuple[str, bool]:
    """Words for a structure on whichever side: "the kidneys", True."""
    item = structures().get(structure)
    if item is None or item.is_finding or not (item.paired and item.plural):
        return noun_phrase(structure)
    return f"the {item.plural}", True


def _both(item: Structure) -> tuple[str, bool]:
    if item.is_finding and item.plural:
        return f"{item.plural} on both sides", True
    if item.paired and item.plural and item.plural != item.name:
        return f"both {item.plural}", True
    name = f"the {item.name}" if item.article else item.name
    return (f"{name} on both sides" if item.paired or item.is_finding else name), item.plural == item.name


def _a_or_an(words: str) -> str:
    sounds_like_you = words.lower().startswith(("uni", "use", "ure", "uri", "ute", "eu"))
    return "an" if words[0].lower() in "aeiou" and not sounds_like_you else "a"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _verb(plural: bool) -> str:
    return "are" if plural else "is"


def _per_cent(confidence: float) -> str:
    return f"{round(100 * confidence)} %"
