"""The Ask dock as the user sees it: widgets, intents out as signals, setters in. No rules here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QTextCursor
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QMenu,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt import answer_words
from napari_medreason._qt.answer_list import AnswerList
from napari_medreason._qt.model_choice import ModelChoice
from napari_medreason._qt.parts import side_by_side
from napari_medreason._qt.question_box import QuestionBox
from napari_medreason.session import Answer

RESEARCH_USE = "Research use only; not for diagnosis."
NO_IMAGE = "Open a CT or MRI study first: “Open study…”, or File › Open Sample › MedReason."


class AskView(QWidget):
    """Emits what the user wants; shows what it is told."""

    asked = Signal(str)
    cancelled = Signal()
    folder_wanted = Signal()
    file_wanted = Signal()
    image_chosen = Signal(int)
    model_chosen = Signal(str)
    models_wanted = Signal()
    answer_chosen = Signal(str)
    answer_highlighted = Signal(str)
    visibility_changed = Signal(str, bool)
    delete_wanted = Signal(str)
    export_wanted = Signal(str)
    undo_wanted = Signal(str)
    redo_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._stage, self._began = "", 0.0
        self._clock = QTimer(self)
        self._clock.setInterval(100)
        self._clock.timeout.connect(self._show_elapsed)
        self._busy = False
        self.set_images([], -1)
        self.set_history(undo=False, redo=False)

    def _make_widgets(self) -> None:
        self.image_choice = QComboBox(self)
        self.open_button = QPushButton("Open study…", self)
        self.question_box = QuestionBox(self)
        self.ask_button = QPushButton("Ask", self)
        self.model_choice = ModelChoice(self)
        self.models_button = QPushButton("Models…", self)
        self.progress = QProgressBar(self)
        self.status = QLabel(self)
        self.answer_view = QPlainTextEdit(self)
        self.provenance = QLabel(self)
        self.answers = AnswerList(self)
        self.undo_button = QPushButton("Undo prompt", self)
        self.redo_button = QPushButton("Redo", self)
        self.delete_button = QPushButton("Delete", self)
        self.export_button = QPushButton("Export…", self)
        self.research_line = QLabel(RESEARCH_USE, self)
        menu = QMenu(self)
        menu.addAction("DICOM folder…", self.folder_wanted.emit)
        menu.addAction("File: NIfTI, DICOM, zip, picture…", self.file_wanted.emit)
        self.open_button.setMenu(menu)
        self.image_choice.setToolTip("The image that is asked about, on the slice you see")
        self.open_button.setToolTip("Open a DICOM folder or file, zip, NIfTI, PNG or JPEG")
        self.question_box.setPlaceholderText("Where is the liver?")
        self.question_box.setToolTip("Ask in plain words and press Enter; ↑ and ↓ bring earlier questions")
        self.model_choice.setToolTip("The model that answers")
        self.models_button.setToolTip("Download the weights of published models, or use a folder of yours")
        self.export_button.setToolTip(
            "Write the selected answer to a folder: mask as it is painted now, overlay and JSON"
        )
        self.delete_button.setToolTip("Delete the selected answer with its three layers")
        self.answers.setToolTip("Click an answer to go to its slice; the tick shows or hides its layers")
        self.answer_view.setReadOnly(True)
        self.answer_view.setPlaceholderText("The answer appears here.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(4)
        keeps_its_place = self.progress.sizePolicy()
        keeps_its_place.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(keeps_its_place)
        self.progress.hide()
        for label in (self.provenance, self.status, self.research_line):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)  # file and layer names stand in them
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        self.image_choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.image_choice.setMinimumContentsLength(8)
        grid = QGridLayout()
        grid.addWidget(QLabel("Image", self), 0, 0)
        grid.addWidget(self.image_choice, 0, 1, 1, 2)
        grid.addWidget(QLabel("Model", self), 1, 0)
        grid.addWidget(self.model_choice, 1, 1)
        grid.addWidget(self.models_button, 1, 2)
        grid.addWidget(self.question_box, 2, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        asking = side_by_side((self.ask_button, 2), (self.open_button, 1))
        history = side_by_side((self.undo_button, 1), (self.redo_button, 1))
        buttons = side_by_side((self.export_button, 1), (self.delete_button, 1))
        self.setMinimumWidth(300)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(grid)
        layout.addLayout(asking)
        for widget in (self.progress, self.status):
            layout.addWidget(widget)
        layout.addWidget(self.answer_view, 2)
        layout.addWidget(self.provenance)
        layout.addWidget(QLabel("Answers", self))
        layout.addWidget(self.answers, 3)
        layout.addLayout(history)
        layout.addLayout(buttons)
        layout.addWidget(self.research_line)
        self._set_tab_order()

    def _set_tab_order(self) -> None:
        order = (
            self.question_box,
            self.ask_button,
            self.model_choice,
            self.models_button,
            self.image_choice,
            self.open_button,
            self.answer_view,
            self.answers,
            self.undo_button,
            self.redo_button,
            self.export_button,
            self.delete_button,
        )
        for first, second in pairwise(order):
            QWidget.setTabOrder(first, second)

    def _connect(self) -> None:
        self.question_box.asked.connect(self._on_ask)
        self.ask_button.clicked.connect(self._on_button)
        self.image_choice.activated.connect(self.image_chosen)
        self.model_choice.activated.connect(lambda _: self.model_chosen.emit(self.model))
        self.models_button.clicked.connect(self.models_wanted)
        self.answers.chosen.connect(self.answer_chosen)
        self.answers.visibility_changed.connect(self.visibility_changed)
        self.answers.delete_pressed.connect(self.delete_wanted)
        self.undo_button.clicked.connect(lambda: self.undo_wanted.emit(self.answers.current_id))
        self.redo_button.clicked.connect(lambda: self.redo_wanted.emit(self.answers.current_id))
        self.export_button.clicked.connect(lambda: self.export_wanted.emit(self.answers.current_id))
        self.delete_button.clicked.connect(lambda: self.delete_wanted.emit(self.answers.current_id))
        self.answers.highlighted.connect(self._on_highlighted)

    def _on_button(self) -> None:
        if self._busy:
            self.cancelled.emit()
        else:
            self._on_ask()

    def _on_highlighted(self, answer_id: str) -> None:
        self._update_buttons()
        self.answer_highlighted.emit(answer_id)

    def _on_ask(self) -> None:
        if not self._busy:
            self.asked.emit(self.question_box.text())

    @property
    def model(self) -> str:
        """Id of the chosen model."""
        return str(self.model_choice.currentData() or "")

    def choose_model(self, model_id: str) -> None:
        """Show a model as the chosen one; the first one when it is not in the list."""
        self.model_choice.setCurrentIndex(max(0, self.model_choice.findData(model_id)))

    def set_images(self, names: Sequence[str], chosen: int) -> None:
        """Fill the image choice; without images asking is disabled, with the reason as tool tip."""
        self.image_choice.clear()
        self.image_choice.addItems(list(names))
        self.image_choice.setCurrentIndex(chosen)
        self.image_choice.setEnabled(bool(names))
        self._update_buttons()

    def _update_buttons(self) -> None:
        has_image = self.image_choice.count() > 0
        self.ask_button.setEnabled(self._busy or has_image)
        self.ask_button.setText("Cancel" if self._busy else "Ask")
        tip = "Ask about the slice you see" if has_image else NO_IMAGE
        self.ask_button.setToolTip("Give up this question; nothing is changed" if self._busy else tip)
        for button in (self.export_button, self.delete_button):
            button.setEnabled(bool(self.answers.current_id))
        if not has_image:
            self.show_status(NO_IMAGE)
        elif self.status.text() == NO_IMAGE:
            self.show_status("")

    def set_busy(self, busy: bool) -> None:
        """Switch between asking and waiting; the clock runs while waiting."""
        self._busy = busy
        self.progress.setVisible(busy)
        if busy:
            self.question_box.remember(self.question_box.text())
            self._began = time.monotonic()
            self.show_stage(answer_words.STAGES["starting"], None)
            self._clock.start()
        else:
            self._clock.stop()
            self._stage = ""
        self._update_buttons()

    def show_stage(self, words: str, fraction: float | None) -> None:
        """What the engine is doing, with a bar that is only full when it says how far it is."""
        self._stage = words
        self.progress.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.progress.setValue(round(fraction * 1000))
        self._show_elapsed()

    def _show_elapsed(self) -> None:
        self.status.setText(f"{self._stage} … {time.monotonic() - self._began:.1f} s")

    def show_status(self, words: str) -> None:
        """One line below the question."""
        self.status.setText(words)

    def set_answer(self, text: str, provenance: str) -> None:
        """The full words of an answer and where they come from."""
        self.answer_view.setPlainText(text)
        self.provenance.setText(provenance)

    def append_text(self, piece: str) -> None:
        """Words of an answer as they arrive."""
        self.answer_view.moveCursor(QTextCursor.MoveOperation.End)
        self.answer_view.insertPlainText(piece)

    def put_row(self, answer: Answer) -> None:
        """Add or change an answer in the list."""
        text = f"{answer_words.row_title(answer)}\n{answer_words.row_detail(answer)}"
        self.answers.put(answer.id, text, colour=answer.colour, can_hide=answer.state is not None)

    def remove_row(self, answer_id: str) -> None:
        """Take an answer from the list."""
        self.answers.remove(answer_id)

    def select_row(self, answer_id: str) -> None:
        """Mark the answer that is shown."""
        self.answers.select(answer_id)
        self._update_buttons()

    def set_history(self, *, undo: bool, redo: bool) -> None:
        """Whether the shown answer has prompts to undo or redo; the reason is in the tool tips."""
        self.undo_button.setEnabled(undo)
        self.redo_button.setEnabled(redo)
        key = "Ctrl+Z in the layer of the box or the points"
        self.undo_button.setToolTip(
            f"Bring the former box, points and mask back ({key})"
            if undo
            else "Nothing to undo: move the box or a point of an answer first"
        )
        self.redo_button.setToolTip("Bring the undone prompt forward" if redo else "Nothing was undone")
