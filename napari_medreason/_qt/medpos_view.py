"""The MedPos dock as the user sees it: widgets, intents out as signals, setters in. No rules here."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.medpos_grid import RegionGrid, completer
from napari_medreason._qt.medpos_model import RegionModel
from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason.core.medpos import Rule
from napari_medreason.core.plane import AXES, Axis

_RULES: tuple[Rule, ...] = ("paper", "released")


class MedPosView(QWidget):
    """Emits what the user wants; shows what it is told."""

    layer_chosen = Signal(int)
    study_chosen = Signal(int)
    settings_changed = Signal()
    filter_changed = Signal()
    name_wanted = Signal(str)
    words_changed = Signal(str)
    overlay_wanted = Signal(bool)
    refresh_wanted = Signal()
    cancelled = Signal()
    export_wanted = Signal()
    tune_wanted = Signal()

    def __init__(self, model: RegionModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = RegionGrid(model, self)
        self._make_choices()
        self._make_lines()
        self._lay_out()
        self._connect()

    def _make_choices(self) -> None:
        self.layer_choice, self.study_choice = QComboBox(self), QComboBox(self)
        self.cut_choice, self.rule_choice = QComboBox(self), QComboBox(self)
        self.cut_choice.addItems([axis.capitalize() for axis in AXES])
        self.rule_choice.addItems(["Rule of the paper", "Rule as released"])
        self.layer_choice.setToolTip("The label map that the table is about: drawn by hand or by a model")
        self.study_choice.setToolTip("The study on whose voxels it lies; it tells left from right")
        self.cut_choice.setToolTip("Which slices the table lists")
        self.rule_choice.setToolTip(
            "The MedPos rule of the paper (exact centers, “near the center” by distance), or as released"
        )
        for choice in (self.layer_choice, self.study_choice):
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choice.setMinimumContentsLength(8)
        self.status = text_label(self, low=True)
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(6)
        self.cancel_button = QPushButton("Cancel", self)
        self.filter_line = QLineEdit(self)
        self.filter_line.setPlaceholderText("Filter: liver left posterior")
        self.filter_line.setClearButtonEnabled(True)
        self.only_shown = QCheckBox("Slice on screen", self)

    def _make_lines(self) -> None:
        self.sentences, self.verdicts = text_label(self, low=True), text_label(self, low=True)
        self.verdicts.setTextFormat(Qt.TextFormat.RichText)
        self.name_line, self.words_line = QLineEdit(self), QLineEdit(self)
        self.name_line.setPlaceholderText("left kidney     or a list: 1 liver, 2 spleen")
        self.name_line.setCompleter(completer(self))
        self.words_line.setPlaceholderText("Check words: top left, patient's right, 4 cm")
        self.words_line.setClearButtonEnabled(True)
        self.words_line.setToolTip("Says for each statement whether the chosen region agrees with it")
        self.name_button = QPushButton("Name", self)
        self.name_button.setToolTip("Name the labels of all selected rows, or those in the list")
        self.overlay_box = QCheckBox("Overlay", self)
        self.overlay_box.setChecked(True)
        self.overlay_box.setToolTip("Draw box, center, quadrants and key points of the chosen region")
        self.refresh_button, self.export_button = QPushButton("Refresh", self), QPushButton("Export…", self)
        self.refresh_button.setToolTip("Look at the whole label map again, such as after a script changed it")
        self.export_button.setToolTip("Write all regions, also those that are filtered out, to a file")
        self.tune_button = QPushButton("Fine-tune…", self)
        self.tune_button.setToolTip(
            "Teach a model what is labelled here: the Fine-tune dock with its records"
        )

    def _lay_out(self) -> None:
        grid = QGridLayout()
        for row, (title, choice) in enumerate((("Labels", self.layer_choice), ("Study", self.study_choice))):
            grid.addWidget(QLabel(title, self), row, 0)
            grid.addWidget(choice, row, 1, 1, 2)
        grid.addWidget(QLabel("Slices", self), 2, 0)
        grid.addWidget(self.cut_choice, 2, 1)
        grid.addWidget(self.rule_choice, 2, 2)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(grid)
        layout.addLayout(side_by_side((self.progress, 1), (self.cancel_button, 0)))
        layout.addWidget(self.status)
        layout.addLayout(side_by_side((self.filter_line, 1), (self.only_shown, 0)))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.sentences)
        layout.addLayout(side_by_side((self.name_line, 1), (self.name_button, 0)))
        layout.addWidget(self.words_line)
        layout.addWidget(self.verdicts)
        layout.addLayout(
            side_by_side(
                (self.overlay_box, 1),
                (self.refresh_button, 0),
                (self.export_button, 0),
                (self.tune_button, 0),
            )
        )
        self.setMinimumWidth(340)
        self.verdicts.hide()
        self.show_idle()

    def _connect(self) -> None:
        self.layer_choice.activated.connect(self.layer_chosen)
        self.study_choice.activated.connect(self.study_chosen)
        for choice in (self.cut_choice, self.rule_choice):
            choice.activated.connect(lambda _: self.settings_changed.emit())
        self.cancel_button.clicked.connect(self.cancelled)
        self.filter_line.textChanged.connect(lambda _: self.filter_changed.emit())
        self.only_shown.toggled.connect(lambda _: self.filter_changed.emit())
        self.name_line.returnPressed.connect(self._on_name)
        self.name_button.clicked.connect(self._on_name)
        self.words_line.textChanged.connect(self.words_changed)
        self.overlay_box.toggled.connect(self.overlay_wanted)
        self.refresh_button.clicked.connect(self.refresh_wanted)
        self.export_button.clicked.connect(self.export_wanted)
        self.tune_button.clicked.connect(self.tune_wanted)

    def _on_name(self) -> None:
        self.name_wanted.emit(self.name_line.text().strip())

    @property
    def axis(self) -> Axis:
        """Which slices the table lists."""
        return AXES[max(0, self.cut_choice.currentIndex())]

    @property
    def rule(self) -> Rule:
        """The rule that gives the MedPos words."""
        return _RULES[max(0, self.rule_choice.currentIndex())]

    def set_layers(self, names: Sequence[str], chosen: int) -> None:
        """Fill the choice of label maps."""
        _fill(self.layer_choice, names, chosen)

    def set_studies(self, names: Sequence[str], chosen: int) -> None:
        """Fill the choice of studies."""
        _fill(self.study_choice, names, chosen)

    def show_progress(self, done: int, total: int) -> None:
        """Show how far a look at the whole label map is; total 0 when it is not known."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.show()
        self.cancel_button.show()

    def show_idle(self) -> None:
        """Nothing is under way any more."""
        self.progress.hide()
        self.cancel_button.hide()

    def show_verdicts(self, rich_text: str) -> None:
        """What the mask says to the words."""
        self.verdicts.setText(rich_text)
        self.verdicts.setVisible(bool(rich_text))

    def set_ready(self, ready: bool) -> None:
        """Whether there is a table to work with."""
        for widget in (self.name_button, self.export_button, self.refresh_button, self.tune_button):
            widget.setEnabled(ready)


def _fill(choice: QComboBox, names: Sequence[str], chosen: int) -> None:
    choice.clear()
    choice.addItems(list(names))
    choice.setCurrentIndex(chosen)
    choice.setEnabled(bool(names))
