"""The line where questions are typed, with the questions asked before under the arrow keys."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QLineEdit, QWidget


class QuestionBox(QLineEdit):
    """Enter asks; Up and Down walk through earlier questions and back to what was being typed."""

    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._earlier: list[str] = []
        self._position = 0
        self._draft = ""
        self.returnPressed.connect(lambda: self.asked.emit(self.text()))

    def remember(self, question: str) -> None:
        """Keep a question for the arrow keys, the newest last and once only."""
        if question.strip():
            self._earlier = [text for text in self._earlier if text != question] + [question]
        self._position = len(self._earlier)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        step = 0 if event is None else {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()), 0)
        if event is None or step == 0:
            super().keyPressEvent(event)
            return
        self._walk(step)
        event.accept()

    def _walk(self, step: int) -> None:
        if self._position == len(self._earlier):
            self._draft = self.text()
        self._position = min(max(self._position + step, 0), len(self._earlier))
        at_end = self._position == len(self._earlier)
        self.setText(self._draft if at_end else self._earlier[self._position])
