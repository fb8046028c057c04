"""Configuration of an evaluation: a TOML file read into frozen dataclasses; an unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

from napari_medreason.core.record import SPLITS, Split
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError, RunError

COPY = "evaluation.toml"
"""Name of the configuration's copy in the folder of results."""
ANSWERS = "answers"
"""Folder in it with a file of answers for each model."""
SUMMARY, REPORT = "summary.json", "report.md"


@dataclass(frozen=True)
class ModelChoice:
    """One model to be evaluated, or the outputs of another program.

    id: as in `medreason models list`, also BASE@ADAPTER. adapter: folder of one, put on the model. options:
    for the model, such as device or precision. predictions: a file of answers, in place of a model.
    learnt_from: files of records that the model was trained on, to tell which patients it knows.
    name: in tables; the id or the file's name by default.
    """

    id: str = ""
    name: str = ""
    adapter: str = ""
    predictions: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    learnt_from: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What tables call it."""
        found = self.name or _without_folders(self.id) or _last_part(self.predictions)
        return " ".join(found.split())

    @property
    def slug(self) -> str:
        """Its name as a file's."""
        return re.sub(r"[\W_]+", "-", normalize("NFC", self.title).lower()).strip("-") or "model"


@dataclass(frozen=True)
class EvaluationConfig:
    """One evaluation; paths start at the file's folder.

    records: files of records (core.record). images: folder that their image paths start at, or a table with
    one for each source. splits: which records are asked. models: the first is what others are compared with.
    limit: at most so many records, evenly spread over the files, 0 all. out: folder for the results.
    seed, resamples: of the bootstrap and of the permutation test; by default as adapters' cards are made.
    pictures: best and worst answers shown of each.
    """

    records: tuple[str, ...]
    images: str | dict[str, str]
    models: tuple[ModelChoice, ...]
    splits: tuple[Split, ...] = ("test",)
    limit: int = 0
    out: str = "evaluation"
    seed: int = 0
    resamples: int = 2000
    pictures: int = 6

    def images_of(self, source: str) -> str:
        """Folder of the images of a source; RunError when the table has none."""
        if isinstance(self.images, str):
            return self.images
        if source not in self.images:
            raise RunError(
                f"images has no folder for the source {source!r}; add it to the table, which has "
                f"{', '.join(self.images) or 'none'}"
            )
        return self.images[source]


def read_evaluation_config(file: Path) -> tuple[str, EvaluationConfig]:
    """A configuration's text and what it says; RunError as in `evaluation_config`, or for no text."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RunError(f"{file.name} can't be read as text ({why}); check its path") from error
    return text, evaluation_config(text, file.name)


def evaluation_config(text: str, where: str) -> EvaluationConfig:
    """A configuration from TOML; RunError names an unknown key, a wrong value or a missing one."""
    try:
        config: EvaluationConfig = from_plain(EvaluationConfig, tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{where} can't be read as TOML ({error}); correct the file") from error
    except DataSetError as error:
        raise RunError(str(error)) from error
    for fault in (*_faults(config), *_model_faults(config.models)):
        raise RunError(f"{where}: {fault}")
    return config


def _without_folders(model_id: str) -> str:
    """BASE@FOLDER with the folder's own name."""
    base, at, adapter = model_id.partition("@")
    return f"{base}{at}{_last_part(adapter)}"


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _faults(config: EvaluationConfig) -> tuple[str, ...]:
    checks = {
        'no records are named; add records = ["records.jsonl"]': bool(config.records),
        f"splits is empty; choose of {', '.join(SPLITS)}": bool(config.splits),
        "limit and pictures can't be below 0": min(config.limit, config.pictures) >= 0,
        "resamples must be at least 100, such as 2000": config.resamples >= 100,
    }
    return tuple(words for words, fine in checks.items() if not fine)


def _model_faults(models: tuple[ModelChoice, ...]) -> tuple[str, ...]:
    if not models:
        return ('no model is named; add [[models]] with id = "embedded"',)
    for model in models:
        if bool(model.id) == bool(model.predictions):
            return (f"model {model.title or '(unnamed)'!r} needs either id or predictions",)
        if model.predictions and (model.adapter or model.options):
            return (f"{model.title!r} is a file of predictions, which takes no adapter and no options",)
        if model.adapter and "@" in model.id:
            return (f"{model.title!r} names two adapters; give one, behind the @ of its id or as adapter",)
    slugs = [model.slug for model in models]
    twice = next((model.title for model in models if slugs.count(model.slug) > 1), None)
    return () if twice is None else (f"two models are called {twice!r}; give each a name of its own",)
