"""What is doubtful about a study: sentences for the user that also say which kind of doubt they are."""

from __future__ import annotations

from typing import Literal, get_args

CautionKind = Literal[
    "order",
    "gaps",
    "duplicates",
    "tilt",
    "mixed",
    "orientation",
    "spacing",
    "anisotropy",
    "values",
    "modality",
    "other",
]
"""order: how slices or frames follow each other. gaps: missing or unevenly spaced slices. duplicates: images
that are there more than once. tilt: slices shifted against each other. mixed: images that make no single
grid, or are of several patients. orientation: how the grid lies in the patient. spacing: sizes in mm.
anisotropy: slices much further apart than pixels. values: grey values. modality: CT or MR."""

KINDS: tuple[CautionKind, ...] = get_args(CautionKind)


class Caution(str):
    """One sentence that a user must read before trusting a study, with its kind.

    A string in every other respect, so that it can be shown, joined and written as it is.
    """

    __slots__ = ("kind",)
    kind: CautionKind

    def __new__(cls, words: str, kind: CautionKind) -> Caution:
        """A sentence of a kind."""
        made = super().__new__(cls, words)
        made.kind = kind
        return made

    def __getnewargs__(self) -> tuple[str, CautionKind]:  # type: ignore[override]
        """What copies are made of."""
        return str(self), self.kind


def kind_of(warning: str) -> CautionKind:
    """The kind of a warning; "other" for a plain string."""
    return warning.kind if isinstance(warning, Caution) else "other"
