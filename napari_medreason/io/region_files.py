"""Region tables as text: JSON lines, CSV, and the CSV form in which MedPos was released."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from napari_medreason.core.regions import RegionTable

MEDPOS_COLUMNS = ("image_path", "image_name", "split", "question", "answer", "position")
"""PRS-Med annotation files: what its training code reads, and `image_name` of its labeller."""

CSV_COLUMNS = (
    *("label", "axis", "slice", "x0", "y0", "x1", "y1", "center_x", "center_y", "near_center", "position"),
    *("area_px", "area_mm2", "component_count", "point1_x", "point1_y", "point2_x", "point2_y", "degenerate"),
    *("side", "crosses_midline", "anterior_posterior", "superior_inferior", "level", "midline_mm"),
    *("surface_mm", "center_l", "center_p", "center_s", "reference"),
)

_QUESTION = "Where in the image does the marked structure lie?"
_NEAR = "The marked structure lies in the {position} of the image, close to its center."
_FAR = "The marked structure lies in the {position} of the image."
_CENTER = {
    "center": "The marked structure lies at the center of the image.",
    "near the center": "The marked structure lies near the center of the image.",
}
_SPLITS = {"train_masks": "train", "val_masks": "train", "test_masks": "test"}
"""Folder names of the released data; its training code takes validation cases out of `train` itself."""

Lines = Iterator[str]


def jsonl_lines(table: RegionTable, mask: Path) -> Lines:
    """One JSON object per region, as `RegionTable.record` gives it."""
    for record in table.records():
        yield json.dumps(record, ensure_ascii=False) + "\n"


def csv_lines(table: RegionTable, mask: Path) -> Lines:
    """A header and one line per region with CSV_COLUMNS; cells are empty for what is unknown."""
    return _quoted(CSV_COLUMNS, (_flat(table, row, record) for row, record in enumerate(table.records())))


def medpos_csv_lines(table: RegionTable, mask: Path) -> Lines:
    """A header and one line per region with MEDPOS_COLUMNS; no cell is empty, since readers drop such rows.

    image_path is the mask, relative to the root of the data set where its folder has a released name
    (train_masks, val_masks, test_masks), else its file name. image_name adds slice and label where the
    mask has more than one region. `position` holds the words of the rule; the
    published data has those of "released".
    """
    released = mask.parent.name in _SPLITS
    path = f"{mask.parent.name}/{mask.name}" if released else mask.name
    split = _SPLITS.get(mask.parent.name, "train")
    rows = (
        (path, _image_name(table, row, mask), split, _QUESTION, _answer(table, row), table.words(row))
        for row in range(len(table))
    )
    return _quoted(MEDPOS_COLUMNS, rows)


LINES: dict[str, Callable[[RegionTable, Path], Lines]] = {
    "jsonl": jsonl_lines,
    "csv": csv_lines,
    "medpos-csv": medpos_csv_lines,
}
"""Forms by the name that `medreason label --format` takes."""


def _quoted(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Lines:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _flat(table: RegionTable, row: int, record: dict[str, Any]) -> list[Any]:
    points = record["key_points"] or [[None, None], [None, None]]
    patient = record["patient"] or {}
    return [
        *(record["label"], record["axis"], record["slice"], *record["box"], *record["center"]),
        *(record["near_center"], record["position"], record["area_px"], record["area_mm2"]),
        *(int(table.component_count[row]), *points[0], *points[1], bool(table.degenerate[row])),
        *(patient.get(key) for key in ("side", "crosses_midline", "anterior_posterior", "superior_inferior")),
        *(patient.get(key) for key in ("level", "midline_mm", "surface_mm")),
        *(patient.get("center_lps") or (None, None, None)),
        patient.get("reference"),
    ]


def _image_name(table: RegionTable, row: int, mask: Path) -> str:
    if len(table) == 1 and table.geometry.shape_kji[0] == 1:
        return mask.name
    stem = mask.name.partition(".")[0]
    return f"{stem}_{table.settings.axis}_{table.slice[row]:04d}_label_{table.label[row]}_{table.part[row]}"


def _answer(table: RegionTable, row: int) -> str:
    words = table.words(row)
    pattern = _NEAR if table.near_center[row] else _FAR
    return _CENTER.get(words, pattern.format(position=words))
