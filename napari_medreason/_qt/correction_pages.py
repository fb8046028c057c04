"""The pages of the correction dock: tools and decision, and pre-labelling. No rules here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.correction_tools import TOOLS, Tool
from napari_medreason._qt.parts import side_by_side
from napari_medreason.worklist import LabelDefinition

REASONS = (
    "Structure is not in the image",
    "Image quality is too poor",
    "Wrong body part or sequence",
    "Structure is cut off by the field of view",
    "Unsure; for a more experienced reader",
)
PRE_LABEL_STEP = 2


class CorrectPage(QWidget):
    """Label, tools and decision on the open study."""

    tool_wanted = Signal(str, float, bool)
    label_wanted = Signal(int)
    doubtful_wanted = Signal()
    undo_wanted = Signal()
    redo_wanted = Signal()
    accept_wanted = Signal()
    reject_wanted = Signal(str)
    skip_wanted = Signal(str)
    reopen_wanted = Signal(str)
    take_over_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.label = QComboBox(self)
        self.label.setToolTip("The label that the brush and the tools work on")
        self.doubtful_button = QPushButton("Least certain slice", self)
        self.doubtful_button.setToolTip("Go to the next of the slices where the model was least sure")
        self.only_shown = QCheckBox("Only the slice on screen", self)
        self.only_shown.setToolTip("Tools work on this slice, in two dimensions; otherwise on the volume")
        self.values: dict[str, QDoubleSpinBox] = {}
        self.tool_buttons: dict[str, QPushButton] = {}
        for tool in TOOLS:
            self._make_tool(tool)
        self.undo_button, self.redo_button = QPushButton("Undo", self), QPushButton("Redo", self)
        self.undo_button.setToolTip("Take back the last stroke or tool (Ctrl+Z in the labels)")
        self.reason = QComboBox(self)
        self.accept_button, self.reject_button = QPushButton("Accept", self), QPushButton("Reject", self)
        self.skip_button, self.reopen_button = QPushButton("Skip", self), QPushButton("Reopen", self)
        self.take_over_button = QPushButton("Take over", self)
        self.open_next = QCheckBox("Then open the next study", self)
        self.open_next.setChecked(True)
        self._set_up_reason()
        self._lay_out()
        self._connect()

    def _make_tool(self, tool: Tool) -> None:
        button = self.tool_buttons[tool.id] = QPushButton(tool.title, self)
        button.setToolTip(tool.tip)
        button.clicked.connect(partial(self._on_tool, tool.id))
        if tool.unit:
            value = self.values[tool.id] = QDoubleSpinBox(self)
            value.setRange(tool.least, tool.most)
            value.setValue(tool.value)
            value.setDecimals(0 if tool.least >= 1 else 1)
            value.setSuffix(f" {tool.unit}")
            value.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # they take half of the width
            value.setToolTip(tool.tip)

    def _set_up_reason(self) -> None:
        self.reason.setEditable(True)
        self.reason.addItems(REASONS)
        self.reason.setCurrentIndex(-1)
        if (line := self.reason.lineEdit()) is not None:
            line.setPlaceholderText("Reason, needed to reject or skip")

    def _lay_out(self) -> None:
        for choice in (self.label, self.reason):
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choice.setMinimumContentsLength(8)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(5)
        layout.addLayout(side_by_side((QLabel("Label", self), 0), (self.label, 1), (self.doubtful_button, 0)))
        layout.addWidget(self.only_shown)
        layout.addLayout(self._tool_grid())
        layout.addLayout(side_by_side((self.undo_button, 1), (self.redo_button, 1)))
        layout.addSpacing(4)
        layout.addWidget(self.reason)
        layout.addLayout(
            side_by_side(
                (self.accept_button, 1),
                (self.reject_button, 1),
                (self.skip_button, 1),
                (self.reopen_button, 1),
                (self.take_over_button, 1),
            )
        )
        layout.addWidget(self.open_next)
        layout.addStretch(1)

    def _tool_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(5)
        with_value = [tool for tool in TOOLS if tool.unit]
        for place, tool in enumerate(with_value):
            row, column = divmod(place, 2)
            grid.addWidget(self.tool_buttons[tool.id], row, 2 * column)
            grid.addWidget(self.values[tool.id], row, 2 * column + 1)
        rows = (len(with_value) + 1) // 2
        for place, tool in enumerate(tool for tool in TOOLS if not tool.unit):
            row, column = divmod(place, 2)
            grid.addWidget(self.tool_buttons[tool.id], rows + row, 2 * column, 1, 2)
        for column, stretch in enumerate((3, 2, 3, 2)):
            grid.setColumnStretch(column, stretch)
        for widget in (*self.tool_buttons.values(), *self.values.values()):
            widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return grid

    def _connect(self) -> None:
        self.label.activated.connect(lambda _: self.label_wanted.emit(int(self.label.currentData())))
        self.only_shown.toggled.connect(self._show_units)
        self.doubtful_button.clicked.connect(self.doubtful_wanted)
        self.undo_button.clicked.connect(self.undo_wanted)
        self.redo_button.clicked.connect(self.redo_wanted)
        self.accept_button.clicked.connect(self.accept_wanted)
        self.reject_button.clicked.connect(lambda: self.reject_wanted.emit(self.reason.currentText()))
        self.skip_button.clicked.connect(lambda: self.skip_wanted.emit(self.reason.currentText()))
        self.reopen_button.clicked.connect(lambda: self.reopen_wanted.emit(self.reason.currentText()))
        self.take_over_button.clicked.connect(self.take_over_wanted)

    def _on_tool(self, tool_id: str) -> None:
        value = self.values[tool_id].value() if tool_id in self.values else 0.0
        self.tool_wanted.emit(tool_id, value, self.only_shown.isChecked())

    def _show_units(self, only_shown: bool) -> None:
        self.values["specks"].setSuffix(" mm²" if only_shown else " mm³")

    def set_labels(self, labels: Sequence[LabelDefinition]) -> None:
        """Offer the labels of the work list."""
        self.label.clear()
        for label in labels:
            self.label.addItem(f"{label.value}  {label.name}", label.value)

    def show_label(self, value: int) -> None:
        """Show which label the brush draws, also one that is not defined."""
        place = self.label.findData(value)
        if place < 0:
            self.label.addItem(f"{value}  not in the list", value)
            place = self.label.count() - 1
        self.label.setCurrentIndex(place)

    def set_rights(self, *, draw: bool, decide: bool, reopen: bool, take_over: bool) -> None:
        """What the reader may do with the open study now."""
        for button in (*self.tool_buttons.values(), self.undo_button, self.redo_button):
            button.setEnabled(draw)
        for button in (self.accept_button, self.reject_button, self.skip_button):
            button.setEnabled(decide)
            button.setVisible(not (reopen or take_over))
        for button, allowed in ((self.reopen_button, reopen), (self.take_over_button, take_over)):
            button.setVisible(allowed)
        self.reason.setEnabled(decide or reopen)


class PreLabelPage(QWidget):
    """Which model draws the labels beforehand, and on which studies."""

    this_wanted = Signal()
    waiting_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = QComboBox(self)
        self.model.setToolTip("The model that draws, on this computer")
        self.model.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.step = QSpinBox(self)
        self.step.setRange(1, 20)
        self.step.setValue(PRE_LABEL_STEP)
        self.step.setPrefix("one slice in ")
        self.step.setToolTip("Slices between two on which the label was found are filled by interpolation")
        self.this_button = QPushButton("Pre-label the open study", self)
        self.waiting_button = QPushButton("Pre-label all waiting studies", self)
        self.asked = QLabel(self)
        self.asked.setWordWrap(True)
        self.asked.setTextFormat(Qt.TextFormat.PlainText)
        self.this_button.clicked.connect(self.this_wanted)
        self.waiting_button.clicked.connect(self.waiting_wanted)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(5)
        layout.addLayout(side_by_side((QLabel("Model", self), 0), (self.model, 1)))
        layout.addLayout(side_by_side((QLabel("Ask on", self), 0), (self.step, 1)))
        layout.addLayout(side_by_side((self.this_button, 1), (self.waiting_button, 1)))
        layout.addWidget(self.asked)
        layout.addStretch(1)

    def set_models(self, models: Sequence[tuple[str, str, str]], chosen: str) -> None:
        """Offer models as (id, title, summary)."""
        for row, (model_id, title, summary) in enumerate(models):
            self.model.addItem(title, model_id)
            self.model.setItemData(row, summary, Qt.ItemDataRole.ToolTipRole)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))

    def set_labels(self, labels: Sequence[LabelDefinition]) -> None:
        """Say what is asked."""
        asked = [f"{label.name}: {label.question or 'not asked'}" for label in labels]
        self.asked.setText("\n".join(asked))
