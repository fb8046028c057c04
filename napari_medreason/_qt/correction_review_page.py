"""The page of second readings: comments, verdict, and how far both readers agree. No rules here."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side
from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.worklist import Comment, Settings

_HEADS = ("Label", "Dice", "Mean mm", "95 % mm", "Voxels 1st", "Voxels 2nd")


class ReviewPage(QWidget):
    """Emits what a second reader decides, and comments of anybody."""

    begin_wanted = Signal(bool)
    agree_wanted = Signal(str)
    changes_wanted = Signal(str)
    replace_wanted = Signal(str)
    compare_wanted = Signal()
    comment_wanted = Signal(str, bool)
    place_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.begin_button = QPushButton("Begin second reading", self)
        self.independent = QCheckBox("Without seeing the first labels", self)
        self.independent.setToolTip(
            "Tick before you open the study: it starts from the model's labels, not the first reader's"
        )
        self.comments = QListWidget(self)
        self.comments.setWordWrap(True)
        self.comments.setToolTip("Double-click a comment to go to its slice")
        self.words = QLineEdit(self)
        self.words.setPlaceholderText("Comment; needed when changes are wanted")
        self.on_slice = QCheckBox("On this slice", self)
        self.on_slice.setChecked(True)
        self.comment_button = QPushButton("Comment", self)
        self.agree_button = QPushButton("Agree", self)
        self.changes_button = QPushButton("Changes wanted", self)
        self.replace_button = QPushButton("Use my labels", self)
        self.compare_button = QPushButton("Compare now", self)
        self.replace_button.setToolTip("The labels you drew in this second reading replace the first ones")
        self.compare_button.setToolTip("Agreement of both readers' labels as they are saved now")
        self.figures = QTableWidget(0, len(_HEADS), self)
        self._set_up_figures()
        self._lay_out()
        self._connect()

    def _set_up_figures(self) -> None:
        self.figures.setHorizontalHeaderLabels(list(_HEADS))
        self.figures.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.figures.setToolTip(
            "Dice: shared voxels. Mean and 95 %: distance between the outlines of both readers"
        )
        if (across := self.figures.horizontalHeader()) is not None:
            across.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        if (upright := self.figures.verticalHeader()) is not None:
            upright.hide()
            upright.setDefaultSectionSize(self.figures.fontMetrics().height() + 6)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(5)
        layout.addLayout(side_by_side((self.begin_button, 1), (self.independent, 0)))
        layout.addWidget(self.comments, 1)
        layout.addLayout(side_by_side((self.words, 1), (self.on_slice, 0), (self.comment_button, 0)))
        layout.addLayout(
            side_by_side((self.agree_button, 1), (self.changes_button, 1), (self.replace_button, 1))
        )
        layout.addWidget(self.figures, 1)
        layout.addLayout(side_by_side((self.compare_button, 1)))

    def _connect(self) -> None:
        self.begin_button.clicked.connect(lambda: self.begin_wanted.emit(self.independent.isChecked()))
        self.agree_button.clicked.connect(lambda: self.agree_wanted.emit(self.words.text()))
        self.changes_button.clicked.connect(lambda: self.changes_wanted.emit(self.words.text()))
        self.replace_button.clicked.connect(lambda: self.replace_wanted.emit(self.words.text()))
        self.compare_button.clicked.connect(self.compare_wanted)
        self.comment_button.clicked.connect(self._on_comment)
        self.words.returnPressed.connect(self._on_comment)
        self.comments.itemDoubleClicked.connect(
            lambda entry: self.place_wanted.emit(entry.data(Qt.ItemDataRole.UserRole))
        )

    def _on_comment(self) -> None:
        self.comment_wanted.emit(self.words.text(), self.on_slice.isChecked())

    def set_rights(self, *, begin: bool, decide: bool, comment: bool) -> None:
        """What the reader may do with the open study now."""
        self.begin_button.setEnabled(begin)
        for button in (self.agree_button, self.changes_button, self.replace_button, self.compare_button):
            button.setEnabled(decide)
        self.comment_button.setEnabled(comment)
        self.words.setEnabled(comment)

    def show_comments(self, comments: Sequence[Comment], settings: Settings) -> None:
        """Show all remarks on a study, oldest first."""
        self.comments.clear()
        for comment in comments:
            entry = QListWidgetItem(comment_words(comment, settings))
            entry.setData(Qt.ItemDataRole.UserRole, comment)
            self.comments.addItem(entry)
        self.comments.scrollToBottom()

    def show_figures(self, figures: Sequence[LabelAgreement], settings: Settings) -> None:
        """Show how far both readers agree, a row per label."""
        self.figures.setRowCount(len(figures))
        for row, figure in enumerate(figures):
            cells = (
                settings.name_of(figure.label),
                f"{figure.dice:.3f}",
                _millimetres(figure.mean_distance_mm),
                _millimetres(figure.distance_95_mm),
                str(figure.first_voxels),
                str(figure.second_voxels),
            )
            for column, words in enumerate(cells):
                self.figures.setItem(row, column, QTableWidgetItem(words))


def comment_words(comment: Comment, settings: Settings) -> str:
    """One comment as a line of the list."""
    label = settings.name_of(comment.label) if comment.label is not None else ""
    place = f"{comment.axis} {comment.index}" if comment.axis else ""
    about = ", ".join(part for part in (label, place) if part)
    return f"{comment.author}, {comment.date[:10]}{f' ({about})' if about else ''}: {comment.text}"


def _millimetres(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
