"""The runs as a table: name, recipe, state, step, time, best value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QModelIndex, QObject, Qt

from napari_medreason._qt.row_model import RowModel
from napari_medreason._qt.tune_runs_reading import ListedRun
from napari_medreason._qt.tune_runs_words import duration_words, state_words

COLUMNS = ("Run", "Recipe", "State", "Step", "Time", "Best")
BEST_TIP = (
    "Best validation score of this recipe; not comparable between recipes, and not the Dice on held-out "
    "patients"
)


class RunsTable(RowModel):
    """One row per run."""

    columns = COLUMNS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runs: tuple[ListedRun, ...] = ()

    def set_runs(self, runs: Sequence[ListedRun]) -> None:
        """Show these; the same ones in the same order keep selection and scrolling."""
        same = [run.folder for run in runs] == [run.folder for run in self.runs]
        if not same:
            self.beginResetModel()
        self.runs = tuple(runs)
        if not same:
            self.endResetModel()
        elif runs:
            self.dataChanged.emit(self.index(0, 0), self.index(len(runs) - 1, len(COLUMNS) - 1))

    def row_of(self, folder: Path | None) -> int:
        """The row of a run, -1 when it is not listed."""
        rows = (row for row, run in enumerate(self.runs) if run.folder == folder)
        return next(rows, -1)

    def row_total(self) -> int:
        return len(self.runs)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        run = self.runs[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return cells(run)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return BEST_TIP if index.column() == COLUMNS.index("Best") else str(run.folder)
        return None


def cells(run: ListedRun) -> tuple[str, ...]:
    """What stands in the row of a run."""
    summary = run.summary
    return (
        summary.name,
        summary.recipe,
        state_words(summary, stopping=run.stopping),
        str(summary.step),
        duration_words(summary.seconds),
        "–" if run.best is None else f"{run.best:.3f}",
    )
