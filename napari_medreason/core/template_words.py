"""Words for the slots of a template, made from facts; "" where the facts don't say."""

from __future__ import annotations

import re

from napari_medreason.core.answer_words import noun_phrase
from napari_medreason.core.question_words import word_list
from napari_medreason.core.template_facts import Facts

_SAID_AS_LETTERS = re.compile(r"[A-Z]{2,}\b|X-")
_LETTERS_WITH_AN = "AEFHILMNORSX"
_PREPOSITIONS = word_list("inside below above beneath around between behind in across beside deep")
_AT = word_list("back front sides top bottom base edge tip root outer border end")
_ON = ("surface", "side", "inner surface", "outer surface", "inner side", "outer side", "upper side")
_IMAGE_NAMES = {"CT": "CT", "MR": "MR", "US": "ultrasound", "DX": "X-ray", "MG": "mammography", "OPT": "OCT"}
_FACING = {"brighter": "brighter than", "darker": "darker than", "similar": "about as bright as"}
_ROUND_FILL, _BLOCK_FILL, _LONG_RATIO = 0.62, 0.9, 1.9


def is_plural(facts: Facts) -> bool:
    """Whether the structure takes a plural verb: "the airways", "both kidneys"."""
    return noun_phrase(facts.structure, facts.side)[1]


def bare_name(facts: Facts) -> str:
    """The name without an article: "left kidney", "liver tumour", "kidneys" for both."""
    item = facts.item
    if item is None or facts.name:
        return facts.name or facts.structure.replace("_", " ")
    if facts.side == "both" and item.paired and item.plural:
        return item.plural
    return f"{facts.side} {item.name}" if item.paired and facts.side and not item.is_finding else item.name


def definite(facts: Facts) -> str:
    """The structure as one already spoken of: "the left kidney", "the liver tumour", "both lungs"."""
    item = facts.item
    if item is None or facts.name:
        return f"the {bare_name(facts)}"
    if facts.side == "both":
        return noun_phrase(facts.structure, "both")[0]
    where = f" on the {facts.side}" if item.is_finding and facts.side else ""
    return f"the {bare_name(facts)}{where}"


def introduced(facts: Facts) -> str:
    """The structure as one first spoken of: "the liver", "a liver tumour", "oedema"."""
    if facts.item is None or facts.name:
        return f"the {bare_name(facts)}"
    return noun_phrase(facts.structure, facts.side)[0]


def where_words(facts: Facts) -> str:
    """MedPos place with its preposition: "in the top left of the image", "near the center of the image"."""
    if not facts.position:
        return ""
    if facts.position == "center":
        return "at the center of the image"
    if facts.position.startswith("near"):
        return f"{facts.position} of the image"
    close = ", not far from its center" if facts.near_center else ""
    return f"in the {facts.position} of the image{close}"


def lies_words(place: str) -> str:
    """A place of the vocabulary with its preposition: "at the back of the abdomen, beside the spine".

    "" for "anywhere in the body", which places nothing.
    """
    if not place or place.startswith(("anywhere", "everywhere")):
        return ""
    first = place.split()[0].rstrip(",")
    if first in _PREPOSITIONS:
        return place
    if place.startswith("either side"):
        return f"on {place}"
    if place.startswith(("right of", "left of")):
        return f"to the {place}"
    if first == "sites":
        return f"at {place}"
    if first in ("most", "any", "bones"):
        return f"in {place}"
    if place.startswith(tuple(f"{word} of" for word in (*_ON, "right side", "left side"))):
        return f"on the {place}"
    return f"{'at' if first in _AT else 'in'} the {place}"


def shape_words(facts: Facts) -> str:
    """The outline as an adjective, from the box and how much of it the region fills."""
    if facts.box_plane is None or facts.area_px is None:
        return ""
    x0, y0, x1, y1 = facts.box_plane
    row_mm, column_mm = facts.spacing or (1.0, 1.0)
    width, height = (x1 - x0) * column_mm, (y1 - y0) * row_mm
    if min(width, height) <= 0:
        return ""
    fill = facts.area_px / ((x1 - x0) * (y1 - y0))
    if width >= _LONG_RATIO * height:
        return "longer from side to side than from top to bottom"
    if height >= _LONG_RATIO * width:
        return "longer from top to bottom than from side to side"
    if fill >= _BLOCK_FILL:
        return "compact and block-shaped"
    return "compact and rounded" if fill >= _ROUND_FILL else "irregular"


def extent_words(facts: Facts) -> str:
    """Width and height of the box: "42 by 30 mm"."""
    if facts.size_mm is None:
        return ""
    width, height = (f"{size:.0f}" if size >= 10 else f"{size:.1f}" for size in facts.size_mm)
    return f"{width} by {height} mm"


def share_words(facts: Facts) -> str:
    """Share of the image: "about 3 % of the image"."""
    if facts.share is None:
        return ""
    per_cent = 100 * facts.share
    return "less than 1 % of the image" if per_cent < 1 else f"about {per_cent:.0f} % of the image"


def size_words(facts: Facts) -> str:
    """How large the region is against the image: "small", "medium-sized" or "large"."""
    if facts.share is None:
        return ""
    return "small" if facts.share < 0.01 else "medium-sized" if facts.share < 0.06 else "large"


def pieces_words(facts: Facts) -> str:
    """In how many separate pieces the region is seen: "one piece", "three separate pieces"."""
    count = facts.component_count
    if not count:
        return ""
    number = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
    words = number[count - 2] if 2 <= count <= 9 else str(count)
    return "one piece" if count == 1 else f"{words} separate pieces"


def brightness_words(facts: Facts) -> str:
    """The region against its surroundings: "brighter than", "darker than", "about as bright as"."""
    return _FACING.get(facts.brightness, "")


def image_words(facts: Facts) -> str:
    """What the image is: "axial CT slice", "ultrasound image", "image"."""
    modality = modality_words(facts)
    return " ".join(filter(None, (facts.axis, modality, "slice" if facts.axis else "image")))


def modality_words(facts: Facts) -> str:
    """The kind of imaging: "CT", "MR", "ultrasound"; the code itself for another one."""
    return _IMAGE_NAMES.get(facts.modality, facts.modality)


def patient_side_words(facts: Facts) -> str:
    """The side in patient space: "on the patient's left", "in the patient's midline"."""
    if facts.patient_side == "midline":
        return "in the patient's midline"
    return f"on the patient's {facts.patient_side}" if facts.patient_side else ""


def article_for(words: str) -> str:
    """The article by sound: "an" for "axial slice" and "MR image", "a" for "CT image" and "unilateral"."""
    if _SAID_AS_LETTERS.match(words):
        return "an" if words[0] in _LETTERS_WITH_AN else "a"
    lower = words.lower()
    sounds_like_you = lower.startswith(("uni", "use", "ure", "uri", "ute", "eu", "one"))
    return "an" if lower[:1] in tuple("aeiou") and not sounds_like_you else "a"
