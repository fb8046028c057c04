"""What the MedPos dock says about the chosen region, and about words that were checked against it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from napari_medreason.core.answer_words import noun_phrase
from napari_medreason.core.label_extents import LabelExtent, label_extents
from napari_medreason.core.label_names import named
from napari_medreason.core.position_check import MaskFacts, Statement
from napari_medreason.core.position_phrases import place_phrase, size_phrase
from napari_medreason.core.position_sizes import MaskSizes
from napari_medreason.core.region_columns import RegionColumns
from napari_medreason.core.regions import RegionTable

NO_STATEMENT = (
    "No word about place, size or structure was understood. Try: “top left”, “near the center”, "
    "“on the patient's right”, “posterior”, “4 cm”, “12 ml”, “left kidney”."
)
_MARKS = {"agrees": ("✓", "#4caf50"), "disagrees": ("✗", "#ff6b5e"), "not known": ("?", "#c0a040")}


def extent_of(table: RegionTable, label: int) -> LabelExtent:
    """How far one label reaches over all slices."""
    rows = table.label == label
    only: dict[str, Any] = {field.name: getattr(table, field.name)[rows] for field in fields(RegionColumns)}
    return label_extents(replace(table, **only))[0]


def region_words(table: RegionTable, row: int, name: str, extent: LabelExtent) -> str:
    """Place of a region on its slice and in the patient, and the size of its label, in sentences."""
    noun, plural = _noun(name, int(table.label[row]))
    patient = table.patient(row)
    where = place_phrase(noun, patient, plural=plural) if patient is not None else _capital(table.withheld)
    sentences = [_on_slice(table, row), where, size_phrase(extent, plural=plural), _slices(table, extent)]
    return "\n".join(
        sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences if sentence
    )


def _on_slice(table: RegionTable, row: int) -> str:
    x0, y0, x1, y1 = table.box_plane[row].tolist()
    size = f"{x1 - x0} x {y1 - y0} pixels"
    if table.spacing_known:
        height, width = table.grid(row).spacing
        size += f" ({(x1 - x0) * width:.0f} x {(y1 - y0) * height:.0f} mm)"
    near = "near" if table.near_center[row] else "not near"
    place = f"{table.quadrant_words(row)} of the image, {near} its center"
    single = "; a single pixel" if table.degenerate[row] else ""
    return f"{_capital(table.settings.axis)} slice {table.slice[row]}: {place}; {size}{single}"


def _slices(table: RegionTable, extent: LabelExtent) -> str:
    if extent.slice_count == 1:
        return "Label on this slice only"
    return (
        f"Label on {extent.slice_count} slices, {extent.first_slice} to {extent.last_slice}, "
        f"largest on {extent.largest_slice}"
    )


def _noun(name: str, label: int) -> tuple[str, bool]:
    found = named(name) if name else None
    if found is not None and found.structure:
        return noun_phrase(found.structure, found.side)
    return (f"“{name}”" if name else f"label {label}"), False


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def mask_facts(table: RegionTable, row: int, name: str, extent: LabelExtent) -> MaskFacts:
    """A region as what words are checked against."""
    return MaskFacts(
        quadrant=table.quadrant_words(row),
        near_center=bool(table.near_center[row]),
        patient=table.patient(row),
        withheld=table.withheld,
        sizes=_sizes(table, row, extent),
        slice_index=int(table.slice[row]),
        name=named(name) if name else None,
    )


def _sizes(table: RegionTable, row: int, extent: LabelExtent) -> MaskSizes:
    if not table.spacing_known:
        return MaskSizes()
    x0, y0, x1, y1 = table.box_plane[row].tolist()
    height, width = table.grid(row).spacing
    return MaskSizes(
        size_mm=extent.size_mm,
        plane_mm=((x1 - x0) * width, (y1 - y0) * height),
        area_mm2=float(table.area_px[row]) * table.pixel_mm2,
        volume_ml=extent.volume_ml,
    )


def statements_html(statements: Sequence[Statement]) -> str:
    """Verdicts as rich text, one line for each statement; words of the user are escaped."""
    return "<br>".join(
        f'<span style="color: {colour}"><b>{mark}</b></span> {html.escape(statement.words)}: '
        f"{html.escape(statement.verdict)}, {html.escape(statement.found)}"
        for statement in statements
        for mark, colour in [_MARKS[statement.verdict]]
    )
