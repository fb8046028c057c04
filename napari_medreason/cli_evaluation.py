"""`medreason eval`: models on records, with the papers' figures and sound ones, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_medreason.core.evaluation_config import read_evaluation_config


def evaluate(
    config: Annotated[Path, typer.Argument(help="TOML file; docs/evaluation.md explains it.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results, else the file's `out`.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the answers in the folder of results.")
    ] = False,
) -> None:
    """Evaluate and compare models on records, or score another program's answers."""
    read_evaluation_config(config)
    command = [sys.executable, "-m", "napari_medreason_training", "eval", str(config)]
    command += ["--out", str(out)] if out is not None else []
    code = _ended(subprocess.Popen([*command, *(["--resume"] if resume else [])]))
    if code:
        raise typer.Exit(code if code in (1, 2) else 1)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The process's exit code; Ctrl+C reaches it too, and it is given the time to end by itself."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
