"""The folder of a batch: a line for every question as soon as it is answered, and a table at the end.

`results.jsonl` is written line by line, so that a batch that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_medreason import io
from napari_medreason.batch.questions import Asked, Row
from napari_medreason.errors import ExportError

SETTINGS, LINES, TABLE, ANSWERS = "batch.json", "results.jsonl", "results.csv", "answers"
_COLUMNS = (
    "number",
    "id",
    "image",
    "question",
    "axis",
    "slice",
    "status",
    "answer",
    "confidence",
    "box_x0",
    "box_y0",
    "box_x1",
    "box_y1",
    "position",
    "area_mm2",
    "model",
    "seconds",
    "mask",
    "overlay",
    "error",
)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class Results:
    """Lines that are there already, and new ones."""

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        self.folder = folder
        self._lines = lines
        self._done = {line["key"] for line in lines}
        self._planes = Counter(line["row"] for line in lines)
        self._wanted = {line["row"]: int(line["planes"]) for line in lines}

    def has(self, asked: Asked) -> bool:
        """Whether this question has an answer."""
        return asked.key in self._done

    def has_all(self, row: Row) -> bool:
        """Whether all slices of a row have answers; known without reading its image."""
        return row.key in self._wanted and self._planes[row.key] >= self._wanted[row.key]

    def complete(self, rows: Iterable[Row]) -> bool:
        """Whether nothing is left to ask."""
        return all(self.has_all(row) for row in rows)

    def count(self, row: Row) -> int:
        """How many slices of a row have answers."""
        return self._planes[row.key]

    def answer_folder(self, asked: Asked) -> Path:
        """Where the files of an answer go."""
        return self.folder / ANSWERS / asked.key

    def add_answer(self, asked: Asked, report: Mapping[str, Any]) -> None:
        """Keep an answer: one line, on the disk when this returns. ExportError when it can't be written."""
        files = {
            name: Path(report[name]).relative_to(self.folder).as_posix() if report[name] else None
            for name in ("mask", "overlay")
        }
        head = {**_head(asked.row), "key": asked.key, "planes": asked.planes}
        self._add({**head, **report, **files, "error": None})
        self._done.add(asked.key)
        self._planes[asked.row.key] += 1
        self._wanted[asked.row.key] = asked.planes

    def add_fault(self, row: Row, words: str, index: int | None = None) -> None:
        """Keep that a row, or one slice of it, has no answer, and why."""
        plane = {"axis": row.axis, "index": index}
        self._add({**_head(row), "plane": plane, "status": "error", "error": words})

    def _add(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            with (self.folder / LINES).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ExportError(
                f"{LINES} can't be written: {error.strerror}; make room, and start the batch again to go on"
            ) from error
        self._lines.append(line)

    def write_table(self) -> None:
        """All lines as `results.csv`, in the order of the questions' rows."""
        ordered = sorted(self._lines, key=lambda line: (line["number"], line["plane"]["index"] or 0))
        target = io.replace_file(self.folder / TABLE)
        with target as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            table.writerows([_cell(_flat(line).get(name)) for name in _COLUMNS] for line in ordered)


def open_results(folder: Path, *, model: str, options: Mapping[str, Any], restart: bool = False) -> Results:
    """The results in a folder, to be gone on with; without those that were faults, which are tried again.

    restart: answers that are there are thrown away. ExportError when the folder holds something else, or
    answers of another model or of other options.
    """
    settings = {
        "model": model,
        "options": hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise ExportError(
            f"{folder.name} can't be used as a folder ({error.strerror}); name another"
        ) from error
    if others and SETTINGS not in others:
        raise ExportError(
            f"{folder.name} holds other files ({sorted(others)[0]}); name a new or empty folder"
        )
    if restart and others:
        _throw_away(folder)
    elif others and _read_settings(folder) != settings:
        raise ExportError(
            f"{folder.name} holds answers of model {_read_settings(folder).get('model')!r}, or with other "
            "options; name another folder, ask in the same way, or use --restart to throw them away"
        )
    lines = [line for line in _read_lines(folder / LINES) if line["status"] != "error"]
    with io.replace_file(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    with io.replace_file(folder / LINES) as temporary:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        temporary.write_text(text, encoding="utf-8")
    return Results(folder, lines)


def _throw_away(folder: Path) -> None:
    for name in (LINES, TABLE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ANSWERS, ignore_errors=True)


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Whole lines; one that was cut when the process was killed is asked again."""
    if not file.is_file():
        return []
    found = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"key", "row", "number", "status", "plane"} <= line.keys():
            found.append(line)
    return found


def _head(row: Row) -> dict[str, Any]:
    told = {"number": row.number, "id": row.id, "image": row.name, "question": row.question}
    return {**told, "row": row.key, "key": row.key}


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    plane, position = line["plane"], line.get("position") or {}
    box = dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), line.get("box") or (), strict=False))
    seconds = round(sum((line.get("seconds") or {}).values()), 3)
    place = {"axis": plane["axis"], "slice": plane["index"]}
    words = {"position": position.get("label"), "area_mm2": position.get("area_mm2"), "seconds": seconds}
    return {**line, **place, **box, **words}


def _cell(value: object) -> object:
    """As a spreadsheet takes it: no text for a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return "" if value is None else value
