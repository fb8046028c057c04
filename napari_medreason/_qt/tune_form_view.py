"""The page “New run” of the Fine-tune dock: settings, records, check, start. No rules here."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QLabel, QProgressBar, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_check_view import CheckView
from napari_medreason._qt.tune_form_page import RunForm
from napari_medreason._qt.tune_records_page import RecordsPage


class NewRunView(QWidget):
    """What a new run needs, from top to bottom; the buttons stay in sight."""

    start_wanted = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form, self.records, self.check = RunForm(self), RecordsPage(self), CheckView(self)
        self.start_button, self.cancel_button = QPushButton("Start", self), QPushButton("Cancel", self)
        self.start_button.setToolTip("Start the run; it goes on when napari is closed")
        self.file_button = QPushButton("Configuration", self)
        self.file_button.setToolTip("Open or save all this as a file that `medreason train` takes too")
        self.progress = QProgressBar(self)
        self.progress.setRange(0, 0)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(6)
        self.status = text_label(self, low=True)
        self.start_button.clicked.connect(self.start_wanted)
        self.cancel_button.clicked.connect(self.cancelled)
        self._lay_out()
        self.show_idle("")

    def _lay_out(self) -> None:
        inside = QWidget(self)
        column = QVBoxLayout(inside)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        records = QLabel("Records", inside)
        records.setStyleSheet("font-weight: bold;")
        for widget in (records, self.records, self.check, _line(inside), self.form):
            column.addWidget(widget)
        column.addStretch(1)
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        self.area = area
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 6)
        layout.setSpacing(4)
        layout.addWidget(area, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(8, 0, 8, 0)
        foot.addWidget(self.status)
        foot.addWidget(self.progress)
        foot.addLayout(side_by_side((self.file_button, 1), (self.cancel_button, 1), (self.start_button, 2)))
        layout.addLayout(foot)

    def show_busy(self, words: str) -> None:
        """Something is being done; "" for nothing any more."""
        if not words:
            self.show_idle("")
            return
        self.progress.show()
        self.cancel_button.show()
        for button in (self.start_button, self.file_button):
            button.setEnabled(False)
        self._say(words)

    def show_idle(self, words: str, *, wrong: bool = False) -> None:
        """How the last work ended; wrong: why it did not."""
        self.progress.hide()
        self.cancel_button.hide()
        for button in (self.start_button, self.file_button):
            button.setEnabled(True)
        self._say(words, wrong=wrong)

    def _say(self, words: str, *, wrong: bool = False) -> None:
        self.status.setStyleSheet("color: #e0604f;" if wrong else "")
        self.status.setText(words)
        self.status.setVisible(bool(words))


def _line(parent: QWidget) -> QFrame:
    line = QFrame(parent)
    line.setFrameShape(QFrame.Shape.HLine)
    return line
