"""What the labels of a mask stand for, as DICOM codes, colours and names."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from napari_medreason.core.anatomy import Structure, structures
from napari_medreason.core.label_names import named
from napari_medreason.errors import ExportError

_MAX_NAME = 64
"""Characters of a DICOM long string (LO), the type of Segment Label (0062,0005)."""
_MAX_SEGMENTS = 65_535
_CATEGORIES = {
    **dict.fromkeys(
        ("neoplasm", "non-neoplasm", "infection", "fluid abnormality"),
        codes.SCT.MorphologicallyAbnormalStructure,
    ),
    "surgical instrument": codes.SCT.PhysicalObject,
}
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
UNCODED = codes.SCT.Tissue
"""Category and type of what is not in the vocabulary, or has no code there."""


@dataclass(frozen=True)
class LabelCode:
    """One label of a mask.

    value: in the mask. number: of its segment, counted from 1. category, kind: DICOM codes. colour: red,
    green, blue, 0 to 255. coded: whether `kind` says what the name says.
    """

    value: int
    number: int
    name: str
    category: Code
    kind: Code
    side: Code | None
    colour: tuple[int, int, int]
    coded: bool


def label_codes(labels: NDArray[np.generic], names: Mapping[int, str]) -> tuple[LabelCode, ...]:
    """The labels that are drawn in a mask, by value; "label 3" where there is no name.

    ExportError when nothing is drawn, or values are no labels.
    """
    if labels.dtype.kind not in "biu":
        raise ExportError(f"a mask of labels holds whole numbers, this one {labels.dtype} values")
    values = [int(value) for value in np.unique(labels) if value]
    if not values:
        raise ExportError("no label is drawn in the mask; there is nothing to export")
    if values[0] < 0 or len(values) > _MAX_SEGMENTS:
        raise ExportError(
            f"the mask holds labels below 0, or more than {_MAX_SEGMENTS:,}; neither can be written"
        )
    return tuple(_code(value, number, names.get(value, "")) for number, value in enumerate(values, 1))


def _code(value: int, number: int, name: str) -> LabelCode:
    # A backslash separates values in DICOM text.
    name = " ".join(name.replace("\\", "/").split())[:_MAX_NAME] or f"label {value}"
    found = named(name)
    structure = structures().get(found.structure)
    known = structure is not None and bool(structure.snomed)
    return LabelCode(
        value=value,
        number=number,
        name=name,
        category=_category(structure) if known and structure else UNCODED,
        kind=Code(structure.snomed, "SCT", structure.snomed_meaning[:_MAX_NAME])
        if known and structure
        else UNCODED,
        side=_SIDES.get(found.side),
        colour=structure.colour if structure else _colour(value),
        coded=known,
    )


def _category(structure: Structure) -> Code:
    category: Code = _CATEGORIES.get(structure.super_category, codes.SCT.AnatomicalStructure)
    return category


def _colour(value: int) -> tuple[int, int, int]:
    """Colours far apart for neighbouring values: hues at the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
