"""Deleting a run: what belongs to it and nothing else."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from napari_medreason import jobs
from napari_medreason._qt.tune_runs_reading import sample_steps
from napari_medreason.core.run_folder import (
    ADAPTER,
    BEST,
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    LAST,
    LOG,
    PLACE,
    PROCESS,
    RESULT,
    SAMPLES,
    STOP,
    sample_folder,
)
from napari_medreason.errors import RunError
from napari_medreason.jobs import STATE_FILE
from napari_medreason.models.adapter_card import CARD

_FILES = (EVENTS, RESULT, LOG, STOP, PLACE, PROCESS, ENVIRONMENT, "data.json", "comparison.json", CONFIG)
_CHECKPOINTS = (LAST, BEST)


def delete_words(folder: Path) -> str:
    """What the user is asked before a run is deleted."""
    words = f"Delete the run “{folder.name}” with its checkpoints, samples and the adapter in its folder?"
    if not _is_ours(folder):
        words += (
            f"\n\nIt lies in a folder of yours, {folder}. Only what a run writes is deleted there, {CONFIG} "
            "among it; other files stay."
        )
    return f"{words}\n\nAn adapter that you accepted stays."


def delete_run(folder: Path) -> tuple[str, ...]:
    """Delete a run; gives the names of what else lay in its folder, which stays.

    A run under the usual place is deleted with its whole folder; one elsewhere may lie among other files.
    RunError when it works, when the folder holds no run, or when something can't be deleted.
    """
    if jobs.summary(folder).state == "running":
        raise RunError(f"the run {folder.name} is working; stop it before you delete it")
    if folder.is_symlink():
        raise RunError(f"{folder.name} is a link to another folder; delete that one, or the link, by hand")
    try:
        return _delete(folder)
    except OSError as error:
        raise RunError(
            f"{folder.name} can't be deleted wholly ({error.strerror or error}); close programs that use it "
            "and try again"
        ) from error


def _delete(folder: Path) -> tuple[str, ...]:
    if _is_ours(folder):
        shutil.rmtree(folder)
        return ()
    for place in _own_folders(folder):
        shutil.rmtree(place)
    for name in _CHECKPOINTS:
        (folder / name / STATE_FILE).unlink(missing_ok=True)
    for name in (*_CHECKPOINTS, "checkpoints", SAMPLES):
        with suppress(OSError):  # what the user has put there stays
            (folder / name).rmdir()
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    left = tuple(sorted(entry.name for entry in folder.iterdir()))
    if not left:
        folder.rmdir()
    return left


def _is_ours(folder: Path) -> bool:
    """Whether it lies where runs lie by default, and so holds nothing but the run."""
    return folder.resolve().parent == jobs.runs_root().resolve()


def _own_folders(folder: Path) -> list[Path]:
    """Folders that a run has filled; users have folders named samples or adapter, too."""
    steps = () if (folder / SAMPLES).is_symlink() else sample_steps(folder)
    found = [sample_folder(folder, step) for step in steps]
    if (folder / ADAPTER / CARD).is_file():
        found.append(folder / ADAPTER)
    return [place for place in found if place.is_dir() and not place.is_symlink()]
