"""The end of a run's log, as its process writes it."""

from __future__ import annotations

from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QPlainTextEdit, QWidget

EMPTY = "The log is empty: the run has had nothing to say yet."


class LogView(QPlainTextEdit):
    """Follows the end while the user looks at the end; stays where the user has scrolled to."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setPlaceholderText(EMPTY)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))

    def show_log(self, text: str) -> None:
        """Show the last lines."""
        lines = plain_lines(text)
        if lines == self.toPlainText():
            return
        bar = self.verticalScrollBar()
        place = 0 if bar is None else bar.value()
        at_end = bar is None or place >= bar.maximum() - 2
        self.setPlainText(lines)
        if bar is not None:
            bar.setValue(bar.maximum() if at_end else place)


def plain_lines(text: str) -> str:
    """A log without what progress bars leave behind: of a line that was written over, the last state."""
    return "\n".join(line.split("\r")[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip()
