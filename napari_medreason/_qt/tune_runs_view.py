"""The widgets of the Runs page; no rules here."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_compare_view import CompareView
from napari_medreason._qt.tune_curves import CurvesView
from napari_medreason._qt.tune_log import LogView, plain_lines
from napari_medreason._qt.tune_runs_reading import ListedRun, RunReport
from napari_medreason._qt.tune_runs_table import RunsTable
from napari_medreason._qt.tune_runs_words import can_resume, duration_words, end_words, left_words
from napari_medreason._qt.tune_samples import SamplesView

NO_RUNS = "No run yet. Start one on the page “New run”, or open the folder of a run that lies elsewhere."
CHOOSE = "Choose a run to see how it does."
_LONGEST_LINE = 200


class RunsView(QWidget):
    """Emits what the user wants; shows what it is told."""

    chosen = Signal(object)
    stop_wanted = Signal()
    resume_wanted = Signal()
    delete_wanted = Signal()
    folder_wanted = Signal()
    other_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = RunsTable(self)
        self._make_table()
        self._make_buttons()
        self.progress = QProgressBar(self)
        self.progress.setMaximumHeight(8)
        self.progress.setTextVisible(False)
        self.status = text_label(self, CHOOSE, low=True)
        self.notes = text_label(self, low=True)
        self.curves, self.samples, self.log = CurvesView(self), SamplesView(self), LogView(self)
        self.tabs = QTabWidget(self)
        self.compare = CompareView(self)
        for page, title in ((self.curves, "Curves"), (self.samples, "Samples"), (self.log, "Log")):
            self.tabs.addTab(page, title)
        self.tabs.addTab(self.compare, "Before and after")
        self._lay_out()
        self.show_report(None)

    def _make_table(self) -> None:
        self.table = QTableView(self)
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setWordWrap(False)
        self.table.setMinimumHeight(96)
        if (rows := self.table.verticalHeader()) is not None:
            rows.hide()
            rows.setDefaultSectionSize(self.table.fontMetrics().height() + 6)
        if (columns := self.table.horizontalHeader()) is not None:
            columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            columns.setMinimumSectionSize(36)
        if (selection := self.table.selectionModel()) is not None:
            selection.selectionChanged.connect(lambda *_: self.chosen.emit(self.folder))

    def _make_buttons(self) -> None:
        self.stop_button = QPushButton("Stop", self)
        self.stop_button.setToolTip("End it after the step in hand; it writes a checkpoint and what it made")
        self.resume_button = QPushButton("Resume", self)
        self.resume_button.setToolTip("Go on from the last checkpoint")
        self.more_button = QPushButton("More", self)
        menu = QMenu(self)
        self.folder_action, self.delete_action = QAction("Show its folder", self), QAction("Delete…", self)
        self.folder_action.triggered.connect(lambda: self.folder_wanted.emit())
        self.delete_action.triggered.connect(lambda: self.delete_wanted.emit())
        menu.addActions([self.folder_action, self.delete_action])
        menu.addSeparator()
        menu.addAction("Follow a run that lies elsewhere…", self._choose_other)
        self.more_button.setMenu(menu)
        self.stop_button.clicked.connect(self.stop_wanted)
        self.resume_button.clicked.connect(self.resume_wanted)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(5)
        layout.addWidget(self.table, 1)
        layout.addLayout(side_by_side((self.stop_button, 1), (self.resume_button, 1), (self.more_button, 1)))
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        layout.addWidget(self.notes)
        layout.addWidget(self.tabs, 3)

    def _choose_other(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of a run"):
            self.other_wanted.emit(Path(folder))

    @property
    def folder(self) -> Path | None:
        """Folder of the chosen run."""
        selection = self.table.selectionModel()
        rows = selection.selectedRows() if selection is not None else []
        return self.model.runs[rows[0].row()].folder if rows else None

    def show_runs(self, runs: tuple[ListedRun, ...], chosen: Path | None) -> None:
        """Show the list, with one run chosen."""
        self.model.set_runs(runs)
        row = self.model.row_of(chosen)
        if row >= 0 and self.folder != chosen:
            self.table.selectRow(row)
        if not runs:
            self.status.setText(NO_RUNS)
        elif self.folder is None:
            self.status.setText(CHOOSE)

    def show_report(self, report: RunReport | None) -> None:
        """Show how the chosen run stands, and what can be done with it; None when none is chosen."""
        run = None if report is None else report.run.summary
        self.stop_button.setEnabled(report is not None and report.run.running and not report.run.stopping)
        self.resume_button.setEnabled(run is not None and can_resume(run))
        fresh = run is not None and can_resume(run) and not run.resumable
        self.resume_button.setText("Start again" if fresh else "Resume")
        self.delete_action.setEnabled(run is not None and run.state != "running")
        self.folder_action.setEnabled(run is not None)
        self.progress.setVisible(report is not None and report.run.running)
        if report is None or run is None:
            self._show_nothing()
            return
        self._show_progress(report)
        words = "\n".join(notes(report))
        self.notes.setText(words)
        self.notes.setVisible(bool(words))
        if report.curves is not None:
            self.curves.set_curves(report.curves)
        self.samples.set_steps(report.sample_steps)
        self.log.show_log(report.log)

    def _show_nothing(self) -> None:
        self.notes.hide()
        self.curves.clear()
        self.samples.clear()
        self.log.show_log("")

    def _show_progress(self, report: RunReport) -> None:
        run, total = report.run.summary, report.total_steps
        self.progress.setRange(0, total if run.step else 0)
        self.progress.setValue(min(run.step, total))
        self.status.setText(status_words(report))

    def confirm(self, words: str) -> bool:
        """Ask the user before something lasting."""
        answer = QMessageBox.question(self, "Fine-tuning", words)
        return bool(answer == QMessageBox.StandardButton.Yes)


def status_words(report: RunReport) -> str:
    """One line: name, step of how many, time, time left, or why it ended."""
    run = report.run.summary
    if not report.run.running:
        told = report.end if run.state == "ended" else last_line(report.log)
        return f"{run.name}: {end_words(run, told)}"
    if report.run.stopping:
        return f"{run.name}: ends after the step in hand, then writes what it made."
    if not run.step:
        return f"{run.name}: reading the records and getting ready …"
    of = f" of {report.total_steps}" if report.total_steps else ""
    parts = [f"step {run.step}{of}", duration_words(run.seconds), left_words(report.seconds_left)]
    return f"{run.name}: {', '.join(part for part in parts if part)}"


def last_line(log: str) -> str:
    """The last line of a log that is not empty, shortened."""
    lines = plain_lines(log).splitlines()
    return lines[-1].strip()[:_LONGEST_LINE] if lines else ""


def notes(report: RunReport) -> list[str]:
    """What the user should know beside the state, a line each."""
    return [f"Note: {words}." for words in report.warnings]
