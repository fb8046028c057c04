"""Configuration of a training run: a TOML file read into frozen dataclasses; an unknown key is an error.

Each field has a default, but for what the user must say.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_medreason.core.run_recipes import EmbeddedRecipe
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError, RunError

RecipeName = Literal["embedded"]
"""What can be trained so far; see run_recipes."""


@dataclass(frozen=True)
class Budget:
    """When a run ends at the latest; 0 is no limit.

    steps: optimiser steps. minutes: of all sittings together. disk_megabytes: size of the run folder.
    """

    steps: int = 0
    minutes: float = 0.0
    disk_megabytes: float = 0.0


@dataclass(frozen=True)
class EvaluationPlan:
    """How a run is judged while it goes on.

    every_steps: steps between two evaluations on the validation records. samples: answers kept as
    pictures and words at each. patience: evaluations without a gain after which the run stops, 0 never.
    records: at most so many are evaluated each time, 0 all. checkpoint_seconds: time between checkpoints.
    """

    every_steps: int = 50
    samples: int = 4
    patience: int = 0
    records: int = 64
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class RunConfig:
    """One run.

    recipe: how to train. records: files of records (core.record), relative to the configuration file; their
    splits are used: train to learn from, validation to judge by, test for the comparison at the end.
    images: folder that the records' image paths are relative to. base: model id, or a folder of weights, to
    start from. name: of the adapter that results. device: "cpu", "cuda", "" for the best there is.
    The recipe's own settings stand in the table of its name.
    """

    recipe: RecipeName
    records: tuple[str, ...]
    images: str
    base: str = ""
    name: str = ""
    seed: int = 1
    device: str = ""
    budget: Budget = field(default_factory=Budget)
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
    embedded: EmbeddedRecipe = field(default_factory=EmbeddedRecipe)

    @property
    def settings(self) -> Any:
        """The settings of the chosen recipe."""
        return getattr(self, self.recipe.replace("-", "_"))


def read_run_config(path: Path) -> RunConfig:
    """The configuration in a TOML file; RunError names an unknown key, a wrong value or a missing one."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RunError(f"{path.name} can't be read as TOML ({error}); correct the file") from error
    return run_config(table, path.name)


def run_config(table: dict[str, Any], where: str) -> RunConfig:
    """A table of keys as a configuration; `where` is what messages call it."""
    try:
        config: RunConfig = from_plain(RunConfig, table, where)
    except DataSetError as error:
        raise RunError(str(error)) from error
    if not config.records:
        raise RunError(f'{where}: no records are named; add records = ["records.jsonl"]')
    return config
