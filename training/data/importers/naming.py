"""What importers share: file name parts, patient keys and tables of label names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_medreason.core.strict import parse_json
from napari_medreason.errors import DataSetError

SUFFIXES = (".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".bmp", ".hdr", ".nrrd", ".mha")


def stem(name: str) -> str:
    """A file name without the suffix of an image."""
    suffix = next((known for known in SUFFIXES if name.lower().endswith(known)), "")
    return name[: len(name) - len(suffix)] if suffix else name


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file that can be read."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def patient_key(pattern: str, name: str) -> str:
    """The patient's part of a file name by a pattern with one group; the whole name without one."""
    found = re.search(pattern, name) if pattern else None
    return found.group(1) if found and found.group(1) else name


def read_json(path: Path) -> Any:
    """The value of a JSON file; DataSetError when it is missing or broken."""
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"), path.name)
    except OSError as error:
        raise DataSetError(f"{path.name} can't be read: {error.strerror}; check the folder") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path.name} is not UTF-8; save it as UTF-8") from error


def label_table(path: Path, key: str = "") -> dict[int, str]:
    """Label value to name from a file: JSON ({"1": "liver"}, {"liver": 1}, [{"id", "name"}]) or lines.

    A line is a number, then blanks, a comma or a tab, then the name; others are left out. `key` names a
    table inside the JSON object. DataSetError when no label is found.
    """
    if path.suffix.lower() == ".json":
        content = read_json(path)
        table = dict(
            _pairs(content[key] if key and isinstance(content, dict) and key in content else content)
        )
    else:
        table = dict(_lines(path))
    if not table:
        raise DataSetError(
            f'{path.name} holds no label; accepted are {{"1": "liver"}} and lines such as 1 liver'
        )
    return {value: name for value, name in table.items() if value > 0}


def _pairs(content: Any) -> Iterator[tuple[int, str]]:
    if isinstance(content, list):
        rows = [
            (row.get("id", row.get("value")), row.get("name")) for row in content if isinstance(row, dict)
        ]
    else:
        rows = list(content.items()) if isinstance(content, dict) else []
    for first, second in rows:
        value, name = (second, first) if isinstance(second, int) else (first, second)
        if isinstance(name, str) and str(value).isdecimal():
            yield int(str(value)), name


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"{path.name} can't be read as a UTF-8 table of labels; check it") from error
    for line in lines:
        found = re.match(r"\s*(\d+)[\s,;]+\"?([A-Za-z][^\"]*?)\"?\s*$", line)
        if found:
            yield int(found.group(1)), found.group(2)
