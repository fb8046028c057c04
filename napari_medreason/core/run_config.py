"""Configuration of a training run: a TOML file read into frozen dataclasses; an unknown key is an error.

Each field has a default, but for what the user must say. A recipe's `preset` names a set of values for its
other keys; a key that is given wins over the preset.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_medreason.core.run_limits import COUNT, check_limits
from napari_medreason.core.run_recipes import EmbeddedRecipe
from napari_medreason.core.run_recipes_joint import (
    MEDISEE_PRESETS,
    PRS_MED_PRESETS,
    MediSeeRecipe,
    PrsMedRecipe,
)
from napari_medreason.core.run_recipes_reasoning import GRPO_PRESETS, SFT_PRESETS, GrpoRecipe, SftRecipe
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError, RunError

RecipeName = Literal["embedded", "sft", "grpo", "prs-med", "medisee"]
"""What can be trained; see run_recipes, run_recipes_reasoning and run_recipes_joint."""

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "sft": SFT_PRESETS,
    "grpo": GRPO_PRESETS,
    "prs_med": PRS_MED_PRESETS,
    "medisee": MEDISEE_PRESETS,
}
"""Of each recipe's table, the presets by name and the values that they set."""


@dataclass(frozen=True)
class Budget:
    """When a run ends at the latest; 0 is no limit.

    steps: optimiser steps. minutes: of all sittings together. disk_megabytes: size of the run folder.
    """

    steps: int = 0
    minutes: float = field(default=0.0, metadata={"most": 10_000_000})
    disk_megabytes: float = 0.0


@dataclass(frozen=True)
class EvaluationPlan:
    """How a run is judged while it goes on.

    every_steps: steps between two evaluations on the validation records. samples: answers kept as
    pictures and words at each. patience: evaluations without a gain after which the run stops, 0 never.
    records: at most so many are evaluated each time, of all patients, 0 all. checkpoint_seconds: time between
    checkpoints, or ten times what writing one takes, where that is longer.
    """

    every_steps: int = field(default=50, metadata=COUNT)
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
    sft: SftRecipe = field(default_factory=SftRecipe)
    grpo: GrpoRecipe = field(default_factory=GrpoRecipe)
    prs_med: PrsMedRecipe = field(default_factory=PrsMedRecipe)
    medisee: MediSeeRecipe = field(default_factory=MediSeeRecipe)

    @property
    def settings(self) -> Any:
        """The settings of the chosen recipe."""
        return getattr(self, table_of(self.recipe))


def table_of(recipe: RecipeName) -> str:
    """The table (and field) that holds a recipe's own settings."""
    return recipe.replace("-", "_")


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
        config: RunConfig = from_plain(RunConfig, _with_presets(table, where), where)
        _check_numbers(config, where)
    except DataSetError as error:
        raise RunError(str(error)) from error
    if not config.records:
        raise RunError(f'{where}: no records are named; add records = ["records.jsonl"]')
    return config


def _check_numbers(config: RunConfig, where: str) -> None:
    """DataSetError for the first number outside of its limits."""
    check_limits(config, where)
    for name in ("budget", "evaluation", table_of(config.recipe)):
        check_limits(getattr(config, name), f"{where}, {name}")


def _with_presets(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The table with the values of the presets that its recipes name; RunError for one that there is not."""
    filled = dict(table)
    for recipe, presets in PRESETS.items():
        own = table.get(recipe)
        if not isinstance(own, dict) or not isinstance(own.get("preset", "paper"), str):
            continue
        name = own.get("preset", "paper")
        if name not in presets:
            raise RunError(f"{where}: {recipe} has no preset {name!r}; choose {', '.join(presets)}")
        filled[recipe] = {**presets[name], **own}
    return filled
