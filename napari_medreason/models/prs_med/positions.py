"""Whether the place that PRS-Med names is where its mask lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Check
from napari_medreason.core.medpos import locate
from napari_medreason.core.position_check import MaskFacts, Statement, check_words
from napari_medreason.core.position_sizes import MaskSizes

NAMES_NO_PLACE = "the text names no place in the image that could be compared with the mask"


def position_check(text: str, mask: NDArray[np.bool_], slice_index: int) -> Check | None:
    """The text's places in the image against the mask (rows, columns); None when it names none.

    Both are read by the released MedPos rule, which made the answers that the model was trained on.
    """
    position = locate(mask, rule="released")
    if position is None:
        return None
    facts = MaskFacts(
        quadrant=position.quadrant,
        near_center=position.near_center,
        patient=None,
        withheld="words about the patient are not compared here",
        sizes=MaskSizes(),
        slice_index=slice_index,
    )
    statements = [one for one in check_words(text, facts) if one.verdict != "not known"]
    return _check(statements) if statements else None


def _check(statements: list[Statement]) -> Check:
    wrong = [one for one in statements if one.verdict == "disagrees"]
    if not wrong:
        said = ", ".join(f"“{one.words}”" for one in statements)
        return Check("position", True, f"The mask is where the text says: {said}.")
    said = "; ".join(f"“{one.words}” in the text, but {one.found}" for one in wrong)
    return Check("position", False, f"Text and mask name different places: {said}. Please check both.")
