"""The Study dock as the user sees it: widgets, intents out as signals, setters in. No rules here."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.canvas_settings import CONVENTIONS
from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason.core.check_list import Check, State
from napari_medreason.core.plane import AXES

NO_IMAGE = "Open a study first: “Open study…” in the Ask dock, or File › Open."
MARKS: dict[State, str] = {"fine": "✓", "doubtful": "⚠", "untold": "?"}
CardRow = tuple[str, str]
"""Title and words of one line of the card."""


class StudyView(QWidget):
    """Emits what the user wants; shows what it is told."""

    image_chosen = Signal(int)
    plane_wanted = Signal(str)
    letters_switched = Signal(bool)
    convention_chosen = Signal(str)
    preset_chosen = Signal(str)
    window_edited = Signal(float, float)
    drag_switched = Signal(bool)
    regrid_wanted = Signal()
    export_wanted = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._make_choices()
        self._make_window()
        self._make_actions()
        self._lay_out()
        self._connect()

    def _make_choices(self) -> None:
        self.image_choice = QComboBox(self)
        self.image_choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.image_choice.setMinimumContentsLength(8)
        self.image_choice.setToolTip("The image that this dock is about")
        self.card, self.checks = text_label(self), text_label(self)
        self.plane_buttons = {axis: QPushButton(axis.capitalize(), self) for axis in AXES}
        for axis, button in self.plane_buttons.items():
            button.setToolTip(f"Show {axis} slices")
        self.letters_box = QCheckBox("Letters on the canvas", self)
        self.letters_box.setToolTip("Draw the patient's sides R, L, A, P, S, I and the slice's place")
        self.convention_choice = QComboBox(self)
        self.convention_choice.addItems(list(CONVENTIONS))
        self.convention_choice.setToolTip(
            "Radiological: the patient's left is on the right of the canvas. Neurological: on the left. "
            "Only the view turns; positions and exports stay the same"
        )

    def _make_window(self) -> None:
        self.preset_choice = QComboBox(self)
        self.preset_choice.setToolTip("Usual windows for CT, shares of the grey values for everything else")
        self.centre_box, self.width_box = QDoubleSpinBox(self), QDoubleSpinBox(self)
        for box, low, name in ((self.centre_box, -1e7, "Centre"), (self.width_box, 1e-3, "Width")):
            box.setRange(low, 1e7)
            box.setDecimals(1)
            box.setKeyboardTracking(False)
            box.setToolTip(f"{name} of the window, in the image's own units (HU for CT)")
        self.drag_button = QPushButton("Window by mouse", self)
        self.drag_button.setCheckable(True)
        self.drag_button.setToolTip(
            "While on, drag with the left button: right widens the window, up makes the image brighter. "
            "Painting and other tools keep the mouse"
        )

    def _make_actions(self) -> None:
        self.regrid_button = QPushButton("Resample to a regular grid", self)
        self.export_button = QPushButton("Export…", self)
        self.export_button.setToolTip(
            "Write an image or labels with the study's true geometry; the file is read back and compared"
        )
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(6)
        self.cancel_button = QPushButton("Cancel", self)
        self.status = text_label(self)
        self.show_idle()

    def _lay_out(self) -> None:
        inner = QWidget(self)
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        for title, contents in (
            ("Study", _column(self.card, self.checks)),
            ("View", self._view_rows()),
            ("Window", self._window_rows()),
        ):
            group = QGroupBox(title, inner)
            group.setLayout(contents)
            column.addWidget(group)
        column.addStretch(1)
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addWidget(self.image_choice)
        layout.addWidget(area, 1)
        layout.addLayout(side_by_side(self.regrid_button, self.export_button))
        layout.addLayout(side_by_side(self.progress, self.cancel_button))
        layout.addWidget(self.status)
        self.setMinimumWidth(320)

    def _view_rows(self) -> QVBoxLayout:
        return _column(
            side_by_side(*self.plane_buttons.values()), side_by_side(self.letters_box, self.convention_choice)
        )

    def _window_rows(self) -> QFormLayout:
        form = QFormLayout()
        form.addRow("Preset", self.preset_choice)
        form.addRow("Centre", self.centre_box)
        form.addRow("Width", self.width_box)
        form.addRow(self.drag_button)
        return form

    def _connect(self) -> None:
        self.image_choice.activated.connect(self.image_chosen)
        for axis, button in self.plane_buttons.items():
            button.clicked.connect(lambda _checked=False, axis=axis: self.plane_wanted.emit(axis))
        self.letters_box.toggled.connect(self.letters_switched)
        self.convention_choice.textActivated.connect(self.convention_chosen)
        self.preset_choice.textActivated.connect(self.preset_chosen)
        for box in (self.centre_box, self.width_box):
            box.valueChanged.connect(self._emit_window)
        self.drag_button.toggled.connect(self.drag_switched)
        self.regrid_button.clicked.connect(self.regrid_wanted)
        self.export_button.clicked.connect(self.export_wanted)
        self.cancel_button.clicked.connect(self.cancelled)

    def _emit_window(self) -> None:
        self.window_edited.emit(self.centre_box.value(), self.width_box.value())

    def set_images(self, names: Sequence[str], chosen: int) -> None:
        """List the images; chosen: row, -1 for none."""
        self.image_choice.clear()
        self.image_choice.addItems(list(names))
        self.image_choice.setCurrentIndex(chosen)

    def set_card(self, rows: Sequence[CardRow], checks: Sequence[Check]) -> None:
        """Show what is known of a study: doubts in words, all else by its mark; nothing without a study."""
        self.card.setText("\n".join(f"{title}: {words}" for title, words in rows) or NO_IMAGE)
        lines = {check.kind: f"{MARKS[check.state]}\u00a0{check.title}" for check in checks}
        doubts = [f"{lines[check.kind]}: {check.words}" for check in checks if check.state == "doubtful"]
        rest = [lines[check.kind].replace(" ", "\u00a0") for check in checks if check.state != "doubtful"]
        self.checks.setText("\n".join([*doubts, "   ".join(rest)]).strip())
        self.checks.setToolTip("\n".join(f"{check.title}: {check.words}" for check in checks))
        self.checks.setVisible(bool(checks))

    def set_view(self, *, letters: bool, convention: str) -> None:
        """Show the remembered settings."""
        self.letters_box.setChecked(letters)
        self.convention_choice.setCurrentText(convention)

    def set_presets(self, names: Sequence[str]) -> None:
        """List the windows that suit the image."""
        self.preset_choice.clear()
        self.preset_choice.addItems(list(names))
        self.preset_choice.setCurrentIndex(-1)

    def set_window(self, centre: float, width: float, preset: str) -> None:
        """Show a window without asking for it; preset: its name, "" for none."""
        for box, value in ((self.centre_box, centre), (self.width_box, width)):
            box.blockSignals(True)
            box.setSingleStep(max(width / 20, 0.1))
            box.setValue(value)
            box.blockSignals(False)
        self.preset_choice.setCurrentIndex(self.preset_choice.findText(preset) if preset else -1)

    def set_usable(self, usable: bool, *, regrid: str = "") -> None:
        """Whether there is an image to work on; regrid: why its grid should be resampled, "" for no need."""
        for widget in (
            *self.plane_buttons.values(),
            self.preset_choice,
            self.centre_box,
            self.width_box,
            self.drag_button,
            self.export_button,
        ):
            widget.setEnabled(usable)
        self.regrid_button.setVisible(bool(regrid))
        self.regrid_button.setToolTip(regrid)

    def show_busy(self, words: str, *, can_cancel: bool) -> None:
        """Show that work is going on; while it can't be cancelled, nothing else is started either."""
        self.progress.setRange(0, 0)
        self.progress.show()
        self.cancel_button.setVisible(can_cancel)
        for button in (self.export_button, self.regrid_button):
            button.setEnabled(False)
        self.show_words(words)

    def show_progress(self, done: int, total: int) -> None:
        """Show how far the work is."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def show_idle(self, words: str = "") -> None:
        """Show that nothing goes on; words: how the last work ended."""
        self.progress.hide()
        self.cancel_button.hide()
        for button in (self.export_button, self.regrid_button):
            button.setEnabled(self.preset_choice.isEnabled())
        self.show_words(words)

    def show_words(self, words: str) -> None:
        """One line below everything."""
        self.status.setText(words)
        self.status.setVisible(bool(words))


def _column(*parts: QWidget | QHBoxLayout) -> QVBoxLayout:
    column = QVBoxLayout()
    for part in parts:
        if isinstance(part, QHBoxLayout):
            column.addLayout(part)
        else:
            column.addWidget(part)
    return column
