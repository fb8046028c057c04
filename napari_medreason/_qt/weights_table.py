"""The published weights as a table: what they are, and what of them is on the engine's machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QModelIndex, QObject, Qt

from napari_medreason._qt.row_model import RowModel
from napari_medreason.engine.protocol_weights import WeightsSummary
from napari_medreason.models.store import gigabytes

COLUMNS = ("Weights", "Part", "Here", "Memory", "Licence")
STATES = {
    "missing": "no",
    "partial": "in part",
    "installed": "yes",
    "own": "own folder",
    "faulty": "damaged",
}
"""States of models.store, in words."""


class WeightsTable(RowModel):
    """One row per entry of the catalogue."""

    columns = COLUMNS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[WeightsSummary] = []

    def set_weights(self, rows: Sequence[WeightsSummary]) -> None:
        """Show these; the same ones in the same order keep selection and scrolling."""
        same = [one.id for one in rows] == [one.id for one in self._rows]
        if not same:
            self.beginResetModel()
        self._rows = list(rows)
        if not same:
            self.endResetModel()
        elif rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(COLUMNS) - 1))

    def update(self, changed: WeightsSummary) -> None:
        """Show one entry anew."""
        self.set_weights([changed if one.id == changed.id else one for one in self._rows])

    def weights(self, row: int) -> WeightsSummary | None:
        """The entry of a row."""
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def row_total(self) -> int:
        return len(self._rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        one = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (one.title, one.kind, here_words(one), memory_words(one), one.licence or "unknown")[
                index.column()
            ]
        if role == Qt.ItemDataRole.ToolTipRole:
            return one.fault or one.consequence
        return None


def here_words(one: WeightsSummary) -> str:
    """Whether the weights are there, with the size of what is."""
    size = f", {gigabytes(one.bytes_here)}" if one.bytes_here and one.state != "own" else ""
    return STATES.get(one.state, one.state) + size


def memory_words(one: WeightsSummary) -> str:
    """Memory of the parameters in 16 and in 4 bits."""
    sizes = [gigabytes(one.memory[name]) for name in ("bf16", "4bit") if name in one.memory]
    return " / ".join(dict.fromkeys(sizes)) or "unknown"


def details(one: WeightsSummary) -> str:
    """Everything that a user should know before downloading or using them, a line each."""
    pinned = one.revision[:12] if one.revision else "not pinned: what comes is recorded at the first download"
    lines = [
        f"{one.title}: {one.licence or 'licence unknown'}; {one.consequence}".rstrip("; "),
        f"Images: {', '.join(one.modalities)}" if one.modalities else "",
        f"Revision: {pinned}" if one.downloadable else "No address is known: point to a folder of your own.",
        "An account that has accepted the terms is needed (log in with `hf auth login`)."
        if one.gated
        else "",
        f"Page: {one.page}" if one.page else "",
        f"Fault: {one.fault}" if one.fault else "",
    ]
    return "\n".join(line for line in lines if line)
