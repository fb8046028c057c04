"""`medreason train`: a run from a configuration, here or apart from this terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_medreason.core.run_folder import CONFIG, LAST
from napari_medreason.errors import RunError


def train(
    arguments: Annotated[
        list[str],
        typer.Argument(help="TOML file, after a recipe or alone; see docs/fine-tuning.md."),
    ],
    folder: Annotated[Path | None, typer.Option(help="Folder of the run; a new one by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this file.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it apart; it goes on when this terminal is closed.")
    ] = False,
) -> None:
    """Fine-tune a model on records: medreason train [RECIPE] CONFIG."""
    from napari_medreason import jobs

    config_file, text = _read(arguments)
    place = _place(config_file, text, folder, resume=resume)
    print(f"run folder: {place}", file=sys.stderr)
    if detach:
        number = jobs.start(text, place, base=config_file.absolute().parent)
        print(f"started as process {number}; a file named stop in that folder ends it", file=sys.stderr)
        return
    command = [sys.executable, "-m", "napari_medreason_training", "run", str(config_file)]
    code = subprocess.run([*command, "--folder", str(place)], check=False).returncode
    if code:
        raise typer.Exit(code if code in (1, 2) else 1)


def _read(arguments: list[str]) -> tuple[Path, str]:
    """The configuration file and its text; RunError when it is another recipe's than the one named."""
    from napari_medreason.jobs import parse_config

    if len(arguments) > 2:
        raise RunError("give one configuration, after the name of its recipe or alone")
    file = Path(arguments[-1])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{file.name} can't be read as text ({error}); check its path") from error
    config = parse_config(text, file.name)
    if len(arguments) == 2 and arguments[0] != config.recipe:
        raise RunError(
            f"{file.name} is of the recipe {config.recipe}, not {arguments[0]}; name that one or none"
        )
    return file, text


def _place(config_file: Path, text: str, folder: Path | None, *, resume: bool) -> Path:
    """The run's folder: a new one, or with `resume` the newest whose configuration is this one."""
    from napari_medreason import jobs

    own = Path(config_file).absolute().parent
    if resume:
        if folder is not None or (own / CONFIG) == config_file.absolute():
            return folder or own
        for run in jobs.list_runs():
            if (run.folder / CONFIG).read_text(encoding="utf-8") == text:
                return run.folder
        raise RunError(f"no run of {config_file.name} was found; start it without --resume, or name --folder")
    if folder is not None and (folder / LAST).exists():
        raise RunError(f"{folder.name} holds a run; add --resume to go on with it, or name a new folder")
    name = jobs.parse_config(text, config_file.name).name or config_file.stem
    return folder or jobs.new_run_folder(name)
