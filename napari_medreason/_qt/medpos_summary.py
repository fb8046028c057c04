"""What the MedPos dock says of a layer in its status line."""

from __future__ import annotations

import numpy as np

from napari_medreason.core.regions import RegionTable

NO_LAYER = "Add a Labels layer and paint, or ask a question: where its labels lie appears here."
CANCELLED = "Cancelled; press Refresh to look at “{name}” again."
AXES_ACCEPTED = "“{name}” has {count} axes; label maps with 2, 3 or 4 axes are listed: split it first"
_EMPTY = "No label in “{name}” yet: paint, and where it lies appears here."
_IMAGE_ONLY = "Words of the image only: {reason}."
_COUNTS = "{labels}, {regions} on {slices}. {reference}"
_SEARCHING = " The body is being looked for on the image."
_REFERENCES = {
    "body": "Places in the patient are measured against the body.",
    "missing": "Places in the patient are relative to the field of view: the body is not seen whole.",
    "field of view": "Places in the patient are relative to the field of view.",
}


def summary(table: RegionTable, name: str, *, reason: str, searching: bool, body_missing: bool) -> str:
    """Counts of a layer's table, and what its places are measured against.

    name: of the layer. reason: why there are words of the image only, "" for the table's own.
    searching: the body is still being looked for; body_missing: it was not seen whole.
    """
    notes = [_IMAGE_ONLY.format(reason=reason or table.withheld)] if table.withheld else []
    if len(table) == 0:
        return " ".join([_EMPTY.format(name=name), *notes])
    counts = _COUNTS.format(
        labels=counted(np.unique(table.label).size, "label"),
        regions=counted(len(table), "region"),
        slices=counted(np.unique(table.slice).size, "slice"),
        reference=_reference(table, searching=searching, body_missing=body_missing),
    )
    return " ".join([counts.strip(), *notes])


def _reference(table: RegionTable, *, searching: bool, body_missing: bool) -> str:
    if table.body is None:
        return ""
    known = table.body.reference
    words = _REFERENCES["missing" if body_missing and known != "body" else known]
    return words + (_SEARCHING if searching else "")


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 label" or "1,200 regions"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
