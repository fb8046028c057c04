"""Region tables with the names of their labels, written to a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from napari_medreason.core.regions import RegionTable
from napari_medreason.errors import ExportError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.region_files import LINES, Lines

NAME = "name"


def write_regions(path: Path, form: str, table: RegionTable, mask: Path, names: Mapping[int, str]) -> None:
    """Write all regions in a form of `region_files.LINES`; the file is whole or not touched.

    mask: the file, or the file name, that the MedPos form gives for the label map. names: by label; with any,
    JSON lines get the key `name` and CSV a last column `name`, empty for labels without. The released MedPos
    form has no place for them. ExportError when there is no region, or the file can't be written.
    """
    if len(table) == 0:
        raise ExportError("there is no labelled region to write; paint or choose a layer with labels")
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(_lines(form, table, mask, names))


def _lines(form: str, table: RegionTable, mask: Path, names: Mapping[int, str]) -> Lines:
    if not names or form == "medpos-csv":
        return LINES[form](table, mask)
    return _named_csv(table, mask, names) if form == "csv" else _named_jsonl(table, names)


def _named_jsonl(table: RegionTable, names: Mapping[int, str]) -> Lines:
    for record in table.records():
        yield json.dumps({**record, NAME: names.get(record["label"], "")}, ensure_ascii=False) + "\n"


def _named_csv(table: RegionTable, mask: Path, names: Mapping[int, str]) -> Lines:
    added = (NAME, *(names.get(label, "") for label in table.label.tolist()))
    for line, name in zip(LINES["csv"](table, mask), added, strict=True):
        row = line.removesuffix("\n")
        yield f"{row},{_cell(name)}\n"


def _cell(value: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([value, ""])
    return buffer.getvalue().removesuffix(",")
