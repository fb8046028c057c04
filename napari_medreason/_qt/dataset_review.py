"""The review page of the data-set dock: records one by one or in bulk, with their picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTableView,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.dataset_queue import WAITING
from napari_medreason._qt.row_model import RowModel
from napari_medreason.core.record import Record

COLUMNS = ("State", "Structure", "Question")
_SHORT: dict[str, str] = {WAITING: "waiting", "accepted": "accepted", "rejected": "rejected"}
_PICTURE_PIXELS = 220


class RecordTable(RowModel):
    """Rows of some of the records of a queue."""

    columns = COLUMNS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._records: Sequence[Record] = ()
        self.shown: list[int] = []

    def set_records(self, records: Sequence[Record], state: str) -> None:
        """Show the records of a state, all for ""."""
        self.beginResetModel()
        self._records = records
        self.shown = [row for row, one in enumerate(records) if state in ("", one.review.state)]
        self.endResetModel()

    def refresh(self) -> None:
        """The reviews changed; the rows stay where they are until the filter is used again."""
        if self.shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.shown) - 1, len(COLUMNS) - 1))

    def record(self, row: int) -> Record:
        """The record of a row of the table."""
        return self._records[self.shown[row]]

    def row_total(self) -> int:
        return len(self.shown)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        record = self.record(index.row())
        return (_SHORT[record.review.state], f"{record.side} {record.label}".strip(), record.question)[
            index.column()
        ]


class RecordReview(QWidget):
    """Emits decisions and what is looked at; shows what it is told."""

    open_wanted = Signal()
    accept_wanted = Signal()
    reject_wanted = Signal()
    wait_wanted = Signal()
    undo_wanted = Signal()
    row_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = RecordTable(self)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.show_file("", {})
        self.show_record(None)

    def _make_widgets(self) -> None:
        self.file = QLabel(self)
        self.file.setTextFormat(Qt.TextFormat.PlainText)
        self.file.setWordWrap(True)
        self.open_button = QPushButton("Open records…", self)
        self.state = QComboBox(self)
        for words, state in (
            ("Waiting", WAITING), ("Accepted", "accepted"), ("Rejected", "rejected"), ("All", "")
        ):  # fmt: skip
            self.state.addItem(words, state)
        self.rows = QTableView(self)
        self.rows.setModel(self.table)
        self.rows.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.rows.setShowGrid(False)
        self.rows.setWordWrap(False)
        if (upright := self.rows.verticalHeader()) is not None:
            upright.hide()
            upright.setDefaultSectionSize(self.rows.fontMetrics().height() + 6)
        for column, width in enumerate((66, 110, 420)):
            self.rows.setColumnWidth(column, width)
        self.text = QTextBrowser(self)
        self.picture = QLabel(self)
        self.picture.setFixedSize(_PICTURE_PIXELS, _PICTURE_PIXELS)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setWordWrap(True)
        self.reviewer, self.reason = QLineEdit(self), QLineEdit(self)
        self.reviewer.setPlaceholderText("Your name or initials")
        self.reason.setPlaceholderText("Why rejected, or a comment")
        self.accept_button, self.reject_button = QPushButton("Accept", self), QPushButton("Reject", self)
        self.wait_button, self.undo_button = QPushButton("Wait again", self), QPushButton("Undo", self)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.file, 1)
        top.addWidget(self.state)
        top.addWidget(self.open_button)
        detail = QWidget(self)
        row = QHBoxLayout(detail)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.text, 1)
        row.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignTop)
        splitter = QSplitter(Qt.Orientation.Vertical, self)
        splitter.addWidget(self.rows)
        splitter.addWidget(detail)
        splitter.setChildrenCollapsible(False)
        grid = QGridLayout()
        grid.addWidget(QLabel("Reviewer", self), 0, 0)
        grid.addWidget(self.reviewer, 0, 1)
        grid.addWidget(QLabel("Reason", self), 0, 2)
        grid.addWidget(self.reason, 0, 3)
        buttons = QHBoxLayout()
        for button in (self.accept_button, self.reject_button, self.wait_button, self.undo_button):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(splitter, 1)
        layout.addLayout(grid)
        layout.addLayout(buttons)

    def _connect(self) -> None:
        self.open_button.clicked.connect(self.open_wanted)
        self.accept_button.clicked.connect(self.accept_wanted)
        self.reject_button.clicked.connect(self.reject_wanted)
        self.wait_button.clicked.connect(self.wait_wanted)
        self.undo_button.clicked.connect(self.undo_wanted)
        if (selection := self.rows.selectionModel()) is not None:
            selection.currentRowChanged.connect(lambda *_: self.row_changed.emit())
            selection.selectionChanged.connect(lambda *_: self.update_buttons())
        self.reviewer.textChanged.connect(self.update_buttons)
        self.reason.textChanged.connect(self.update_buttons)
        self.table.modelReset.connect(self.update_buttons)

    @property
    def selected_ids(self) -> list[str]:
        """Ids of the selected records, in the order of the table."""
        selection = self.rows.selectionModel()
        rows = sorted(index.row() for index in selection.selectedRows()) if selection else []
        return [self.table.record(row).id for row in rows]

    @property
    def current_row(self) -> int:
        """The row of the table that is looked at, -1 for none."""
        return self.rows.currentIndex().row()

    def update_buttons(self) -> None:
        """Decisions need records, a name, and a rejection needs a reason."""
        selection = self.rows.selectionModel()
        count = len(selection.selectedRows()) if selection else 0
        number = f" {count}" if count > 1 else ""
        named = bool(count and self.reviewer.text().strip())
        self.accept_button.setText(f"Accept{number}")
        self.reject_button.setText(f"Reject{number}")
        self.accept_button.setEnabled(named)
        self.reject_button.setEnabled(named and bool(self.reason.text().strip()))
        self.wait_button.setEnabled(bool(count))

    def show_file(self, name: str, counts: dict[str, int], *, saved: bool = True) -> None:
        """Which file is reviewed and how far."""
        words = ", ".join(f"{count:,} {_SHORT.get(state, state)}" for state, count in counts.items())
        self.file.setText(
            f"{name}: {words}{'' if saved else ' (saving …)'}" if name else "No records are open."
        )

    def show_record(self, record: Record | None) -> None:
        """The words of a record; its picture comes later."""
        self.picture.clear()
        self.text.setHtml("" if record is None else _record_html(record))

    def show_picture(self, picture: NDArray[np.uint8], spacing: tuple[float, float], fault: str) -> None:
        """An RGB picture (rows, columns, 3), drawn with its true proportions."""
        rows, columns = picture.shape[:2]
        data = np.ascontiguousarray(picture)
        image = QImage(data.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        height, width = rows * spacing[0], columns * spacing[1]
        share = _PICTURE_PIXELS / max(height, width)
        pixmap = QPixmap.fromImage(image).scaled(
            max(1, round(width * share)),
            max(1, round(height * share)),
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        self.picture.setPixmap(pixmap)
        self.picture.setToolTip(fault or "Outline of the mask, box and key points")


def _record_html(record: Record) -> str:
    review = record.review
    because = f": {review.reason}" if review.reason else ""
    by = f" by {review.reviewer} on {review.date}{because}" if review.reviewer else ""
    template = (
        f"template {record.template.id} version {record.template.version}" if record.template.id else ""
    )
    parts = [("Question", record.question), ("Reasoning", record.reasoning), ("Answer", record.answer)]
    parts += [("Short description", record.short_description), ("Long description", record.long_description)]
    lines = [f"<p style='margin:2px 0'><b>{name}</b> {escape(text)}</p>" for name, text in parts if text]
    image = record.image
    rows = (
        (
            f"{record.side} {record.label}",
            record.position.label,
            f"{image.modality} {image.axis} {image.index}",
        ),
        (f"{record.split} split", f"{record.approach} {record.length}", template or record.provenance.writer),
        (f"{review.state}{by}",),
    )
    facts = [", ".join(word.strip() for word in row if word.strip()) for row in rows]
    return "".join(lines) + f"<p style='color:#999'>{'<br>'.join(map(escape, facts))}</p>"
