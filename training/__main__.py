"""`python -m napari_medreason_training`: train, export and evaluate; fuller help with --help."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_medreason.errors import MedReasonError

from .data.command import add_commands as add_dataset_commands
from .data.command import run as run_dataset_command
from .evaluation.command import add_commands as add_evaluation_commands
from .evaluation.command import run as run_evaluation
from .run_command import add_commands as add_run_commands
from .run_command import prove_command, run_command, several_command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m napari_medreason_training", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    embedded = commands.add_parser("embedded", help="train one expert of the embedded model, or go on")
    export = commands.add_parser("export-embedded", help="write the weights and description of a run")
    for command in (embedded, export):
        command.add_argument("config", type=Path, help="TOML file, see training/configs")
        command.add_argument("--run", type=Path, required=True, help="folder of the run; go on if it exists")
    export.add_argument("--out", type=Path, required=True, help="folder for the weights")
    evaluate = commands.add_parser("evaluate-embedded", help="measure weights on held-out real patients")
    evaluate.add_argument("--weights", type=Path, help="folder of the weights; those that ship by default")
    evaluate.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    evaluate.add_argument(
        "--pictures", type=Path, help="folder for sheets of pictures; keep real scans private"
    )
    evaluate.add_argument(
        "--before", action="append", default=[], help="also a training scan that these weights never saw"
    )
    evaluate.add_argument(
        "--only", choices=("real", "synthesised"), help="one kind of image; both by default"
    )
    drawn = commands.add_parser(
        "curves", help="draw the losses and scores of a run as SVG, now or again and again"
    )
    drawn.add_argument("run", type=Path, help="folder of the run")
    drawn.add_argument("--out", type=Path, help="SVG file; curves.svg in the run's folder by default")
    drawn.add_argument("--every", type=float, default=0.0, help="seconds between drawings; 0 draws once")
    compared = commands.add_parser("compare", help="networks of several runs on the same held-out scans")
    compared.add_argument(
        "--run", type=Path, nargs=2, action="append", required=True, metavar=("CONFIG", "RUN")
    )
    compared.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    compared.add_argument("--data", type=Path, required=True, help="holds labelled/ and conformance/")
    card = commands.add_parser("card-embedded", help="put figures into model card and descriptions")
    card.add_argument("figures", type=Path, nargs="+", help="JSON files of evaluate-embedded")
    flags = commands.add_parser("flags", help="how often the tests of an answer raise a flag")
    flags.add_argument("--weights", type=Path, help="folder of the weights; those that ship by default")
    flags.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    flags.add_argument("--step", type=int, default=1, help="take every so many of the planes")
    for command in (embedded, export, evaluate, flags):
        command.add_argument("--data", type=Path, required=True, help="holds labelled/ and conformance/")
    questions = commands.add_parser("questions", help="how often wordings of questions are understood")
    questions.add_argument("--count", type=int, default=100, help="wordings drawn for each structure")
    add_dataset_commands(commands)
    add_run_commands(commands)
    add_evaluation_commands(commands)
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
    _COMMANDS[options.command](options)


def _embedded(options: argparse.Namespace) -> None:
    from .config import read_config
    from .train_embedded import train

    train(read_config(options.config), options.run, options.data)


def _export(options: argparse.Namespace) -> None:
    from .config import read_config
    from .export_embedded import export

    export(read_config(options.config), options.run, options.data, options.out)


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluate_embedded import evaluate
    from .evaluation_cases import Origin

    every: tuple[Origin, ...] = ("real", "synthesised")
    origins = (options.only,) if options.only else every
    evaluate(
        options.data,
        options.out,
        weights=options.weights,
        before=tuple(options.before),
        origins=origins,
        pictures=options.pictures,
    )


def _flags(options: argparse.Namespace) -> None:
    from .evaluate_flags import evaluate_flags

    evaluate_flags(options.data, options.out, weights=options.weights, step=options.step)


def _compare(options: argparse.Namespace) -> None:
    from .compare_networks import compare

    compare([(config, run) for config, run in options.run], options.data, options.out)


def _curves(options: argparse.Namespace) -> None:
    from .curves import write_curves

    write_curves(options.run, options.out or options.run / "curves.svg")
    while options.every > 0:
        time.sleep(options.every)
        write_curves(options.run, options.out or options.run / "curves.svg")


def _card(options: argparse.Namespace) -> None:
    from .card import update_card

    update_card(options.figures)


def _questions(options: argparse.Namespace) -> None:
    from .question_rates import print_rates

    print_rates(options.count)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "dataset": run_dataset_command,
    "embedded": _embedded,
    "export-embedded": _export,
    "evaluate-embedded": _evaluate,
    "flags": _flags,
    "card-embedded": _card,
    "questions": _questions,
    "compare": _compare,
    "curves": _curves,
    "run": run_command,
    "prove": prove_command,
    "eval": run_evaluation,
    "several": several_command,
}


if __name__ == "__main__":
    sys.exit(main())
