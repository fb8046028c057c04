"""What is asked in a batch: the rows of a table, or the same questions about every study of a folder."""

from __future__ import annotations

import csv
import hashlib
import io as text_io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_medreason.asking import Place
from napari_medreason.batch.slices import check_slices, slice_numbers
from napari_medreason.core.plane import AXES, Axis, slice_count
from napari_medreason.core.question import checked_text
from napari_medreason.core.volume import Volume, parse_window
from napari_medreason.errors import MedReasonError, QuestionError
from napari_medreason.io.find_studies import find_studies

COLUMNS = ("image", "question", "plane", "slice", "frame", "series", "window", "id")
TABLES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Row:
    """One question about one or more slices of a study.

    number: of the row, from 1. name: the image as it is told, without the folders above. slices: see
    `slice_numbers`. id: the user's own word for this row, "" for none. place: an image's absolute path where
    a table gives one, for no more than to tell apart images of one name; "" otherwise.
    """

    number: int
    image: Path
    name: str
    question: str
    axis: Axis = "axial"
    slices: str = "middle"
    frame: int | None = None
    series: str | None = None
    window: str | None = None
    id: str = ""
    place: str = ""

    @property
    def key(self) -> str:
        """The same for the same question, whatever its row number; goes into names of folders."""
        told = (
            self.name,
            self.question,
            self.axis,
            self.slices,
            self.frame,
            self.series,
            self.window,
            self.id,
            *([self.place] if self.place else []),
        )
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Asked:
    """One question about one slice. planes: how many slices its row has."""

    row: Row
    index: int
    planes: int

    @property
    def key(self) -> str:
        """Name of the question in results and of its folder of files."""
        return f"{self.row.key}-{self.index:04d}"

    @property
    def place(self) -> Place:
        """Where it is asked."""
        return Place(self.row.axis, self.index, self.row.frame, self.row.window)


def read_rows(table: Path) -> tuple[Row, ...]:
    """Rows of a CSV, TSV or JSON lines file; images are found from the table's folder.

    QuestionError names the first row that can't be used, before anything is asked.
    """
    rows = [_row(number, fields, table.parent) for number, fields in enumerate(_fields(table), 1)]
    if not rows:
        raise QuestionError(f"{table.name} holds no questions; give a line for each, with image and question")
    return _told_apart(rows)


def rows_of_folder(
    folder: Path, questions: Sequence[str], *, axis: Axis = "axial", slices: str = "middle", **options: Any
) -> tuple[Row, ...]:
    """The same questions about each study below a folder; `options` go to `find_studies`."""
    check_slices(slices)
    texts = [checked_text(text) for text in questions]
    studies = find_studies(folder, **options)
    if not studies or not texts:
        raise QuestionError(
            f"{folder.name} holds {len(studies)} studies that can be read and {len(texts)} questions were "
            "given; at least one of each is needed, see --question"
        )
    pairs = [(study, text) for study in studies for text in texts]
    return _told_apart(
        Row(
            number,
            folder / study.path,
            folder.resolve().name if study.path == "." else study.path,
            text,
            axis,
            slices,
            series=study.series or None,
            id=study.study,
        )
        for number, (study, text) in enumerate(pairs, 1)
    )


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of the same image together, so that each is read once; in the order of their first rows."""
    found: dict[tuple[Path, str | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.image, row.series), []).append(row)
    return list(found.values())


def asked_about(volume: Volume, rows: Iterable[Row]) -> Iterator[Asked | tuple[Row, MedReasonError]]:
    """The single questions of rows about one study; those about the same plane follow each other.

    A row whose slices or frame the study doesn't have comes as a pair with its fault.
    """
    found: list[Asked] = []
    for row in rows:
        try:
            numbers = slice_numbers(row.slices, slice_count(volume.frame(row.frame), row.axis))
        except MedReasonError as fault:
            yield row, fault
            continue
        found += [Asked(row, index, len(numbers)) for index in numbers]
    yield from sorted(found, key=_by_plane)


def _by_plane(asked: Asked) -> tuple[Any, ...]:
    row = asked.row
    return row.frame or 0, AXES.index(row.axis), asked.index, row.window or "", row.number


def _told_apart(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows; of two that ask the same the second gets an id, so that each has its own result."""
    seen: dict[str, int] = {}
    result = []
    for row in rows:
        times = seen[row.key] = seen.get(row.key, 0) + 1
        result.append(row if times == 1 else replace(row, id=f"{row.id} (again {times})".strip()))
    return tuple(result)


def _fields(table: Path) -> Iterator[Mapping[str, Any]]:
    suffix = table.suffix.lower()
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(
            f"{table.name} can't be read as UTF-8 text; check the path and save it as UTF-8"
        ) from error
    if suffix not in TABLES:
        raise QuestionError(
            f"{table.name} is no table of questions; accepted: {', '.join(TABLES)} or a folder"
        )
    if suffix == ".jsonl":
        yield from (
            _json_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        )
        return
    delimiter = "\t" if suffix == ".tsv" else ";" if ";" in text.partition("\n")[0] else ","
    for line in csv.DictReader(text_io.StringIO(text, newline=""), delimiter=delimiter):
        yield {key: value for key, value in line.items() if key is not None or value}


def _json_line(number: int, line: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise QuestionError(f"line {number} is no JSON ({error}); give one object per line") from error
    if not isinstance(fields, dict):
        raise QuestionError(f"line {number} holds {type(fields).__name__}; give one JSON object per line")
    return fields


def _row(number: int, fields: Mapping[Any, Any], folder: Path) -> Row:
    try:
        return _checked_row(number, _texts(fields), folder)
    except MedReasonError as error:
        raise QuestionError(f"row {number}: {error}") from error


def _texts(fields: Mapping[Any, Any]) -> dict[str, str]:
    unknown = sorted(str(key) for key in fields if key not in COLUMNS)
    if unknown:
        raise QuestionError(f"column {unknown[0]!r:.40} is not known; known: {', '.join(COLUMNS)}")
    texts = {key: str(value).strip() for key, value in fields.items() if value is not None}
    for needed in ("image", "question"):
        if not texts.get(needed):
            raise QuestionError(f"{needed} is empty or missing; give image and question in every row")
    return {key: text for key, text in texts.items() if text}


def _checked_row(number: int, texts: dict[str, str], folder: Path) -> Row:
    axis = next((axis for axis in AXES if axis == texts.get("plane", "axial")), None)
    if axis is None:
        raise QuestionError(f"plane {texts['plane']!r:.40} is not known; known: {', '.join(AXES)}")
    slices, frame = texts.get("slice", "middle"), texts.get("frame")
    check_slices(slices)
    if frame is not None and not frame.isdecimal():
        raise QuestionError(f"frame {frame!r:.40} is no number; frames count from 0")
    if "window" in texts:
        parse_window(texts["window"])
    image = folder / texts["image"]
    absolute = Path(texts["image"]).is_absolute()
    name = image.name if absolute else texts["image"].replace("\\", "/")
    return Row(
        number,
        image,
        name,
        checked_text(texts["question"]),
        axis,
        slices,
        None if frame is None else int(frame),
        texts.get("series"),
        texts.get("window"),
        texts.get("id", ""),
        image.as_posix() if absolute else "",
    )
