"""A text box for patterns: slots in colour, and completed from a list as soon as `{` is typed."""

from __future__ import annotations

import re

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import (
    QColor,
    QKeyEvent,
    QStandardItem,
    QStandardItemModel,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
)
from qtpy.QtWidgets import QCompleter, QPlainTextEdit, QWidget

from napari_medreason.core.template_slots import SLOTS, Slot

_OPEN_SLOT = re.compile(r"\{([a-z_]*)$")
_KEYS_OF_POPUP = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape, Qt.Key.Key_Tab, Qt.Key.Key_Backtab)
_SCROLL_BAR_PIXELS = 32
_SLOT_COLOUR, _FAULT_COLOUR = QColor(90, 160, 230), QColor(220, 90, 80)


class SlotEdit(QPlainTextEdit):
    """Typing `{` opens the list of slots; Enter or Tab takes one, with its closing brace."""

    def __init__(self, lines: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTabChangesFocus(True)
        self.setFixedHeight(self.fontMetrics().lineSpacing() * lines + 12)
        self.setStyleSheet("QPlainTextEdit { border: 1px solid palette(mid); border-radius: 2px; }")
        self._colours = _SlotColours(self.document())
        self.completer = QCompleter(_slot_model(self), self)
        self.completer.setWidget(self)
        self.completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.completer.setCompletionRole(Qt.ItemDataRole.UserRole)
        self.completer.activated[QModelIndex].connect(self._take)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        popup = self.completer.popup()
        if popup is not None and popup.isVisible() and event.key() in _KEYS_OF_POPUP:
            event.ignore()  # they are for the list
            return
        super().keyPressEvent(event)
        self._offer()

    def _offer(self) -> None:
        """Open, narrow or close the list, by the slot that is begun before the cursor."""
        popup, begun = self.completer.popup(), self._begun()
        if begun is None or popup is None:
            if popup is not None:
                popup.hide()
            return
        self.completer.setCompletionPrefix(begun)
        if not self.completer.completionCount():
            popup.hide()
            return
        if (offered := self.completer.completionModel()) is not None:
            popup.setCurrentIndex(offered.index(0, 0))
        place = self.cursorRect()
        place.setWidth(popup.sizeHintForColumn(0) + _SCROLL_BAR_PIXELS)
        self.completer.complete(place)

    def _begun(self) -> str | None:
        cursor = self.textCursor()
        before = cursor.block().text()[: cursor.positionInBlock()]
        found = _OPEN_SLOT.search(before)
        return found[1] if found else None

    def _take(self, index: QModelIndex) -> None:
        name, begun = str(index.data(Qt.ItemDataRole.UserRole)), self._begun()
        if begun is None:
            return
        cursor = self.textCursor()
        cursor.movePosition(QTextCursor.MoveOperation.Left, QTextCursor.MoveMode.KeepAnchor, len(begun))
        after = self.toPlainText()[self.textCursor().position() :]
        cursor.insertText(name if after.startswith("}") else name + "}")
        self.setTextCursor(cursor)


def _slot_model(parent: SlotEdit) -> QStandardItemModel:
    model = QStandardItemModel(parent)
    for slot in SLOTS.values():
        item = QStandardItem(f"{slot.name}: {slot.meaning}")
        item.setData(slot.name, Qt.ItemDataRole.UserRole)
        item.setToolTip(slot_help(slot))
        model.appendRow(item)
    return model


def slot_help(slot: Slot) -> str:
    """What a slot means, an example and where its words come from."""
    gives = f"\nIt gives the {slot.gives} away." if slot.gives else ""
    return f"{slot.meaning}\n“{slot.example}”, from the {slot.source}{gives}"


class _SlotColours(QSyntaxHighlighter):
    """Known slots in one colour, unknown ones and stray braces underlined."""

    _PARTS = re.compile(r"\{([a-z_]+)\}|[{}]")

    def highlightBlock(self, text: str | None) -> None:
        known, fault = QTextCharFormat(), QTextCharFormat()
        known.setForeground(_SLOT_COLOUR)
        fault.setUnderlineColor(_FAULT_COLOUR)
        fault.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        for part in self._PARTS.finditer(text or ""):
            look = known if part[1] in SLOTS else fault
            self.setFormat(part.start(), part.end() - part.start(), look)
