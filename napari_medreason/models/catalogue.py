"""The published weights that this program knows, read from catalogue.toml; imports neither torch nor a hub.

A value that nobody could cite a source for is left out there: weights without a revision are "unpinned",
and what they were is recorded when they are first downloaded (see store.py).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from napari_medreason.errors import UnknownModelError, WeightsError
from napari_medreason.models.fit import NF4_BYTES

Kind = Literal["reasoner", "segmenter", "detector", "base", "system"]
Loader = Literal[
    "transformers",
    "llava",
    "clip",
    "sam2",
    "sam",
    "sam-med2d",
    "tinysam",
    "medisee",
    "prs-med",
    "grounding-dino",
]
"""Layout of the files, which says what can load them."""

BYTES_PER_PARAMETER: Mapping[str, float] = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "4bit": NF4_BYTES}
"""Of quantised parameters; the scales of 4 bits are counted (see models.fit)."""

_FILE = Path(__file__).with_name("catalogue.toml")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights. size: bytes, None if unknown; sha256: "" if unknown.

    url: where it lies if not in the entry's hub repository.
    """

    name: str
    url: str = ""
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Weights:
    """One entry of the catalogue; an empty text means that no source for it is known.

    repository: id on the model hub. revision: full commit id there. page: where people get it by hand.
    include: name patterns of the files that are needed, in the order of preference given by store.py.
    files: the files by name, when they are known. model_types: accepted `model_type` in config.json.
    parameters: number of parameters; unquantised: how many of them stay in 16 bits when the rest is
    quantised (vision tower, embeddings and output layer). consequence: the licence in plain words.
    gated: the hub asks for an account that has accepted the terms.
    """

    id: str
    title: str
    kind: Kind
    loader: Loader
    repository: str = ""
    revision: str = ""
    page: str = ""
    include: tuple[str, ...] = ()
    files: tuple[WeightFile, ...] = ()
    model_types: tuple[str, ...] = ()
    licence: str = ""
    consequence: str = ""
    parameters: int | None = None
    unquantised: int = 0
    modalities: tuple[str, ...] = ()
    gated: bool = False

    @property
    def pinned(self) -> bool:
        """Whether it is known beforehand which bytes a download gives."""
        return bool(self.revision) or (bool(self.files) and all(file.sha256 for file in self.files))

    @property
    def downloadable(self) -> bool:
        """Whether this program knows where the files are."""
        return bool(self.repository) or (bool(self.files) and all(file.url for file in self.files))

    @property
    def single_file(self) -> bool:
        """Whether these weights are one file rather than a folder of files."""
        return len(self.files) == 1 and not self.include

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that the parameters alone take, by precision; empty if their number is unknown.

        Computed, not measured: parameters times bytes each. What a run needs beside them (activations and
        the key and value cache) is for models.fit to say. Segmenters and detectors are never quantised.
        """
        if self.parameters is None:
            return {}
        rest = 0 if self.kind in ("segmenter", "detector") else self.parameters - self.unquantised
        kept = self.parameters - rest
        return {
            name: int(rest * size + kept * max(size, BYTES_PER_PARAMETER["bf16"]))
            for name, size in BYTES_PER_PARAMETER.items()
        }


@cache
def catalogue() -> dict[str, Weights]:
    """All entries by id, in the order of the file."""
    return read_catalogue(_FILE)


def weights(weights_id: str) -> Weights:
    """The entry with this id; UnknownModelError lists the known ones."""
    entries = catalogue()
    if weights_id not in entries:
        raise UnknownModelError(
            f"weights {weights_id!r:.60} are not known; known: {', '.join(entries)}. Choose one of these, or "
            "check the spelling"
        )
    return entries[weights_id]


def read_catalogue(file: Path) -> dict[str, Weights]:
    """Entries of a catalogue file by id; WeightsError for an unknown key, a wrong value or a repeated id."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"the catalogue {file.name} can't be read ({error}); check the file") from error
    tables = content.pop("weights", None)
    if not isinstance(tables, list) or content:
        raise WeightsError(f"{file.name} holds something else than [[weights]] tables; check the file")
    entries: dict[str, Weights] = {}
    for table in tables:
        entry = _entry(table)
        if entry.id in entries:
            raise WeightsError(f"{file.name} has two entries with the id {entry.id!r}; rename one")
        entries[entry.id] = entry
    return entries


def _entry(table: Any) -> Weights:
    name = str(table.get("id", "?")) if isinstance(table, dict) else "?"
    if isinstance(table, dict) and isinstance(listed := table.get("files", []), list):
        table = {**table, "files": [_build(WeightFile, file, f"{name}: files") for file in listed]}
    entry: Weights = _build(Weights, table, name)
    for wrong in _faults(entry):
        raise WeightsError(f"weights {entry.id!r} of the catalogue: {wrong}")
    return entry


def _build(kind: type[Any], table: Any, name: str) -> Any:
    """A dataclass from a table of exactly its fields; lists become tuples."""
    if not isinstance(table, dict):
        raise WeightsError(f"the catalogue's {name} is no table")
    known = {field.name: field for field in fields(kind)}
    needed = {key for key, field in known.items() if field.default is MISSING}
    if wrong := sorted(set(table) - set(known)) or sorted(needed - set(table)):
        what = "has the unknown key" if wrong[0] in table else "lacks the key"
        raise WeightsError(f"the catalogue's {name} {what} {wrong[0]!r}; known: {', '.join(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    for key, value in values.items():
        if not _fits(str(known[key].type), value):
            raise WeightsError(f"the catalogue's {name}: {key} is {value!r:.40}; {known[key].type} is needed")
    return kind(**values)


def _fits(annotation: str, value: object) -> bool:
    """Whether a value read from TOML is of the annotated type, as far as the classes above use them."""
    if annotation.startswith("tuple[str"):
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if annotation.startswith("tuple["):
        return isinstance(value, tuple)
    if annotation.startswith("int"):
        return type(value) is int and value >= 0
    return isinstance(value, bool if annotation == "bool" else str)


def _faults(entry: Weights) -> list[str]:
    faults = [
        (not _ID.fullmatch(entry.id), "the id may hold lower-case letters, digits, '.', '_' and '-'"),
        (entry.kind not in get_args(Kind), f"kind {entry.kind!r} is not one of {', '.join(get_args(Kind))}"),
        (entry.loader not in get_args(Loader), f"loader {entry.loader!r} is not known"),
        (bool(entry.revision) and not _REVISION.fullmatch(entry.revision), "revision is no full commit id"),
        (any(f.sha256 and not _SHA256.fullmatch(f.sha256) for f in entry.files), "a sha256 is no SHA-256"),
        (any(not is_safe_name(file.name) for file in entry.files), "a file name leads out of its folder"),
        (any(f.url and not f.url.startswith("https://") for f in entry.files), "a url is not https"),
    ]  # fmt: skip
    return [words for wrong, words in faults if wrong]


def is_safe_name(name: str) -> bool:
    """Whether a relative file name, as a hub or the catalogue gives it, stays inside its folder."""
    parts = PurePosixPath(name).parts
    forbidden = set('\\:*?"<>|\0')
    return bool(parts) and not name.startswith("/") and ".." not in parts and not forbidden & set(name)
