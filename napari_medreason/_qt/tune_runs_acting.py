"""What the user does to a run: stop, resume, delete; one thing at a time, off the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medreason import jobs
from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.tune_runs_files import delete_run
from napari_medreason.core.run_folder import CONFIG

Tell = Callable[[Any], None]
WAIT = "Wait for what is under way, then try again."


class RunActions(QObject):
    """acted(): something was done, or could not be done; the runs are to be shown anew.

    doomed: the run that is being deleted, not to be listed or opened meanwhile. It has no Qt parent: what
    was begun ends after the page was closed, too.
    """

    acted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.doomed: Path | None = None
        self._work = Background()

    def stop(self, folder: Path) -> None:
        """Ask a run to end after the step in hand."""
        self._do(partial(jobs.stop, folder))

    def resume(self, folder: Path) -> None:
        """Go on with a run in a new process."""
        self._do(partial(_resume, folder))

    def delete(self, folder: Path) -> bool:
        """Delete a run, and say whether that was begun; what did not belong to it stays and is told."""
        begun = self._do(partial(delete_run, folder), _tell_left)
        if begun:
            self.doomed = folder
        return begun

    def _do(self, work: Callable[[], Any], tell: Tell | None = None) -> bool:
        if self._work.busy:
            notify.inform(WAIT)
            return False
        self._work.start(
            lambda **_: work(), then=partial(self._done, tell), failed=partial(self._done, notify.report)
        )
        return True

    def _done(self, tell: Tell | None, outcome: Any) -> None:
        if tell is not None:
            tell(outcome)
        self.doomed = None
        self.acted.emit()


def _tell_left(left: tuple[str, ...]) -> None:
    if left:
        notify.inform(f"The run is deleted; {', '.join(left)} did not belong to it and stays.")


def _resume(folder: Path) -> None:
    jobs.start((folder / CONFIG).read_text(encoding="utf-8"), folder)
