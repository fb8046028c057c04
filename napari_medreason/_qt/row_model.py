"""Base of the tables of the docks: rows in memory under named columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

NO_PARENT = QModelIndex()


class RowModel(QAbstractTableModel):
    """A table without a tree; what stands in a cell is told by `data`."""

    columns: Sequence[str] = ()

    def row_total(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def rowCount(self, parent: QModelIndex = NO_PARENT) -> int:
        return 0 if parent.isValid() else self.row_total()

    def columnCount(self, parent: QModelIndex = NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self.columns[section]
        return None
