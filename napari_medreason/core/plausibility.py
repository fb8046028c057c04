"""Whether an answer fits what is known of anatomy: its usual side, and its part of the body.

Nothing here looks at a model: mask, plane and the vocabulary are all that is asked. A test that can't
be made (unknown orientation, a structure without a usual side) gives no result, not a passed one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import structures
from napari_medreason.core.answer_words import noun_phrase
from napari_medreason.core.grounding import Check
from napari_medreason.core.plane import Plane

OFF_MIDLINE_MM = 15.0
"""A mask whose centre is nearer to the middle of the body than this is on no side for certain."""
AIR_HU = -300.0
DARK_SHARE = 0.15
"""On images other than CT: what is darker than this share of the grey values is air."""
_FROM_TOP = {"head": 0, "neck": 1, "chest": 2, "abdomen": 3, "pelvis": 4, "limb": 5}
"""Parts of the body that can be told apart on an axial slice, from top to bottom; a thigh is a limb."""


def usual_side(structure: str) -> Literal["left", "right", ""]:
    """The patient's side on which an unpaired structure usually lies, as its place in the vocabulary says."""
    item = structures().get(structure)
    if item is None or item.paired:
        return ""
    sides = set(re.findall(r"\b(?:left|right)\b", item.place))
    if len(sides) != 1:
        return ""
    return "left" if "left" in sides else "right"


def shows_sides(plane: Plane) -> bool:
    """Whether this plane has the patient's left and right: axial or coronal, and orientation known."""
    return plane.grid.axis != "sagittal" and plane.grid.orientation is not None


def body_middle(plane: Plane) -> float | None:
    """Column of the middle of what is not air, None when all is air."""
    image = np.nan_to_num(plane.image, nan=-np.inf, posinf=np.inf)
    body = image > _air_limit(plane)
    mass = body.sum(axis=0, dtype=np.float64)
    return float((mass * np.arange(mass.size)).sum() / mass.sum()) if mass.any() else None


def _air_limit(plane: Plane) -> float:
    if plane.modality == "CT" and plane.calibrated:
        return AIR_HU
    finite = plane.image[np.isfinite(plane.image)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 0.0)
    return float(low + DARK_SHARE * (high - low))


def side_of_mask(plane: Plane, mask: NDArray[np.bool_]) -> Literal["left", "right", ""]:
    """The patient's side on which a mask lies, "" near the middle and where sides can't be told."""
    middle = body_middle(plane)
    if middle is None or not shows_sides(plane) or not mask.any():
        return ""
    to_left = (np.nonzero(mask)[1].mean() - middle) * plane.grid.spacing[1]
    if abs(to_left) < OFF_MIDLINE_MM:
        return ""
    return "left" if to_left > 0 else "right"


def side_check(plane: Plane, structure: str, mask: NDArray[np.bool_], side: str = "") -> Check | None:
    """Whether a mask lies on the usual side of its structure, or on the side that it is said to be of.

    mask: (rows, columns) bool. side: "left" or "right" for one of a pair, else "". None when the test
    means nothing here.
    """
    usual = side if side in ("left", "right") else usual_side(structure)
    if not usual or not shows_sides(plane):
        return None
    words, plural = noun_phrase(structure, side)
    lies, capital = "lie" if plural else "lies", f"{words[:1].upper()}{words[1:]}"
    here = side_of_mask(plane, mask)
    if not here:
        return Check("side", True, f"{capital} {lies} near the middle of the body, on no side for certain.")
    if here == usual:
        return Check("side", True, f"{capital} {lies} on the expected side, the patient's {usual}.")
    often = "" if side else "usually "
    return Check(
        "side",
        False,
        f"{capital} {often}{lies} on the patient's {usual}; this mask lies on the {here}: "
        "check the orientation of the study.",
    )


def region_check(plane: Plane, structure: str, seen_mm2: Mapping[str, float]) -> Check | None:
    """Whether a structure belongs to the part of the body that the slice shows.

    seen_mm2: area of each structure seen on the slice. Only axial slices show one part of the body;
    neighbouring parts overlap. None when the test means nothing here.
    """
    place = _FROM_TOP.get(_region(structure))
    shown: dict[str, float] = {}
    for name, area in seen_mm2.items():
        if name != structure and _region(name) in _FROM_TOP:
            shown[_region(name)] = shown.get(_region(name), 0.0) + area
    if place is None or plane.grid.axis != "axial" or not shown:
        return None
    region = max(shown, key=lambda name: shown[name])
    words, plural = noun_phrase(structure)
    capital = f"{words[:1].upper()}{words[1:]}"
    if abs(_FROM_TOP[region] - place) < 2:
        return Check("region", True, f"{capital} {'fit' if plural else 'fits'} the rest of the slice.")
    return Check(
        "region",
        False,
        f"{capital} {'are' if plural else 'is'} not expected here: most of what is seen on this slice "
        f"belongs to the {region}; please check.",
    )


def _region(structure: str) -> str:
    item = structures().get(structure)
    return item.region if item else ""
