"""The data check as the user sees it: a table of the splits, and what is wrong or doubtful."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import text_label
from napari_medreason._qt.tune_check import RunCheck, structure_words
from napari_medreason.core.record import SPLITS, Split
from napari_medreason.core.run_check import SplitCount

COLUMNS = ("Patients", "Slices", "Regions", "Records")
USES: dict[Split, str] = {"train": "Learn from", "validation": "Judge by", "test": "Compare on"}
"""What each split is for."""
DRAWN = "The patients were divided here, not as the records say."
OUTDATED = "{number} records are left out: later ones of the same study and structure are in the list."
CHECKING = "Checking the records …"


class CheckView(QWidget):
    """Shows a RunCheck, or why there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(len(SPLITS), len(COLUMNS), self)
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setVerticalHeaderLabels([USES[split] for split in SPLITS])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if (rows := self.table.verticalHeader()) is not None:
            rows.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        if (columns := self.table.horizontalHeader()) is not None:
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.structures, self.notes = text_label(self, low=True), text_label(self, low=True)
        self.faults, self.memory = text_label(self, low=True), text_label(self, low=True)
        self.faults.setObjectName("faults")
        self.faults.setStyleSheet("#faults { color: #e0604f; }")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        for label in (self.structures, self.faults, self.notes, self.memory):
            layout.addWidget(label)
        self.show_nothing("")

    def show_nothing(self, words: str, *, wrong: bool = False) -> None:
        """There is no check: why, or what is being done."""
        self.table.hide()
        for label in (self.structures, self.faults, self.notes, self.memory):
            _show(label, "")
        _show(self.faults if wrong else self.notes, words)

    def show_check(self, check: RunCheck) -> None:
        """Show what a check found."""
        for row, split in enumerate(SPLITS):
            for column, number in enumerate(_numbers(check.data.splits[split])):
                item = QTableWidgetItem(f"{number:,}")
                item.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
                self.table.setItem(row, column, item)
        self.table.show()
        self._fit_table()
        names = structure_words(check.data)
        _show(self.structures, f"Regions to learn from: {names}." if names else "")
        _show(self.faults, "\n".join(map(_sentence, check.faults)))
        notes = [DRAWN] if check.prepared.drawn else []
        if check.prepared.outdated:
            notes.append(OUTDATED.format(number=check.prepared.outdated))
        _show(self.notes, "\n".join([*notes, *map(_sentence, check.data.warnings)]))
        _show(self.memory, _sentence(check.memory) if check.memory else "")

    def _fit_table(self) -> None:
        head, rows = self.table.horizontalHeader(), self.table.verticalHeader()
        if head is not None and rows is not None:
            self.table.setFixedHeight(head.sizeHint().height() + rows.length() + 2 * self.table.frameWidth())


def _numbers(count: SplitCount) -> tuple[int, ...]:
    return count.patients, count.slices, count.regions, count.records


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _show(label: QWidget, words: str) -> None:
    label.setText(words)  # type: ignore[attr-defined]
    label.setVisible(bool(words))
