"""The dialog that asks what a new work list is about."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.correction_ask import definition
from napari_medreason._qt.medpos_grid import completer
from napari_medreason.worklist import LabelDefinition

_HEADS = ("Value", "Name", "Question to the model")
_HELP = (
    "One label per structure that is to be drawn. A model is asked its question when it pre-labels; leave "
    "the question empty where it should not."
)


class NewListDialog(QDialog):
    """Folder of studies, folder of the list, and labels. `answer` is what was chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("New work list")
        self.studies, self.folder, self.title = QLineEdit(self), QLineEdit(self), QLineEdit(self)
        self.studies.setPlaceholderText("Folder with DICOM or NIfTI studies; it is searched, not changed")
        self.folder.setPlaceholderText("Where the list and its labels are kept")
        self.title.setPlaceholderText("The name of the folder of studies")
        self.name = QLineEdit(self)
        self.name.setPlaceholderText("liver     or several: liver, spleen, left kidney")
        self.name.setCompleter(completer(self))
        self.add_button = QPushButton("Add label", self)
        self.add_button.setAutoDefault(False)
        self.remove_button = QPushButton("Remove", self)
        self.remove_button.setAutoDefault(False)
        self.labels = QTableWidget(0, len(_HEADS), self)
        self.labels.setHorizontalHeaderLabels(list(_HEADS))
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self._lay_out()
        self._connect()
        self._update()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        rows = (("Studies", self.studies), ("Work list", self.folder), ("Title", self.title))
        for row, (words, line) in enumerate(rows):
            grid.addWidget(QLabel(words, self), row, 0)
            grid.addWidget(line, row, 1)
        for row, line in ((0, self.studies), (1, self.folder)):
            button = QPushButton("Choose…", self)
            button.setAutoDefault(False)
            button.clicked.connect(lambda _, line=line: self._choose(line))
            grid.addWidget(button, row, 2)
        help_line = QLabel(_HELP, self)
        help_line.setWordWrap(True)
        adding = QHBoxLayout()
        adding.addWidget(self.name, 1)
        adding.addWidget(self.add_button)
        adding.addWidget(self.remove_button)
        if (across := self.labels.horizontalHeader()) is not None:
            across.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        if (upright := self.labels.verticalHeader()) is not None:
            upright.hide()
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(help_line)
        layout.addLayout(adding)
        layout.addWidget(self.labels, 1)
        layout.addWidget(self.buttons)
        self.resize(620, 420)

    def _connect(self) -> None:
        self.add_button.clicked.connect(self.add_names)
        self.name.returnPressed.connect(self.add_names)
        self.remove_button.clicked.connect(lambda: self.labels.removeRow(self.labels.currentRow()))
        self.studies.textChanged.connect(self._propose_folder)
        for signal in (self.studies.textChanged, self.folder.textChanged):
            signal.connect(self._update)
        if (model := self.labels.model()) is not None:
            model.rowsInserted.connect(self._update)
            model.rowsRemoved.connect(self._update)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _choose(self, line: QLineEdit) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Choose a folder", line.text()):
            line.setText(path)

    def _propose_folder(self, studies: str) -> None:
        if studies:
            place = Path(studies)
            self.folder.setText(str(place.with_name(f"{place.name} work list")))

    def add_names(self) -> None:
        """Add the labels that are written in the line."""
        used = [label.value for label in self.definitions]
        for name in filter(None, (part.strip() for part in self.name.text().split(","))):
            value = max(used, default=0) + 1
            used.append(value)
            self._add(definition(value, name))
        self.name.clear()

    def _add(self, label: LabelDefinition) -> None:
        row = self.labels.rowCount()
        self.labels.insertRow(row)
        for column, words in enumerate((str(label.value), label.name, label.question)):
            entry = QTableWidgetItem(words)
            entry.setData(Qt.ItemDataRole.UserRole, label.structure)
            self.labels.setItem(row, column, entry)

    @property
    def definitions(self) -> tuple[LabelDefinition, ...]:
        """The labels in the table; value 0, which is refused, where no number stands."""
        return tuple(self._definition(row) for row in range(self.labels.rowCount()))

    def _definition(self, row: int) -> LabelDefinition:
        words = [self._words(row, column) for column in range(len(_HEADS))]
        value = int(words[0]) if words[0].isdecimal() else 0
        return LabelDefinition(value, words[1], definition(1, words[1]).structure, words[2])

    def _words(self, row: int, column: int) -> str:
        entry = self.labels.item(row, column)
        return entry.text().strip() if entry is not None else ""

    def _update(self) -> None:
        if (button := self.buttons.button(QDialogButtonBox.StandardButton.Ok)) is not None:
            button.setEnabled(bool(self.studies.text() and self.folder.text() and self.labels.rowCount()))
