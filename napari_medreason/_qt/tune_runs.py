"""The page Runs of the Fine-tune dock: runs are listed, followed, stopped, resumed, deleted and judged.

Run folders are read off the GUI thread, every second while the page is shown.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.theme import get_theme
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medreason import jobs
from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.tune_compare import Comparing
from napari_medreason._qt.tune_compare_judging import Judging
from napari_medreason._qt.tune_runs_acting import RunActions
from napari_medreason._qt.tune_runs_files import delete_words
from napari_medreason._qt.tune_runs_reading import (
    FollowedRun,
    ListedRun,
    RunReport,
    SampleAnswer,
    read_list,
    read_samples,
)
from napari_medreason._qt.tune_runs_view import RunsView
from napari_medreason._qt.tune_runs_words import state_words
from napari_medreason.core.run_folder import sample_folder
from napari_medreason.errors import MedReasonError, RunError

REFRESH_MILLISECONDS = 1000
HIDDEN_TICKS = 10
"""How many times more seldom the list is read while nobody looks at it."""
RESTS = 20
"""How many times longer than it takes to read the list it is left alone, so that many runs cost little."""


class RunsPage(QWidget):
    """Follows runs, also those that were started earlier or by the command line.

    engine: a bridge of one's own, for tests; otherwise the one that all docks share.
    accepted(model_id): an adapter can now be asked.
    """

    accepted = Signal(str)

    def __init__(self, viewer: Viewer, parent: QWidget | None = None, *, engine: Any = None) -> None:
        super().__init__(parent)
        self._viewer, self._closed = viewer, False
        self._others: list[Path] = []
        self._wanted: Path | None = None
        self._working: set[Path] = set()
        self._told: set[str] = set()
        self._ticks, self._listed, self._listing_seconds = 0, 0.0, 0.0
        self._again = False
        self._followed: FollowedRun | None = None
        self._listing, self._following, self._looking = (Background(self) for _ in range(3))
        self._actions = RunActions()
        self.view = RunsView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.comparing = Comparing(self.view.compare, viewer, report=notify.report, engine=engine)
        self._judging = Judging(self.view.compare, notify.report)
        self._connect()
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MILLISECONDS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        self.refresh()

    def _connect(self) -> None:
        view = self.view
        view.chosen.connect(self._choose)
        view.stop_wanted.connect(self.stop)
        view.resume_wanted.connect(self.resume)
        view.delete_wanted.connect(self.delete)
        view.folder_wanted.connect(self._open_folder)
        view.other_wanted.connect(self.show_run)
        self._actions.acted.connect(self.refresh)
        view.samples.wanted.connect(self._look_at_samples)
        self._judging.accepted.connect(self.accepted)
        self._judging.changed.connect(self.refresh)
        self._viewer.events.theme.connect(self._take_theme)
        self._take_theme()

    def _take_theme(self, _event: object = None) -> None:
        """Curves in the colours of the window."""
        theme = get_theme(self._viewer.theme)
        self.view.curves.set_theme(theme.background.as_hex(), theme.text.as_hex())

    @property
    def folder(self) -> Path | None:
        """The run that is followed."""
        return None if self._followed is None else self._followed.folder

    def refresh(self) -> None:
        """Read the list and the chosen run now."""
        if self._closed:
            return
        self._again = True
        self._listing.start(self._read_list, then=self._show_list, failed=self._tell_once)
        self._follow()

    def _tick(self) -> None:
        if self._closed:
            return
        self._ticks += 1
        seen = self.isVisible()
        rested = time.monotonic() - self._listed > RESTS * self._listing_seconds
        if not self._listing.busy and rested and (seen or self._ticks % HIDDEN_TICKS == 0):
            self._listing.start(self._read_list, then=self._show_list, failed=self._tell_once)
        if seen:
            self._follow()

    def _read_list(self, **_: object) -> tuple[ListedRun, ...]:
        began = time.monotonic()
        found = read_list(tuple(self._others))
        self._listed = time.monotonic()
        self._listing_seconds = self._listed - began
        return found

    def _show_list(self, found: tuple[ListedRun, ...]) -> None:
        runs = tuple(run for run in found if run.folder != self._actions.doomed)
        self._tell_ended(runs)
        if self._wanted is None and self._followed is None:
            self._wanted = next((run.folder for run in (*_working(runs), *runs)), None)
        wanted = self._wanted or self.folder
        self.view.show_runs(runs, wanted)
        if self.view.folder == self._wanted:
            self._wanted = None
        if self._followed is not None and self.view.folder is None:
            self._choose(None)

    def _tell_ended(self, runs: tuple[ListedRun, ...]) -> None:
        """Runs take long: their end is told wherever the user is by then."""
        for run in runs:
            if run.folder in self._working and not run.running:
                words = state_words(run.summary, stopping=False)
                notify.inform(f"The training run “{run.summary.name}” has ended: {words}.")
        self._working = {run.folder for run in _working(runs)}

    def show_run(self, folder: Path) -> None:
        """List and follow a run, wherever its folder lies."""
        try:
            jobs.summary(folder)
        except MedReasonError as error:
            notify.report(error)
            return
        if folder.resolve().parent != jobs.runs_root().resolve() and folder not in self._others:
            self._others.append(folder)
        self._wanted = folder
        self.refresh()

    def _choose(self, folder: Path | None) -> None:
        """Follow another run, from its first event."""
        if folder == self.folder:
            return
        self._following.cancel()
        self._followed = None if folder is None else FollowedRun(folder)
        self._show_report(None)
        self._follow()

    def _follow(self) -> None:
        """Read on; one reading at a time, for each goes on where the last one ended."""
        followed = self._followed
        if followed is not None and not self._following.busy:
            self._again = False
            self._following.start(
                lambda **_: followed.read(), then=partial(self._show, followed), failed=self._lost
            )

    def _show(self, followed: FollowedRun, report: RunReport) -> None:
        if followed is self._followed:
            self._show_report(report)
            if self._again:
                self._follow()

    def _show_report(self, report: RunReport | None) -> None:
        self.view.show_report(report)
        self._judging.set_run(report)
        self.comparing.set_run(report)

    def _tell_once(self, error: Exception) -> None:
        """A fault in reading comes again every second, but is news only once."""
        if str(error) not in self._told:
            self._told.add(str(error))
            notify.report(error)

    def _lost(self, error: Exception) -> None:
        """The chosen run is gone, as when its folder was deleted; the list says so by leaving it out."""
        self._followed = None
        self._show_report(None)
        if not isinstance(error, RunError):
            self._tell_once(error)

    def _look_at_samples(self, step: int) -> None:
        if self.folder is not None:
            self._looking.start(
                partial(_samples, sample_folder(self.folder, step)),
                then=partial(self.view.samples.show_samples, step),
                failed=notify.report,
            )

    def stop(self) -> None:
        """Ask the chosen run to end after the step in hand."""
        if self.folder is not None:
            self._actions.stop(self.folder)

    def resume(self) -> None:
        """Go on with the chosen run in a new process."""
        if self.folder is not None:
            self._actions.resume(self.folder)

    def delete(self) -> None:
        """Delete the chosen run, after the user has agreed."""
        folder = self.folder
        if folder is not None and self.view.confirm(delete_words(folder)) and self._actions.delete(folder):
            self._choose(None)

    def _open_folder(self) -> None:
        if self.folder is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.folder)))

    def event(self, event: QEvent | None) -> bool:
        """Read at once when the page comes into sight."""
        if event is not None and event.type() == QEvent.Type.Show and not self._closed:
            QTimer.singleShot(0, self._tick)
        return bool(super().event(event))

    def take_apart(self) -> None:
        """Stop following; the runs go on."""
        if self._closed:
            return
        self._closed = True
        self._timer.stop()
        self._viewer.events.theme.disconnect(self._take_theme)
        for work in (self._listing, self._following, self._looking):
            work.cancel()
        self.comparing.close()


def _working(runs: tuple[ListedRun, ...]) -> tuple[ListedRun, ...]:
    return tuple(run for run in runs if run.running)


def _samples(place: Path, **_: object) -> tuple[SampleAnswer, ...]:
    return read_samples(place)
