"""The MedPos table as Qt models: regions, and their order and choice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor

from napari_medreason import layers
from napari_medreason._qt.medpos_rows import NONE, Key, RegionRow

HEADERS = ("Label", "Name", "Slice", "In the image", "In the patient", "Area", "Parts", "Box x, y")
NAME, SLICE = HEADERS.index("Name"), HEADERS.index("Slice")
_HINTS = (
    "Value in the label map",
    "Double-click to name the label; the same name for all its rows",
    "0-based, along the voxels as they are stored, as on the command line",
    "MedPos words: the place in the image as it is shown the radiological way up",
    "Side of the patient, third of the depth, third of the visible height; ↔ reaches across the midline",
    "On this slice",
    "Separate parts on this slice",
    "Columns and rows of the box in pixels, the last one not included",
)
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_NUMBERS = {HEADERS.index(header) for header in ("Label", "Slice", "Area", "Parts")}
SORT = Qt.ItemDataRole.UserRole
_MANY = 200
"""More changed rows than this are shown by starting anew: faster than one by one."""

_NOWHERE = QModelIndex()


class RegionModel(QAbstractTableModel):
    """Regions as rows, sorted by label, slice and part; only names can be edited.

    named(label, name): the user named a label in the table.
    """

    named = Signal(object, str)

    def __init__(self, colour_of: Callable[[int], QColor], parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[RegionRow] = []
        self._names: Mapping[int, str] = {}
        self._shown_names: dict[int, str] = {}
        self._colour_of = cache(colour_of)
        self._cells: tuple[Callable[[RegionRow], Any], ...] = (
            lambda row: str(row.label),
            lambda row: self.name(row.label) or NONE,
            lambda row: str(row.slice),
            lambda row: row.position,
            lambda row: row.patient,
            lambda row: row.area,
            lambda row: str(row.parts),
            lambda row: "{0}–{2}, {1}–{3}".format(*row.box),
        )
        self._keys: tuple[Callable[[RegionRow], Any], ...] = (
            lambda row: row.label,
            lambda row: self.name(row.label).lower() or "\uffff",
            lambda row: row.slice,
            lambda row: row.position,
            lambda row: row.patient,
            lambda row: row.area_px,
            lambda row: row.parts,
            lambda row: row.box[0],
        )

    def name(self, label: int) -> str:
        """The name of a label as it is shown, "" without one."""
        return self._shown_names.get(label, "")

    def set_names(self, names: Mapping[int, str]) -> None:
        """Show these names, by label."""
        self._names = dict(names)
        self._shown_names = {label: layers.full_name(name) for label, name in names.items()}
        if self.rows:
            self.dataChanged.emit(self.index(0, NAME), self.index(len(self.rows) - 1, NAME))

    def forget_colours(self) -> None:
        """Ask for the colours of all labels again."""
        self._colour_of.cache_clear()

    def set_rows(self, rows: Sequence[RegionRow]) -> None:
        """Show these rows instead of the former ones."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def replace_slices(self, slices: Collection[int], fresh: Sequence[RegionRow]) -> None:
        """Show `fresh` instead of all rows on some slices; rows that stay are left where they are."""
        old = [row for row in self.rows if row.slice in slices]
        if len(old) + len(fresh) > _MANY:
            self.set_rows(sorted([row for row in self.rows if row.slice not in slices] + [*fresh]))
            return
        by_key = {row.key: row for row in fresh}
        for row in reversed(old):
            place = self._place(row.key)
            if row.key not in by_key:
                self._remove(place)
            elif by_key[row.key] != row:
                self.rows[place] = by_key[row.key]
                self.dataChanged.emit(self.index(place, 0), self.index(place, len(HEADERS) - 1))
        known = {row.key for row in old}
        for row in fresh:
            if row.key not in known:
                self._insert(row)

    def _place(self, key: Key) -> int:
        return bisect_left(self.rows, key)  # a key sorts before the row that begins with it

    def _remove(self, place: int) -> None:
        self.beginRemoveRows(_NOWHERE, place, place)
        del self.rows[place]
        self.endRemoveRows()

    def _insert(self, row: RegionRow) -> None:
        place = self._place(row.key)
        self.beginInsertRows(_NOWHERE, place, place)
        self.rows.insert(place, row)
        self.endInsertRows()

    def place(self, key: Key) -> int | None:
        """Where the row with a key is; None when there is none."""
        place = self._place(key)
        return place if place < len(self.rows) and self.rows[place].key == key else None

    def text(self, place: int) -> str:
        """All words of a row, for the filter."""
        return " ".join(cell(self.rows[place]) for cell in self._cells[:5]).lower()

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(HEADERS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return _HINTS[section]
        return HEADERS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._cells[column](row)
        if role == SORT:
            return self._keys[column](row)
        if role == Qt.ItemDataRole.EditRole:
            return self._names.get(row.label, "")
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return self._colour_of(row.label)
        if role == Qt.ItemDataRole.TextAlignmentRole and column in _NUMBERS:
            return _RIGHT
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{self._cells[column](row)}\n{_HINTS[column]}"
        return None

    def flags(self, index: QModelIndex) -> Any:
        usual = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return usual | Qt.ItemFlag.ItemIsEditable if index.column() == NAME else usual

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        label = self.rows[index.row()].label
        if role != Qt.ItemDataRole.EditRole or str(value).strip() == self._names.get(label, ""):
            return False
        self.named.emit(label, str(value).strip())
        return True


class RegionFilter(QSortFilterProxyModel):
    """Rows that hold all the words that the user typed, and, if wished, only those of one slice."""

    def __init__(self, model: RegionModel) -> None:
        super().__init__(model)
        self._model = model
        self._words: tuple[str, ...] = ()
        self._slice: int | None = None
        self.setSortRole(SORT)
        self.setDynamicSortFilter(True)
        self.setSourceModel(model)

    def choose(self, words: str, only_slice: int | None) -> None:
        """Keep rows with all of these words; of one slice, when it is given."""
        wanted = tuple(words.lower().split()), only_slice
        if wanted != (self._words, self._slice):
            self._words, self._slice = wanted
            self.invalidateFilter()

    def filterAcceptsRow(self, source_row: int, source_parent: QModelIndex) -> bool:
        if self._slice is not None and self._model.rows[source_row].slice != self._slice:
            return False
        if not self._words:
            return True
        text = self._model.text(source_row)
        return all(word in text for word in self._words)
