"""The studies of a work list as a table model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QModelIndex, QObject, Qt
from qtpy.QtGui import QColor, QFont

from napari_medreason._qt.row_model import RowModel
from napari_medreason.worklist import Item

COLUMNS = ("Study", "State", "Certainty", "Reader", "2nd reading")
STATE_COLOURS = {
    "accepted": QColor(80, 170, 90),
    "rejected": QColor(210, 90, 80),
    "in progress": QColor(220, 170, 60),
    "pre-labelled": QColor(110, 160, 230),
    "skipped": QColor(150, 150, 150),
}


class ItemTable(RowModel):
    """One row per study, in the order given; the one that is open is in bold."""

    columns = COLUMNS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._items: list[Item] = []
        self._reasons: Mapping[str, str] = {}
        self._open = ""

    def set_items(self, items: Sequence[Item], reasons: Mapping[str, str]) -> None:
        """Show these studies; reasons: why each is proposed, by id."""
        same = [item.id for item in items] == self.ids
        if not same:
            self.beginResetModel()
        self._items, self._reasons = list(items), reasons
        if not same:
            self.endResetModel()
        else:
            self._redraw()

    def set_open(self, item_id: str) -> None:
        """Which study is in the viewer."""
        self._open = item_id
        self._redraw()

    def _redraw(self) -> None:
        if self._items:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._items) - 1, len(COLUMNS) - 1))

    @property
    def ids(self) -> list[str]:
        """Ids in the order of the rows."""
        return [item.id for item in self._items]

    def row_total(self) -> int:
        return len(self._items)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        item, column = self._items[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _words(item)[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip(item, self._reasons.get(item.id, ""))
        if role == Qt.ItemDataRole.ForegroundRole and column == "State":
            return STATE_COLOURS.get(item.state)
        if role == Qt.ItemDataRole.FontRole and item.id == self._open:
            font = QFont()
            font.setBold(True)
            return font
        return None


def _words(item: Item) -> dict[str, str]:
    second = item.second
    return {
        "Study": item.path,
        "State": "sent back" if item.sent_back else item.state,
        "Certainty": "" if item.confidence is None else f"{item.confidence:.0%}",
        "Reader": item.reader,
        "2nd reading": f"{second.verdict or 'begun'} ({second.reader})" if second else "",
    }


def tool_tip(item: Item, proposed: str) -> str:
    """What else is known about a study, one fact per line."""
    size = " × ".join(map(str, item.shape_kji)) if item.shape_kji else ""
    facts = [f"{item.path}", f"{item.modality} {size}".strip(), f"patient {item.patient[:8]}", proposed]
    if item.prelabel is not None:
        facts.append(f"pre-labelled by {item.prelabel.model}")
        facts += [doubt for label in item.prelabel.labels for doubt in label.doubts[:1]]
    if item.reason:
        facts.append(f"{item.state}: {item.reason}")
    facts += [f"{comment.author}: {comment.text}" for comment in item.comments[-3:]]
    return "\n".join(fact for fact in facts if fact)
