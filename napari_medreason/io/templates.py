"""Files of templates (YAML, JSON, CSV) to templates and back; docs/templates.md describes them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path

from napari_medreason.core.templates import FIELDS, Template, checked
from napari_medreason.errors import TemplateError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.template_rows import FORMAT_VERSION, Row, csv_rows, json_rows
from napari_medreason.io.template_yaml import yaml_rows

SUFFIXES = (".yaml", ".yml", ".json", ".csv")
MAX_BYTES = 16 * 2**20

_ROWS: dict[str, Callable[[str, str], list[Row]]] = {
    ".yaml": yaml_rows,
    ".yml": yaml_rows,
    ".json": json_rows,
    ".csv": csv_rows,
}


@cache
def shipped() -> tuple[Template, ...]:
    """The templates that come with the program, file by file in the order of their names; read once."""
    folder = files("napari_medreason").joinpath("templates")
    found = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    return tuple(template for file in found for template in parse(file.read_bytes(), file.name))


def read_templates(path: str | Path) -> tuple[Template, ...]:
    """Every template of a YAML, JSON or CSV file in its order, older versions too.

    TemplateError, one line with file and line, what was found and what is accepted: not a known suffix,
    not UTF-8, not well formed, an unknown key or value, a broken or unknown slot, an id and version twice.
    """
    path = Path(path)
    _suffix(path.name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TemplateError(f"{path.name} is larger than 16 MiB; split it into several files")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TemplateError(f"{path.name} can't be read: {reason}; check the path and permission") from error
    return parse(data, path.name)


def parse(data: bytes, name: str) -> tuple[Template, ...]:
    """Templates from the bytes of a file; name: its file name, which says the format and stands in errors."""
    rows = _ROWS[_suffix(name)](_text(data, name), name)
    templates: list[Template] = []
    seen: dict[tuple[str, int], int] = {}
    for row in rows:
        template = _template(row, name)
        first = seen.setdefault((template.id, template.version), row.line)
        if len(seen) == len(templates):
            raise TemplateError(
                f"{name}, line {row.line}: {template.id!r} version {template.version} is there already "
                f"(line {first}); give it another id or the next version"
            )
        templates.append(template)
    return tuple(templates)


def write_templates(path: str | Path, templates: Iterable[Template]) -> None:
    """Write templates to a YAML, JSON or CSV file, by its suffix, so that reading gives the same ones.

    The file is replaced as a whole or not at all. TemplateError for another suffix or an id and version
    twice; ExportError when the file can't be written.
    """
    path = Path(path)
    text = dump(list(templates), path.name)
    with replace_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def dump(templates: Sequence[Template], name: str) -> str:
    """Templates as the text of a file; name: its file name, which says the format."""
    suffix = _suffix(name)
    keys = {(template.id, template.version) for template in templates}
    if len(keys) < len(templates):
        raise TemplateError(f"{name}: an id and version is there twice; give every template its own id")
    whole = [checked(**asdict(template)) for template in templates]
    if suffix == ".csv":
        return _csv(whole)
    return _json(whole) if suffix == ".json" else _yaml(whole)


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise TemplateError(f"{name} is no file of templates; accepted are {', '.join(SUFFIXES)}")
    return suffix


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TemplateError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def _template(row: Row, name: str) -> Template:
    for key in row.values:
        if key not in FIELDS:
            raise TemplateError(
                f"{name}, line {row.line_of(key)}: unknown key {key!r}; accepted are {', '.join(FIELDS)}"
            )
    try:
        return checked(**row.values)
    except TemplateError as error:
        said = row.values.get("id")
        of = f" ({said})" if isinstance(said, str) and said else ""
        first_word = re.match(r"'?(\w+)", str(error))
        line = row.line_of(first_word[1]) if first_word else row.line
        raise TemplateError(f"{name}, line {line}{of}: {error}") from error


def _filled(template: Template) -> dict[str, str | int]:
    """The fields of a template but those that are empty or as every draft has them."""
    return {
        key: value
        for key, value in asdict(template).items()
        if value != "" and (key, value) not in (("version", 1), ("state", "draft"), ("split", "train"))
    }


def _csv(templates: Sequence[Template]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(template) for template in templates)
    return text.getvalue()


def _json(templates: Sequence[Template]) -> str:
    whole = {"format": FORMAT_VERSION, "templates": [_filled(template) for template in templates]}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _yaml(templates: Sequence[Template]) -> str:
    import yaml

    whole = {"format": FORMAT_VERSION, "templates": [_filled(template) for template in templates]}
    text: str = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)
    return text
