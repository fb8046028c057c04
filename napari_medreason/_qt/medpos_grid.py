"""The table widget of the MedPos dock, and the completion of names in it."""

from __future__ import annotations

from functools import cache
from typing import Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCompleter,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QTableView,
    QWidget,
)

from napari_medreason._qt.medpos_model import NAME, RegionFilter, RegionModel
from napari_medreason._qt.medpos_rows import Key
from napari_medreason.core.anatomy import structures

_WIDTHS = (54, 84, 44, 164, 190, 84, 44, 110)
_ROW_HEIGHT = 22


class RegionGrid(QTableView):
    """Regions as rows; keys are (label, slice, part).

    jump_wanted(key): the user clicked a row or pressed Enter on it. row_chosen(): another row is the current
    one, also by the arrow keys.
    """

    jump_wanted = Signal(object)
    row_chosen = Signal()

    def __init__(self, model: RegionModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.regions = model
        self.filter = RegionFilter(model)
        self.setModel(self.filter)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.setItemDelegateForColumn(NAME, _NameDelegate(self))
        self.setWordWrap(False)
        self.setMinimumHeight(140)
        self._set_headers()
        self.clicked.connect(self._on_clicked)
        self.activated.connect(self._on_clicked)

    def _set_headers(self) -> None:
        across, down = self.horizontalHeader(), self.verticalHeader()
        if across is None or down is None:
            return
        across.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        across.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        across.setHighlightSections(False)
        down.hide()
        down.setDefaultSectionSize(_ROW_HEIGHT)
        self.setSortingEnabled(True)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)

    def currentChanged(self, current: QModelIndex, previous: QModelIndex) -> None:
        super().currentChanged(current, previous)
        if current.row() != previous.row() or current.isValid() != previous.isValid():
            self.row_chosen.emit()

    def _on_clicked(self, index: QModelIndex) -> None:
        if self.state() != QAbstractItemView.State.EditingState:
            self.jump_wanted.emit(self._key(index))

    def _key(self, index: QModelIndex) -> Key:
        return self.regions.rows[self.filter.mapToSource(index).row()].key

    @property
    def current(self) -> Key | None:
        """Key of the chosen row."""
        index = self.currentIndex()
        return self._key(index) if index.isValid() else None

    @property
    def selected_labels(self) -> tuple[int, ...]:
        """The labels of all selected rows."""
        selection = self.selectionModel()
        rows = selection.selectedRows() if selection is not None else []
        return tuple(sorted({self._key(index)[0] for index in rows}))

    def choose(self, key: Key) -> None:
        """Make a row the chosen one, if it is in the table and not filtered out."""
        place, selection = self.regions.place(key), self.selectionModel()
        if place is None or selection is None:
            return
        index = self.filter.mapFromSource(self.regions.index(place, 0))
        if index.isValid():
            flags = QItemSelectionModel.SelectionFlag
            selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)


class _NameDelegate(QStyledItemDelegate):
    """Edits a name with the words of the vocabulary."""

    def createEditor(self, parent: QWidget | None, option: Any, index: QModelIndex) -> QWidget:
        editor = QLineEdit(parent)
        editor.setCompleter(completer(editor))
        return editor


@cache
def vocabulary_names() -> tuple[str, ...]:
    """What a label can be called: every structure, and both sides of the paired ones."""
    names = []
    for item in structures().values():
        names.append(item.name)
        if item.paired:
            names += [f"left {item.name}", f"right {item.name}"]
    return tuple(sorted(dict.fromkeys(names)))


def completer(parent: QWidget) -> QCompleter:
    """Completes names of the vocabulary from any part of them."""
    made = QCompleter(list(vocabulary_names()), parent)
    made.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    made.setFilterMode(Qt.MatchFlag.MatchContains)
    return made
