"""The page Runs of the Fine-tune dock: runs are listed, followed, stopped, resumed, deleted and judged.

Run folders are read off the GUI thread, every second while the page is shown.
"""

from __future__ import annotations

from collections.abc import Callable
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
from napari_medreason._qt.tune_runs_files import delete_run
from napari_medreason._qt.tune_runs_reading import (
    FollowedRun,
    ListedRun,
    RunReport,
    SampleAnswer,
    read_list,
    read_samples,
)
from napari_medreason._qt.tune_runs_view import RunsView
from napari_medreason.core.run_folder import CONFIG, sample_folder
from napari_medreason.errors import MedReasonError, RunError

REFRESH_MILLISECONDS = 1000


def _nothing(_result: Any) -> None:
    """For work that gives nothing to tell."""


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
        self._doomed: Path | None = None
        """Being deleted, so not to be listed or opened."""
        self._again = False
        self._followed: FollowedRun | None = None
        self._listing, self._following, self._looking = (Background(self) for _ in range(3))
        self._acting = Background()
        """Never cancelled: what was begun is finished, and its fault is told, whatever closes."""
        self.view = RunsView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.comparing = Comparing(self.view.compare, viewer, report=notify.report, engine=engine)
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
        view.samples.wanted.connect(self._look_at_samples)
        self.comparing.accepted.connect(self.accepted)
        self.comparing.changed.connect(self.refresh)
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
        self._again = True
        self._listing.start(self._read_list, then=self._show_list, failed=notify.report)
        self._follow()

    def _tick(self) -> None:
        if self.isVisible():
            if not self._listing.busy:
                self._listing.start(self._read_list, then=self._show_list, failed=notify.report)
            self._follow()

    def _read_list(self, **_: object) -> tuple[ListedRun, ...]:
        return read_list(tuple(self._others))

    def _show_list(self, found: tuple[ListedRun, ...]) -> None:
        runs = tuple(run for run in found if run.folder != self._doomed)
        if self._wanted is None and self._followed is None:
            self._wanted = next((run.folder for run in (*_working(runs), *runs)), None)
        wanted = self._wanted or self.folder
        self.view.show_runs(runs, wanted)
        if self.view.folder == self._wanted:
            self._wanted = None
        if self._followed is not None and self.view.folder is None:
            self._choose(None)

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
        self.comparing.set_run(report)

    def _lost(self, error: Exception) -> None:
        """The chosen run is gone, as when its folder was deleted; the list says so by leaving it out."""
        self._followed = None
        self._show_report(None)
        if not isinstance(error, RunError):
            notify.report(error)

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
            self._act(partial(jobs.stop, self.folder))

    def resume(self) -> None:
        """Go on with the chosen run in a new process."""
        if self.folder is not None:
            self._act(partial(_resume, self.folder))

    def delete(self) -> None:
        """Delete the chosen run, after the user has agreed."""
        folder = self.folder
        if folder is None or not self.view.confirm(
            f"Delete the run “{folder.name}” with its checkpoints, samples and the adapter in its folder?\n\n"
            "An adapter that you accepted stays."
        ):
            return
        self._choose(None)
        self._doomed = folder
        self._act(partial(delete_run, folder), then=self._deleted)

    def _deleted(self, left: tuple[str, ...]) -> None:
        if left:
            notify.inform(f"The run is deleted; {', '.join(left)} did not belong to it and stays.")

    def _act(self, work: Callable[[], Any], then: Callable[[Any], None] = _nothing) -> None:
        """Do something with a run, then show how it stands."""
        self._acting.start(
            lambda **_: work(),
            then=lambda result: self._acted(partial(then, result)),
            failed=lambda error: self._acted(partial(notify.report, error)),
        )

    def _acted(self, tell: Callable[[], None]) -> None:
        tell()
        self._doomed = None
        if not self._closed:
            self.refresh()

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


def _resume(folder: Path) -> None:
    jobs.start((folder / CONFIG).read_text(encoding="utf-8"), folder)
