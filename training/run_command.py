"""The commands `run`, `prove` and `several` of `python -m napari_medreason_training`."""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from napari_medreason.core.run_config import RecipeName, run_config
from napari_medreason.core.run_folder import CONFIG, EndReason, keep_paths_from, paths_from
from napari_medreason.errors import MedReasonError, RunError
from napari_medreason.io import replace_file

from . import several
from .runs import RunWriter, note

Runner = Callable[[RunWriter, Path], EndReason]
"""Does a whole run, or goes on with it; the path is the folder that relative paths start from."""

RUNNERS: dict[RecipeName, str] = {
    "embedded": "recipe_embedded:train",
    "sft": "reasoning.sft:train",
    "grpo": "reasoning.grpo:train",
    "prs-med": "joint.prs_med:train",
    "medisee": "joint.medisee:train",
}
"""Module and function of each recipe; imported when it is run, since each brings other libraries."""


_MEMORY = (
    "memory ran out; start a new run with a smaller batch, fewer or shorter answers, gradient checkpointing "
    "or 4 bits; or close other programs and resume: the last checkpoint is kept"
)
_DISK = "the disk is full; free some space and resume the run: its last checkpoint is kept"

Proof = Callable[[int, Path | None, Path], dict[str, Any]]
"""Shows on a small scale that learning is real: seed, folder of real images (or None), folder to work in.

`passed` among its figures says whether it reached its goal.
"""

PROOFS: dict[str, str] = {
    "embedded-tune": "prove_embedded_tune:prove",
    "grpo": "reasoning.prove_grpo:prove",
    "rewards": "reasoning.prove_grpo:prove_rewards",
    "prs-med": "joint.prove:prove_prs_med",
    "medisee": "joint.prove:prove_medisee",
    "ablations": "joint.prove:prove_ablations",
}
"""Module and function of each proof."""


def add_commands(commands: Any) -> None:
    """Add `run` and `prove` to the sub-commands of a parser."""
    run = commands.add_parser("run", help="train as a configuration says, or go on where it stopped")
    run.add_argument("config", type=Path, help="TOML file; docs/fine-tuning.md explains it")
    run.add_argument(
        "--folder", type=Path, required=True, help="folder of the run; it is resumed if it exists"
    )
    run.add_argument(
        "--base",
        type=Path,
        help="folder that relative paths start from, else the file's own",
    )
    prove = commands.add_parser("prove", help="show on a small scale that a recipe learns; JSON and a table")
    prove.add_argument("proof", choices=sorted(PROOFS))
    prove.add_argument("--seed", type=int, default=1)
    prove.add_argument("--data", type=Path, help="holds labelled/ and conformance/, for real images")
    prove.add_argument("--out", type=Path, default=Path("runs"), help="folder for the runs and the figures")
    shared = commands.add_parser("several", help="where the settings for accelerate launch lie")
    shared.add_argument("preset", choices=several.PRESETS)


def several_command(options: argparse.Namespace) -> None:
    """Print the file that `accelerate launch --config_file` takes."""
    sys.stdout.write(f"{several.preset_file(options.preset)}\n")


def prove_command(options: argparse.Namespace) -> None:
    """Do one proof and write its figures to OUT/prove-NAME-SEED.json; RunError when it misses its goal."""
    options.out.mkdir(parents=True, exist_ok=True)
    figures = _function(PROOFS[options.proof])(options.seed, options.data, options.out)
    file = options.out / f"prove-{options.proof}-{options.seed}.json"
    with replace_file(file) as temporary:
        temporary.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    note(f"figures: {file.name}")
    if figures.get("passed") is False:
        raise RunError(f"the proof did not reach its goal; {file.name} says by how much")


def not_begun(run: Path) -> Path:
    """The folder of a proof's run; RunError when it holds one, whose figures would be of an older program."""
    if (run / CONFIG).exists():
        raise RunError(f"{run.name} holds an earlier proof; name another --out, or delete that folder")
    return run


def run_command(options: argparse.Namespace) -> None:
    """Run one configuration; RunError, and an event that says why, when it can't go on."""
    execute(options.config, options.folder, base=options.base)


def execute(config_file: Path, folder: Path, *, base: Path | None = None) -> EndReason:
    """Train as the file says into the folder; gives why the run ended.

    base: where relative paths start. By default the folder of the file; when that is the run's own copy,
    the folder that the run was begun from.
    """
    try:
        text = config_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{config_file.name} can't be read as text ({error}); check its path") from error
    config = parsed(text, config_file.name)
    writer = RunWriter(folder, config, text)
    start = base or paths_from(folder, config_file)
    if several.is_main():
        keep_paths_from(folder, start)
    several.join(cpu=config.device == "cpu")
    if several.process_count() == 1:
        note(f"on several GPUs: {several.launch_line(config_file.name, folder.name)}")
    reason = _worked(writer, start)
    several.leave()
    note(f"run ended: {reason}")
    return reason


def _worked(writer: RunWriter, start: Path) -> EndReason:
    """Train; what went wrong is told as RunError and in the run's events, if the disk still takes them."""
    try:
        return runner(writer.config.recipe)(writer, start)
    except MedReasonError as error:
        _note_failure(writer, str(error))
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        words = remedy(error)
        if not words:
            raise
        _note_failure(writer, words)
        raise RunError(words) from error


def remedy(error: Exception) -> str:
    """What ran out and what to do, in words; "" for any other error."""
    if isinstance(error, OSError):
        return _DISK if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return _MEMORY if short or "allocate memory" in str(error) else ""


def _note_failure(writer: RunWriter, words: str) -> None:
    with suppress(OSError):
        writer.end(writer.last_step, "failed", {}, words)


def parsed(text: str, name: str) -> Any:
    """A configuration from its text."""
    import tomllib

    try:
        return run_config(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{name} can't be read as TOML ({error}); correct the file") from error


def runner(recipe: RecipeName) -> Runner:
    """The function that runs a recipe; RunError when a library that it needs is not installed."""
    found: Runner = _function(RUNNERS[recipe])
    return found


def _function(where: str) -> Any:
    module, _, name = where.partition(":")
    try:
        return getattr(import_module(f"{__package__}.{module}"), name)
    except ImportError as error:
        raise RunError(
            f"{module.replace('_', ' ')} needs a package that is not installed ({error.name}); install "
            "napari-medreason[train]"
        ) from error
