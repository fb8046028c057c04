"""Deleting a run: what belongs to it and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_medreason import jobs
from napari_medreason.core.run_folder import (
    ADAPTER,
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    LOG,
    PLACE,
    PROCESS,
    RESULT,
    SAMPLES,
    STOP,
)
from napari_medreason.errors import RunError

_FILES = (EVENTS, RESULT, LOG, STOP, PLACE, PROCESS, ENVIRONMENT, "data.json", "comparison.json", CONFIG)
_FOLDERS = ("checkpoints", SAMPLES, ADAPTER)


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
    if folder.resolve().parent == jobs.runs_root().resolve():
        shutil.rmtree(folder)
        return ()
    for name in _FOLDERS:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    left = tuple(sorted(entry.name for entry in folder.iterdir()))
    if not left:
        folder.rmdir()
    return left
