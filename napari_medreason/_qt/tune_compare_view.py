"""The widgets of the page Before and after; no rules here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_compare_cases import Order
from napari_medreason._qt.tune_compare_layers import AFTER, BEFORE, COLOURS, CORRECTED
from napari_medreason._qt.tune_compare_words import HEAD_TIPS, HEADS, figure_rows, figure_tips, verdict
from napari_medreason._qt.tune_runs_words import sentence

NOTHING_YET = "What the run has made is compared with its base when it ends."
ORDERS: dict[str, Order] = {"By patient": "patients", "Worst change": "worse", "Best change": "better"}
NOT_SHOWN = "No figures are shown: what the run has made can't be used as it is."
NOT_ACCEPTED = "Not accepted: the Ask dock does not offer it."
COLOUR_WORDS = "Green: the correction. Orange line: before. Blue line: after."


class CompareView(QWidget):
    """Emits what the user wants; shows what it is told."""

    show_wanted = Signal()
    order_chosen = Signal()
    step_wanted = Signal(int)
    cancelled = Signal()
    close_wanted = Signal()
    accept_wanted = Signal()
    roll_back_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = text_label(self, NOTHING_YET, low=True)
        self.figures = QTableWidget(0, len(HEADS), self)
        self._set_up_figures()
        self._make_buttons()
        self.progress = QProgressBar(self)
        self.progress.setMaximumHeight(8)
        self.progress.setTextVisible(False)
        self.stage = text_label(self, low=True)
        self.title, self.words = text_label(self, low=True), text_label(self, low=True)
        self.colours = text_label(self, COLOUR_WORDS, low=True)
        self.colours.setToolTip(", ".join(f"{n} {COLOURS[n]}" for n in (CORRECTED, BEFORE, AFTER)))
        self.status = text_label(self, low=True)
        self._lay_out()
        self.show_card(None, "")
        self.show_idle()
        self.show_no_case()

    def _set_up_figures(self) -> None:
        self.figures.setHorizontalHeaderLabels(list(HEADS))
        for column, tip in enumerate(HEAD_TIPS):
            if (head := self.figures.horizontalHeaderItem(column)) is not None:
                head.setToolTip(tip)
        self.figures.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.figures.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.figures.setMinimumHeight(90)
        if (across := self.figures.horizontalHeader()) is not None:
            across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            across.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            across.setMinimumSectionSize(30)
        if (upright := self.figures.verticalHeader()) is not None:
            upright.hide()
            upright.setDefaultSectionSize(self.figures.fontMetrics().height() + 6)

    def _make_buttons(self) -> None:
        self.show_button = QPushButton("Show before and after", self)
        self.show_button.setToolTip(
            "Ask base and tuned model about held-out cases, and show both in the viewer"
        )
        self.order = QComboBox(self)
        for words, order in ORDERS.items():
            self.order.addItem(words, order)
        self.order.setToolTip("Which held-out cases come first")
        self.order.activated.connect(lambda _row: self.order_chosen.emit())
        self.cancel_button = QPushButton("Cancel", self)
        self.former_button, self.next_button = QPushButton("◀ Former", self), QPushButton("Next ▶", self)
        self.close_button = QPushButton("Close cases", self)
        self.close_button.setToolTip("Take the layers of the cases out of the viewer")
        self.accept_button, self.roll_back_button = (
            QPushButton("Accept", self),
            QPushButton("Roll back", self),
        )
        self.accept_button.setToolTip("Keep the tuned model; it can then be chosen in the Ask dock")
        self.roll_back_button.setToolTip("Take the accepted model out of the Ask dock again; the run stays")
        self.show_button.clicked.connect(self.show_wanted)
        self.cancel_button.clicked.connect(self.cancelled)
        self.former_button.clicked.connect(lambda: self.step_wanted.emit(-1))
        self.next_button.clicked.connect(lambda: self.step_wanted.emit(1))
        self.close_button.clicked.connect(self.close_wanted)
        self.accept_button.clicked.connect(self.accept_wanted)
        self.roll_back_button.clicked.connect(self.roll_back_wanted)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.verdict)
        layout.addWidget(self.figures, 1)
        layout.addLayout(side_by_side((self.show_button, 1), (self.order, 0)))
        layout.addLayout(side_by_side((self.progress, 1), (self.cancel_button, 0)))
        layout.addWidget(self.stage)
        layout.addLayout(side_by_side((self.former_button, 1), (self.next_button, 1), (self.close_button, 1)))
        layout.addWidget(self.title)
        layout.addWidget(self.words)
        layout.addWidget(self.colours)
        layout.addStretch(1)
        layout.addWidget(self.status)
        layout.addLayout(side_by_side((self.accept_button, 1), (self.roll_back_button, 1)))

    def show_card(self, card: Mapping[str, Any] | None, accepted: str, *, fault: str = "") -> None:
        """Show the figures of an adapter, and what can be done with it.

        card: None while there is none. accepted: id of the model that it can be asked as, "" when it was not
        accepted. fault: why it can't be used.
        """
        usable = card is not None and not fault
        figures = card.get("before_after", {}) if card is not None and usable else {}
        unusable = NOTHING_YET if card is None else NOT_SHOWN
        self.verdict.setText(verdict(figures) if usable else unusable)
        self._fill(figure_rows(figures), figure_tips(figures))
        self.show_button.setEnabled(usable)
        self.accept_button.setEnabled(usable and not accepted)
        self.roll_back_button.setEnabled(bool(accepted))
        if accepted:
            self.status.setText(f"Accepted: choose “{accepted}” in the Ask dock.")
        else:
            self.status.setText("" if card is None else sentence(fault) or NOT_ACCEPTED)

    def _fill(self, rows: list[tuple[str, ...]], tips: list[str]) -> None:
        self.figures.setVisible(bool(rows))
        self.figures.setRowCount(len(rows))
        for row, (cells, tip) in enumerate(zip(rows, tips, strict=True)):
            for column, words in enumerate(cells):
                entry = QTableWidgetItem(words)
                entry.setToolTip(tip)
                self.figures.setItem(row, column, entry)

    def show_stage(self, words: str) -> None:
        """Show what happens now, such as that a model is loaded."""
        self.stage.setText(words)
        self.stage.setVisible(bool(words))

    def show_busy(self, done: int, total: int) -> None:
        """Show how far the asking is; total 0 for unknown."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.show()
        self.cancel_button.show()
        self.show_button.setEnabled(False)

    def show_idle(self, *, can_show: bool = False) -> None:
        """Nothing is being asked."""
        self.show_stage("")
        self.progress.hide()
        self.cancel_button.hide()
        self.show_button.setEnabled(can_show)

    def show_case(self, title: str, words: str, *, former: bool, following: bool) -> None:
        """Show the words of a case, and whether there are others."""
        self.title.setText(title)
        self.words.setText(words)
        for widget in self._case_widgets():
            widget.show()
        self.former_button.setEnabled(former)
        self.next_button.setEnabled(following)

    def show_no_case(self) -> None:
        """No case is shown."""
        for widget in self._case_widgets():
            widget.hide()

    def _case_widgets(self) -> tuple[QWidget, ...]:
        return (
            self.title,
            self.words,
            self.colours,
            self.former_button,
            self.next_button,
            self.close_button,
        )

    def confirm(self, words: str) -> bool:
        """Ask the user before something lasting."""
        return bool(QMessageBox.question(self, "Fine-tuning", words) == QMessageBox.StandardButton.Yes)
