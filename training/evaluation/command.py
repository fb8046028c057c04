"""The command `eval` of `python -m napari_medreason_training`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add `eval` to the sub-commands of a parser."""
    command = commands.add_parser("eval", help="models on records: published and sound figures, compared")
    command.add_argument("config", type=Path, help="TOML file; docs/evaluation.md explains it")
    command.add_argument("--out", type=Path, help="folder for the results, else the configuration's `out`")
    command.add_argument("--resume", action="store_true", help="go on with the answers in that folder")


def run(options: argparse.Namespace) -> None:
    """Evaluate; when it is interrupted, what was answered is kept, and the exit code is 1."""
    from .evaluating import evaluate

    try:
        evaluate(options.config, options.out, resume=options.resume)
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("interrupted; the answers so far are kept, --resume goes on with them\n")
        raise SystemExit(1) from interrupt
