"""The commands `run` and `prove` of `python -m napari_medreason_training`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_medreason.core.run_config import RecipeName, run_config
from napari_medreason.core.run_folder import EndReason
from napari_medreason.errors import MedReasonError, RunError

from .runs import RunWriter, note

Runner = Callable[[RunWriter, Path], EndReason]
"""Does a whole run, or goes on with it; the path is the folder that relative paths start from."""

RUNNERS: dict[RecipeName, str] = {
    "embedded": "recipe_embedded:train",
    "sft": "sft:train",
    "grpo": "grpo:train",
    "prs-med": "joint:train_prs_med",
    "medisee": "joint:train_medisee",
}
"""Module and function of each recipe; imported when it is run, since each brings other libraries."""


def add_commands(commands: Any) -> None:
    """Add `run` to the sub-commands of a parser."""
    run = commands.add_parser("run", help="train as a configuration says, or go on where it stopped")
    run.add_argument("config", type=Path, help="TOML file; docs/fine-tuning.md explains it")
    run.add_argument(
        "--folder", type=Path, required=True, help="folder of the run; it is resumed if it exists"
    )


def run_command(options: argparse.Namespace) -> None:
    """Run one configuration; RunError, and an event that says why, when it can't go on."""
    execute(options.config, options.folder)


def execute(config_file: Path, folder: Path) -> EndReason:
    """Train as the file says into the folder; gives why the run ended."""
    try:
        text = config_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{config_file.name} can't be read as text ({error}); check its path") from error
    config = parsed(text, config_file.name)
    writer = RunWriter(folder, config, text)
    try:
        reason = runner(config.recipe)(writer, config_file.absolute().parent)
    except MedReasonError as error:
        writer.end(writer.last_step, "failed", {}, str(error))
        raise
    note(f"run ended: {reason}")
    return reason


def parsed(text: str, name: str) -> Any:
    """A configuration from its text."""
    import tomllib

    try:
        return run_config(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{name} can't be read as TOML ({error}); correct the file") from error


def runner(recipe: RecipeName) -> Runner:
    """The function that runs a recipe; RunError when a library that it needs is not installed."""
    module, _, name = RUNNERS[recipe].partition(":")
    try:
        found: Runner = getattr(import_module(f"{__package__}.{module}"), name)
    except ImportError as error:
        raise RunError(
            f"the recipe {recipe} needs a package that is not installed ({error.name}); install "
            "napari-medreason[train]"
        ) from error
    return found
