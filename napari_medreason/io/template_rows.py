"""Rows of a file of templates with their line numbers, so that an error can say where it is."""

from __future__ import annotations

import csv
import io
import json
import json.decoder
import json.scanner
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_medreason.core.templates import FIELDS
from napari_medreason.errors import TemplateError

FORMAT_VERSION = 1
_TOP_KEYS = ("format", "defaults", "templates")


@dataclass(frozen=True)
class Row:
    """One template as it stands in a file: values by key, and the line of the row and of each key."""

    values: Mapping[str, Any]
    line: int
    lines: Mapping[str, int]

    def line_of(self, key: str) -> int:
        """Line of a key, that of the row where the format doesn't tell them apart."""
        return self.lines.get(key, self.line)


def json_rows(text: str, name: str) -> list[Row]:
    """Rows of a JSON text: an object with format, defaults and the list of templates."""
    decoder = _LineDecoder(text, name)
    try:
        whole = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise TemplateError(f"{name}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise TemplateError(f"{name}, line 1: nested too deeply; docs/templates.md shows the form") from error
    if not isinstance(whole, dict):
        raise TemplateError(f"{name}, line 1: no object; accepted is one with 'format' and 'templates'")
    check_top(whole, dict.fromkeys(whole, 1), name)
    check_format(whole["format"], 1, name)
    defaults, templates = whole.get("defaults", {}), whole["templates"]
    if not isinstance(defaults, dict) or not isinstance(templates, list):
        raise TemplateError(f"{name}, line 1: 'defaults' is an object and 'templates' a list; found others")
    for entry in templates:
        if not isinstance(entry, dict):
            raise TemplateError(f"{name}, line 1: 'templates' holds {entry!r:.60}; accepted are objects")
    return [Row({**defaults, **entry}, decoder.line_of[id(entry)], {}) for entry in templates]


def csv_rows(text: str, name: str) -> list[Row]:
    """Rows of a CSV text with a header line; every cell is a text."""
    if "\0" in text:
        raise TemplateError(f"{name}, line {text.count(chr(10), 0, text.index(chr(0))) + 1}: a NUL character")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            if not header:
                header = _header(cells, name)
            elif cells:
                rows.append(_csv_row(header, cells, start, name))
            start = reader.line_num + 1
    except csv.Error as error:
        raise TemplateError(
            f"{name}, line {start}: not valid CSV ({error}); quote texts with commas"
        ) from error
    if not header:
        raise TemplateError(f"{name}, line 1: the file is empty; its first line names the columns")
    return rows


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    for cell in header:
        if cell not in FIELDS or header.count(cell) > 1:
            fault = "twice" if header.count(cell) > 1 and cell in FIELDS else "unknown"
            raise TemplateError(
                f"{name}, line 1: column {cell!r} is {fault}; accepted are {', '.join(FIELDS)}"
            )
    return header


def _csv_row(header: list[str], cells: list[str], line: int, name: str) -> Row:
    if len(cells) != len(header):
        raise TemplateError(
            f"{name}, line {line}: {len(cells)} cells for {len(header)} columns; quote texts with commas"
        )
    # An empty cell is a field that is not given, so that its default holds.
    return Row({key: cell for key, cell in zip(header, cells, strict=True) if cell.strip()}, line, {})


def check_top(top: Mapping[str, Any], lines: Mapping[str, int], name: str) -> None:
    """TemplateError unless a file's outermost keys are the known ones; lines: where each key stands."""
    for key in top:
        if key not in _TOP_KEYS:
            raise TemplateError(
                f"{name}, line {lines[key]}: unknown key {key!r}; accepted are {', '.join(_TOP_KEYS)}"
            )
    for key in ("format", "templates"):
        if key not in top:
            raise TemplateError(
                f"{name}, line 1: the key {key!r} is missing; docs/templates.md shows the form"
            )


def check_format(value: Any, line: int, name: str) -> None:
    """TemplateError unless the value of 'format' is the version that this program reads."""
    if str(value) != str(FORMAT_VERSION):
        raise TemplateError(
            f"{name}, line {line}: format {value!r} is not known; accepted is {FORMAT_VERSION}"
        )


class _LineDecoder(json.JSONDecoder):
    """A JSON decoder that remembers on which line each object starts."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(object_pairs_hook=self._unique, parse_constant=self._refuse)
        self._name, self._line = name, 1
        self._line_ends = [index for index, character in enumerate(text) if character == "\n"]
        self.line_of: dict[int, int] = {}
        self.parse_object = self._object
        # The scanner written in C ignores parse_object, so the Python one is asked for.
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def _object(self, s_and_end: tuple[str, int], *args: Any) -> tuple[Any, int]:
        line = bisect_right(self._line_ends, s_and_end[1] - 1) + 1
        self._line = line
        value, end = json.decoder.JSONObject(s_and_end, *args)  # type: ignore[attr-defined]
        self.line_of[id(value)] = line
        return value, end

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in pairs]
        for key in names:
            if names.count(key) > 1:
                raise TemplateError(
                    f"{self._name}, line {self._line}: the key {key!r} is there twice; keep one"
                )
        return dict(pairs)

    def _refuse(self, found: str) -> Any:
        raise TemplateError(f"{self._name}, line {self._line}: {found} is no JSON number")
