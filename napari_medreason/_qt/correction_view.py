"""The correction dock as the user sees it: list of studies, pages, status. No rules here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.correction_pages import CorrectPage, PreLabelPage
from napari_medreason._qt.correction_review_page import ReviewPage
from napari_medreason._qt.correction_table import COLUMNS, ItemTable
from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason.worklist import Item

ORDERS = {
    "all": "All studies, by name",
    "next": "To correct, least certain first",
    "second": "To read a second time",
}
NOTHING_OPEN = "No work list is open. “Work list” › “New…” makes one from a folder of studies."
_WIDTHS = {"Study": 112, "State": 92, "Certainty": 70, "Reader": 78, "2nd reading": 80}


class CorrectionView(QWidget):
    """Emits what the user wants; shows what it is told."""

    open_wanted = Signal(str)
    step_wanted = Signal(int)
    order_changed = Signal(str)
    reader_changed = Signal(str)
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = ItemTable(self)
        self.correct, self.pre_label, self.review = CorrectPage(self), PreLabelPage(self), ReviewPage(self)
        self._make_widgets()
        self._set_up_rows()
        self._lay_out()
        self._connect()
        self.show_idle()

    def _make_widgets(self) -> None:
        self.files_button = QPushButton("Work list", self)
        self.reader = QLineEdit(self)
        self.reader.setPlaceholderText("Your name or initials")
        self.reader.setToolTip("Who corrects; it stands beside everything you decide, and is remembered")
        self.order = QComboBox(self)
        self.order.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for key, words in ORDERS.items():
            self.order.addItem(words, key)
        self.rows = QTableView(self)
        self.counts = text_label(self, low=True)
        self.previous_button, self.next_button = QPushButton("◀ Previous", self), QPushButton("Next ▶", self)
        self.open_button = QPushButton("Open", self)
        self.open_button.setToolTip("Open the selected study (double-click)")
        self.next_button.setToolTip("Save, and open the next study of the list as it is ordered")
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(6)
        self.cancel_button = QPushButton("Cancel", self)
        self.status = text_label(self, low=True)
        self.saved = QLabel(self)

    def _set_up_rows(self) -> None:
        rows = self.rows
        rows.setModel(self.table)
        rows.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        rows.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        rows.setShowGrid(False)
        rows.setWordWrap(False)
        if (upright := rows.verticalHeader()) is not None:
            upright.hide()
            upright.setDefaultSectionSize(rows.fontMetrics().height() + 6)
        for column, name in enumerate(COLUMNS):
            rows.setColumnWidth(column, _WIDTHS.get(name, 120))
        if (across := rows.horizontalHeader()) is not None:
            across.setStretchLastSection(True)
            across.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)

    def _lay_out(self) -> None:
        pages = self.pages = QTabWidget(self)
        pages.addTab(self.correct, "Correct")
        pages.addTab(self.pre_label, "Pre-label")
        pages.addTab(self.review, "Second reading")
        splitter = QSplitter(Qt.Orientation.Vertical, self)
        splitter.addWidget(self._upper())
        splitter.addWidget(pages)
        splitter.setChildrenCollapsible(False)
        splitter.setStretchFactor(0, 2)
        splitter.setStretchFactor(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(side_by_side((self.files_button, 0), (QLabel("Reader", self), 0), (self.reader, 1)))
        layout.addWidget(splitter, 1)
        layout.addLayout(side_by_side((self.progress, 1), (self.cancel_button, 0)))
        layout.addLayout(side_by_side((self.status, 1), (self.saved, 0)))
        self.setMinimumWidth(400)

    def _upper(self) -> QWidget:
        upper = QWidget(self)
        layout = QVBoxLayout(upper)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.order)
        layout.addWidget(self.rows, 1)
        layout.addWidget(self.counts)
        layout.addLayout(
            side_by_side((self.previous_button, 1), (self.open_button, 1), (self.next_button, 1))
        )
        return upper

    def _connect(self) -> None:
        self.rows.doubleClicked.connect(self._on_row)
        self.open_button.clicked.connect(lambda: self._on_row(self.rows.currentIndex()))
        self.previous_button.clicked.connect(lambda: self.step_wanted.emit(-1))
        self.next_button.clicked.connect(lambda: self.step_wanted.emit(1))
        self.order.currentIndexChanged.connect(lambda _: self.order_changed.emit(self.order_key))
        self.reader.editingFinished.connect(lambda: self.reader_changed.emit(self.reader.text()))
        self.cancel_button.clicked.connect(self.cancelled)

    def _on_row(self, index: QModelIndex) -> None:
        if index.isValid():
            self.open_wanted.emit(self.table.ids[index.row()])

    @property
    def order_key(self) -> str:
        """Key of the chosen order in ORDERS."""
        return str(self.order.currentData())

    def show_items(self, items: Sequence[Item], reasons: Mapping[str, str], counts: str) -> None:
        """Fill the list; counts: one line below it."""
        self.table.set_items(items, reasons)
        self.counts.setText(counts)
        for button in (self.previous_button, self.open_button, self.next_button):
            button.setEnabled(bool(items))

    def show_open(self, item_id: str) -> None:
        """Mark the study that is in the viewer."""
        self.table.set_open(item_id)
        if item_id in self.table.ids:
            self.rows.selectRow(self.table.ids.index(item_id))

    def show_progress(self, done: int, total: int) -> None:
        """How far the work in the background is; total 0 when it is not known."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.show()
        self.cancel_button.show()

    def show_idle(self) -> None:
        """Nothing is under way any more."""
        self.progress.hide()
        self.cancel_button.hide()

    def say(self, words: str) -> None:
        """One line at the bottom."""
        self.status.setText(words)

    def show_saved(self, words: str) -> None:
        """Whether everything drawn is on the disk."""
        self.saved.setText(words)
