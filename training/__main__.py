"""`python -m napari_medreason_training`: train, export and evaluate; fuller help with --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_medreason.errors import MedReasonError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m napari_medreason_training", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    embedded = commands.add_parser("embedded", help="train one expert of the embedded model, or go on")
    embedded.add_argument("config", type=Path, help="TOML file, see training/configs")
    embedded.add_argument("--run", type=Path, required=True, help="folder of the run; go on if it exists")
    embedded.add_argument("--data", type=Path, required=True, help="folder with labelled/ and conformance/")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 2 the input is at fault."""
    options = parser().parse_args(arguments)
    try:
        _run(options)
    except MedReasonError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    from .config import read_config
    from .train_embedded import train

    train(read_config(options.config), options.run, options.data)


if __name__ == "__main__":
    sys.exit(main())
