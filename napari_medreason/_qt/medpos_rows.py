"""Rows of the MedPos table: what it shows of each region, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_medreason.core.medpos import QUADRANTS
from napari_medreason.core.patient_position import PatientPosition
from napari_medreason.core.regions import RegionTable, Rows

NONE = "–"
Key = tuple[int, int, int]


class RegionRow(NamedTuple):
    """One region: label, slice and part are its key; widths and sums as in core.region_columns."""

    label: int
    slice: int
    part: int
    position: str
    patient: str
    area: str
    area_px: int
    parts: int
    box: tuple[int, int, int, int]

    @property
    def key(self) -> Key:
        """What tells this region from all others of a table."""
        return self.label, self.slice, self.part


def region_rows(table: RegionTable, rows: Rows = slice(None)) -> list[RegionRow]:
    """What the table shows of some regions, or of all, in their order."""
    places = zip(
        table.label[rows].tolist(),
        table.slice[rows].tolist(),
        table.part[rows].tolist(),
        np.arange(len(table))[rows].tolist(),
        table.patients(rows),
        table.area_px[rows].tolist(),
        table.component_count[rows].tolist(),
        table.box_plane[rows].tolist(),
        strict=True,
    )
    pixel = table.pixel_mm2 if table.spacing_known else None
    return [
        RegionRow(
            label, index, part, position_words(table, row), side_words(patient), _area(area, pixel),
            area, parts, (box[0], box[1], box[2], box[3]),
        )
        for label, index, part, row, patient, area, parts, box in places
    ]  # fmt: skip


def position_words(table: RegionTable, row: int) -> str:
    """The words of the rule, and the quadrant or the closeness to the centre where the rule leaves it out."""
    words, quadrant = table.words(row), table.quadrant_words(row)
    if words not in QUADRANTS:
        return f"{words} ({quadrant})"
    return f"{words} (near center)" if table.near_center[row] else words


def side_words(patient: PatientPosition | None) -> str:
    """Side, depth and height in the patient in a few words; a dash when they are not known."""
    if patient is None:
        return NONE
    across = " ↔" if patient.crosses_midline and patient.side != "midline" else ""
    depth: str | None = patient.anterior_posterior
    height: str | None = patient.superior_inferior
    words = (
        f"{patient.side}{across}",
        "mid-depth" if depth == "middle" else depth,
        "mid-height" if height == "middle" else height,
    )
    return ", ".join(word for word in words if word)


def _area(area_px: int, pixel_mm2: float | None) -> str:
    return f"{area_px:,} px" if pixel_mm2 is None else f"{area_px * pixel_mm2:,.0f} mm²"


def keys_of(rows: Sequence[RegionRow]) -> dict[Key, int]:
    """Places of rows by key."""
    return {row.key: place for place, row in enumerate(rows)}
