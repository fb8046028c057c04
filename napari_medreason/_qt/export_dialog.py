"""“Export…”: which layers, in which form, to which file; written and read back off the GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_medreason.errors import MedReasonError
from napari_medreason.io.base import has_suffix
from napari_medreason.io.exports import IMAGE_FORMATS, MASK_FORMATS, ExportFormat, export_image, export_mask
from napari_medreason.io.proof import Receipt
from napari_medreason.layers.exporting import drawing_of, image_of, study_under

Job = Callable[..., Receipt]
_CHECKED = Qt.CheckState.Checked


class ExportDialog(QDialog):
    """Lets the user choose; `wanted(job)` gives what to run, with `progress` and `cancelled`.

    layers: Labels and grey images, top first; chosen: those that are ticked at first.
    """

    wanted = Signal(object)

    def __init__(self, layers: Sequence[Layer], chosen: Sequence[Layer], parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._layers = list(layers)
        self._reasons: dict[str, str] = {}
        self.list, self.forms, self.reason = QListWidget(self), QComboBox(self), QLabel(self)
        self.reason.setWordWrap(True)
        self.reason.setTextFormat(Qt.TextFormat.PlainText)
        for layer in self._layers:
            item = QListWidgetItem(layer.name, self.list)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(_CHECKED if layer in chosen else Qt.CheckState.Unchecked)
        self.buttons = QDialogButtonBox(self)
        self.save_button = self.buttons.addButton("Save as…", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        self._lay_out()
        self.list.itemChanged.connect(self._list_forms)
        self.forms.currentIndexChanged.connect(self._show_reason)
        self.buttons.accepted.connect(self._choose_file)
        self.buttons.rejected.connect(self.reject)
        self._list_forms()

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.addRow("Layers", self.list)
        form.addRow("Form", self.forms)
        form.addRow(self.reason)
        form.addRow(self.buttons)
        self.resize(420, 360)

    @property
    def chosen(self) -> list[Layer]:
        """The ticked layers."""
        ticked = [self.list.item(row) for row in range(self.list.count())]
        pairs = zip(self._layers, ticked, strict=True)
        return [layer for layer, item in pairs if item is not None and item.checkState() == _CHECKED]

    @property
    def form(self) -> ExportFormat | None:
        """The chosen form, None for one that can't be written."""
        one = self.forms.currentData()
        return one if isinstance(one, ExportFormat) and one.id not in self._reasons else None

    def _list_forms(self, _item: object = None) -> None:
        kept = self.forms.currentText()
        forms = self._fitting_forms()
        self._reasons = self._reasons_for(forms)
        self.forms.clear()
        for one in forms:
            self.forms.addItem(f"{one.title} (*{one.suffixes[0]})", one)
            if reason := self._reasons.get(one.id):
                self._disable(self.forms.count() - 1, reason)
        if (row := self.forms.findText(kept)) >= 0:
            self.forms.setCurrentIndex(row)
        self._show_reason()

    def _disable(self, row: int, reason: str) -> None:
        self.forms.setItemData(row, reason, Qt.ItemDataRole.ToolTipRole)
        model = self.forms.model()
        item = model.item(row) if isinstance(model, QStandardItemModel) else None
        if item is not None:
            item.setEnabled(False)

    def _fitting_forms(self) -> tuple[ExportFormat, ...]:
        kinds = {type(layer) for layer in self._bare()}
        if kinds == {Labels}:
            return MASK_FORMATS
        return IMAGE_FORMATS if kinds == {Image} and len(self.chosen) == 1 else ()

    def _bare(self) -> list[Any]:
        """Napari hands plugins proxies of its layers."""
        return [getattr(layer, "__wrapped__", layer) for layer in self.chosen]

    def _reasons_for(self, forms: Sequence[ExportFormat]) -> dict[str, str]:
        """Why forms can't be written for the ticked layers, by id; no voxel is read for it."""
        fussy = [one for one in forms if one.needs_dicom]
        if not fussy:
            return {}
        try:
            image, place = study_under(self._bare(), for_dicom=True)
        except MedReasonError as error:
            return {one.id: str(error) for one in fussy}
        reasons = {one.id: one.disabled(image, place) for one in fussy}
        return {form: reason for form, reason in reasons.items() if reason}

    def _show_reason(self, _row: int = 0) -> None:
        if not self.chosen:
            words = "Tick the Labels layers, or the one image, to export."
        elif not self.forms.count():
            words = "Labels and images go to files of their own: tick Labels layers only, or one image."
        else:
            told = [one for one in self._fitting_forms() if one.id in self._reasons]
            words = "\n".join(f"Not as {one.title}: {self._reasons[one.id]}." for one in told)
        self.reason.setText(words)
        if self.save_button is not None:
            self.save_button.setEnabled(self.form is not None)

    def _choose_file(self) -> None:
        one = self.form
        if one is None:
            return
        pattern = " ".join(f"*{suffix}" for suffix in one.suffixes)
        start = self.chosen[0].name.replace(":", "").replace("/", "-") + one.suffixes[0]
        path, _ = QFileDialog.getSaveFileName(
            self, f"Export as {one.title}", start, f"{one.title} ({pattern})"
        )
        if path:
            self.save(Path(path))

    def save(self, path: Path) -> None:
        """Hand over what writes the file, and close."""
        one = self.form
        if one is None:
            return
        target = path if has_suffix(path, one.suffixes) else path.with_name(path.name + one.suffixes[0])
        self.wanted.emit(partial(_write, target, self._bare(), one))
        self.accept()


def _write(target: Path, layers: Sequence[Any], one: ExportFormat, **_progress: object) -> Receipt:
    if one in IMAGE_FORMATS:
        return export_image(target, image_of(layers[0]))
    return export_mask(target, drawing_of(layers, for_dicom=one.needs_dicom), one.id)
