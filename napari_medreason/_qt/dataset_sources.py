"""The page of the data-set dock with the folders and layers that a build takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medreason import layers
from napari_medreason._qt import notify
from napari_medreason._qt.dataset_form import LAYOUTS, SourceForm, guessed_source
from napari_medreason._qt.dataset_layers import LayerCase
from napari_medreason.errors import MedReasonError

_FIELDS = {
    "images": ("Images", "Folder of the images, such as images; empty for masks alone"),
    "masks": ("Masks", "Folder of the masks, such as labels; empty for the folder itself"),
    "image_ending": ("Image ending", "What follows the shared part of the name, such as _0000"),
    "mask_ending": ("Mask ending", "What follows the shared part of the name, such as _seg"),
    "labels_file": ("Label file", "JSON or text table of label names inside the folder"),
    "labels": ("Label names", "1 liver, 2 spleen"),
    "modality": ("Modality", "CT or MR; empty to take it from the files"),
}
_PAIRS_ONLY = ("images", "masks", "image_ending", "mask_ending", "labels_file")


class SourcesPage(QWidget):
    """Keeps the list of sources; `layers_wanted` asks for the viewer's layers."""

    layers_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sources: list[SourceForm] = []
        self.cases: list[LayerCase] = []
        self._loading = False
        self.rows = QListWidget(self)
        self.folder_button = QPushButton("Add folder…", self)
        self.layers_button = QPushButton("Add current layers", self)
        self.remove_button = QPushButton("Remove", self)
        self.layout_choice = QComboBox(self)
        for key, words in LAYOUTS.items():
            self.layout_choice.addItem(words, key)
        self.edits = {key: QLineEdit(self) for key in _FIELDS}
        self.hint = QLabel("Images with masks: folders in a known layout, or the layers you have open.", self)
        self.hint.setWordWrap(True)
        self._lay_out()
        self._connect()
        self._show_details()

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for button in (self.folder_button, self.layers_button, self.remove_button):
            buttons.addWidget(button)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Layout", self.layout_choice)
        for key, (name, help_words) in _FIELDS.items():
            self.edits[key].setPlaceholderText(help_words)
            self.edits[key].setToolTip(help_words)
            form.addRow(name, self.edits[key])
        self.details = QWidget(self)
        self.details.setLayout(form)
        form.setContentsMargins(0, 0, 0, 0)
        self._form = form
        layout = QVBoxLayout(self)
        layout.addWidget(self.hint)
        layout.addLayout(buttons)
        layout.addWidget(self.rows, 1)
        layout.addWidget(self.details)

    def _connect(self) -> None:
        self.folder_button.clicked.connect(self._choose_folder)
        self.layers_button.clicked.connect(self.layers_wanted)
        self.remove_button.clicked.connect(self._remove)
        self.rows.currentRowChanged.connect(self._show_details)
        self.layout_choice.currentIndexChanged.connect(self._keep)
        for edit in self.edits.values():
            edit.textEdited.connect(self._keep)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of images with masks")
        if path:
            self.add_folder(Path(path))

    def add_folder(self, path: Path) -> None:
        """Add a folder with the layout that its names suggest."""
        try:
            source = guessed_source(path)
        except MedReasonError as error:
            notify.report(error)
            return
        taken = {one.name for one in self.sources}
        number = next(n for n in range(1, len(taken) + 2) if _numbered(source.name, n) not in taken)
        self.sources.append(replace(source, name=_numbered(source.name, number)))
        self._fill(len(self.sources) - 1)

    def set_cases(self, cases: list[LayerCase]) -> None:
        """Take layers in place of those that were taken before."""
        self.cases = list(cases)
        self._fill(len(self.sources) if cases else 0)

    def _remove(self) -> None:
        row = self.rows.currentRow()
        if 0 <= row < len(self.sources):
            del self.sources[row]
        elif row >= 0:
            del self.cases[row - len(self.sources)]
        self._fill(0)

    def _fill(self, chosen: int) -> None:
        self.rows.clear()
        self.rows.addItems([f"{one.name}: {LAYOUTS[one.layout]}" for one in self.sources])
        self.rows.addItems([f"Layer “{case.name}”: {', '.join(case.names.values())}" for case in self.cases])
        for row, source in enumerate(self.sources):
            item = self.rows.item(row)
            if item is not None:
                item.setToolTip(source.root)
        self.rows.setCurrentRow(chosen)
        self._show_details()

    @property
    def _current(self) -> SourceForm | None:
        row = self.rows.currentRow()
        return self.sources[row] if 0 <= row < len(self.sources) else None

    def _show_details(self) -> None:
        source = self._current
        self.details.setVisible(source is not None)
        self.remove_button.setEnabled(self.rows.currentRow() >= 0)
        if source is None:
            return
        self._loading = True
        self.layout_choice.setCurrentIndex(self.layout_choice.findData(source.layout))
        for key, edit in self.edits.items():
            edit.setText(_label_words(source) if key == "labels" else getattr(source, key))
        self._loading = False
        self._show_fields(source.layout)

    def _show_fields(self, layout: str) -> None:
        for key in _PAIRS_ONLY:
            self._form.setRowVisible(self.edits[key], layout == "pairs")

    def _keep(self) -> None:
        source, row = self._current, self.rows.currentRow()
        if source is None or self._loading:
            return
        texts = {key: edit.text().strip() for key, edit in self.edits.items() if key != "labels"}
        layout = str(self.layout_choice.currentData())
        labels = layers.parsed_names(self.edits["labels"].text())
        self.sources[row] = replace(source, layout=layout, labels=labels, **texts)
        item = self.rows.item(row)
        if item is not None:
            item.setData(Qt.ItemDataRole.DisplayRole, f"{source.name}: {LAYOUTS[layout]}")
        self._show_fields(layout)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} {number}"


def _label_words(source: SourceForm) -> str:
    return ", ".join(f"{value} {name}" for value, name in sorted(source.labels.items()))
