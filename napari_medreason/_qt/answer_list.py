"""The list of answers: a tick box shows or hides an answer, a click goes to it, arrow keys show its words."""

from __future__ import annotations

import html

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QMouseEvent, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

_ID = Qt.ItemDataRole.UserRole


class AnswerList(QListWidget):
    """Rows of two lines with a colour swatch; Delete removes the selected answer."""

    chosen = Signal(str)
    highlighted = Signal(str)
    visibility_changed = Signal(str, bool)
    delete_pressed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setIconSize(QSize(12, 12))
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._ticked = False
        self.itemClicked.connect(self._on_clicked)
        self.itemActivated.connect(self._on_clicked)
        self.itemChanged.connect(self._on_changed)
        self.currentItemChanged.connect(lambda *_: self.highlighted.emit(self.current_id))

    @property
    def current_id(self) -> str:
        """Id of the selected answer, empty for none."""
        item = self.currentItem()
        return "" if item is None else str(item.data(_ID))

    def put(self, answer_id: str, text: str, *, colour: tuple[float, float, float], can_hide: bool) -> None:
        """Add a row, or change the one that is there."""
        self.blockSignals(True)
        item = self._find(answer_id)
        if item is None:
            item = self._new(answer_id, colour, can_hide)
        item.setText(text)
        item.setToolTip(html.escape(text, quote=False).replace("\n", "<br>"))
        self.blockSignals(False)

    def _new(self, answer_id: str, colour: tuple[float, float, float], can_hide: bool) -> QListWidgetItem:
        item = QListWidgetItem(self)
        item.setData(_ID, answer_id)
        item.setIcon(_swatch(colour if can_hide else (0.5, 0.5, 0.5)))
        if can_hide:
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
        return item

    def remove(self, answer_id: str) -> None:
        """Take a row away."""
        item = self._find(answer_id)
        if item is not None:
            self.takeItem(self.row(item))

    def select(self, answer_id: str) -> None:
        """Make a row the current one, without telling that the user did."""
        self.blockSignals(True)
        self.setCurrentItem(self._find(answer_id))
        self.blockSignals(False)

    def _find(self, answer_id: str) -> QListWidgetItem | None:
        items = (self.item(row) for row in range(self.count()))
        return next((item for item in items if item is not None and item.data(_ID) == answer_id), None)

    def _on_clicked(self, item: QListWidgetItem) -> None:
        if not self._ticked:  # a click on the tick box is no wish to go there
            self.chosen.emit(item.data(_ID))

    def _on_changed(self, item: QListWidgetItem) -> None:
        self._ticked = True
        self.visibility_changed.emit(item.data(_ID), item.checkState() == Qt.CheckState.Checked)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        self._ticked = False
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        self._ticked = False
        if event is not None and event.key() == Qt.Key.Key_Delete and self.current_id:
            self.delete_pressed.emit(self.current_id)
            event.accept()
            return
        super().keyPressEvent(event)


def _swatch(colour: tuple[float, float, float]) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor.fromRgbF(*colour))
    return QIcon(pixmap)
