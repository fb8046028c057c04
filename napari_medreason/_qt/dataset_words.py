"""The pages of the data-set dock that say who writes the words, and how much is built."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.dataset_form import WRITERS, WriterForm, consent_words
from napari_medreason._qt.template_table import SYSTEM_NAMES

_ABOUT = {
    "medpos": "Where is a named structure in the image? From masks and templates alone.",
    "mlmr-sd": "A structure described by its look or its place, and to be named.",
    "u-mrg": "Questions that don't name the structure, with steps of reasoning that lead to it.",
}
TEMPLATE_CHOICES = {
    "usable": "Of the bench: approved ones and drafts",
    "approved": "Of the bench: approved ones only",
    "shipped": "As they came with the program",
}
AXES = ("axial", "coronal", "sagittal")


class WordsPage(QWidget):
    """Kind of data set, templates and writer; any change of what is sent takes the agreement back."""

    system_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.system, self.templates, self.writer = QComboBox(self), QComboBox(self), QComboBox(self)
        for choice, entries in (
            (self.system, SYSTEM_NAMES),
            (self.templates, TEMPLATE_CHOICES),
            (self.writer, WRITERS),
        ):
            for key, words in entries.items():
                choice.addItem(words, key)
        self.about, self.note = QLabel(self), QLabel(self)
        self.model, self.address = QLineEdit(self), QLineEdit(self)
        self.folder_button = QPushButton("…", self)
        self.address.setPlaceholderText("http://127.0.0.1:8000/v1")
        self.send_images = QCheckBox("Send the pixels of the asked slice too", self)
        self.consent = QCheckBox(self)
        self.agreement = QLabel(self)
        for label in (self.about, self.note, self.agreement):
            label.setWordWrap(True)
        self._lay_out()
        self._connect()
        self._show()

    def _lay_out(self) -> None:
        model = QHBoxLayout()
        model.addWidget(self.model, 1)
        model.addWidget(self.folder_button)
        self._model_row = QWidget(self)
        self._model_row.setLayout(model)
        model.setContentsMargins(0, 0, 0, 0)
        agreement = QHBoxLayout()
        agreement.setContentsMargins(0, 0, 0, 0)
        agreement.addWidget(self.consent)
        agreement.addWidget(self.agreement, 1)
        self._agreement_row = QWidget(self)
        self._agreement_row.setLayout(agreement)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Kind", self.system)
        form.addRow("", self.about)
        form.addRow("Templates", self.templates)
        form.addRow("Writer", self.writer)
        form.addRow("Model", self._model_row)
        form.addRow("Address", self.address)
        self._form = form
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.send_images)
        layout.addWidget(self._agreement_row)
        layout.addWidget(self.note)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.system.currentIndexChanged.connect(self._show)
        self.system.currentIndexChanged.connect(self.system_changed)
        self.writer.currentIndexChanged.connect(self._change_what_is_sent)
        self.address.textChanged.connect(self._change_what_is_sent)
        self.model.textChanged.connect(self._change_what_is_sent)
        self.send_images.toggled.connect(self._change_what_is_sent)
        self.folder_button.clicked.connect(self._choose_model)

    def _choose_model(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of a language model")
        if path:
            self.model.setText(path)

    def _change_what_is_sent(self) -> None:
        self.consent.setChecked(False)
        self._show()

    def _show(self) -> None:
        system, kind = self.chosen_system, str(self.writer.currentData())
        self.about.setText(_ABOUT[system])
        self.writer.setEnabled(system != "medpos")
        kind = "template" if system == "medpos" else kind
        remote = kind == "endpoint"
        self._form.setRowVisible(self._model_row, kind != "template")
        self._form.setRowVisible(self.address, remote)
        self.folder_button.setVisible(kind == "transformers")
        self.model.setPlaceholderText("Name that the server knows" if remote else "Folder with safetensors")
        words = consent_words(WriterForm(kind, address=self.address.text().strip(), send_images=self._images))
        self.send_images.setVisible(remote)
        self._agreement_row.setVisible(remote and bool(words))
        self.agreement.setText(words)
        self.note.setText(_note(system, kind))

    @property
    def _images(self) -> bool:
        return self.send_images.isChecked()

    @property
    def chosen_system(self) -> str:
        """The kind of data set."""
        return str(self.system.currentData())

    @property
    def form(self) -> WriterForm:
        """The writer as it is chosen; MedPos is always written by templates."""
        kind = "template" if self.chosen_system == "medpos" else str(self.writer.currentData())
        if kind == "template":
            return WriterForm()
        remote = kind == "endpoint"
        return WriterForm(
            kind,
            model=self.model.text().strip(),
            address=self.address.text().strip() if remote else "",
            send_images=remote and self._images,
            consent=remote and self.consent.isChecked(),
        )


def _note(system: str, kind: str) -> str:
    if kind == "endpoint":
        return (
            "Never sent: file names, paths, header values, patient data. An access key is read from the "
            "environment variable OPENAI_API_KEY. What is written waits for review."
        )
    if kind == "transformers":
        return "Runs on this computer; nothing is downloaded or sent. What is written waits for review."
    return "Nothing leaves this computer. Every record waits for review."


class AmountsPage(QWidget):
    """Planes, how many regions and questions, and the split by patient."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.axes = {axis: QCheckBox(axis, self) for axis in AXES}
        self.axes["axial"].setChecked(True)
        self.minimum = _spin(self, 1, 100_000, 10, suffix=" pixels")
        self.slices = _spin(self, 0, 10_000, 5, nothing="all")
        self.questions = _spin(self, 1, 50, 1)
        self.formats = _spin(self, 1, 100, 20)
        self.validation = _spin(self, 0, 90, 0, suffix=" % of patients")
        self.test = _spin(self, 0, 90, 10, suffix=" % of patients")
        self.seed = _spin(self, 0, 999_999, 1)
        row = QHBoxLayout()
        for box in self.axes.values():
            row.addWidget(box)
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Planes", row)
        form.addRow("Smallest region", self.minimum)
        form.addRow("Slices per structure", self.slices)
        form.addRow("Questions per region", self.questions)
        form.addRow("Question forms per kind", self.formats)
        form.addRow("Validation", self.validation)
        form.addRow("Test", self.test)
        form.addRow("Seed", self.seed)
        self._form = form
        self.show_system("medpos")

    def show_system(self, system: str) -> None:
        """Show only the amounts that a system has."""
        self._form.setRowVisible(self.questions, system == "medpos")
        self._form.setRowVisible(self.formats, system == "u-mrg")

    @property
    def chosen_axes(self) -> tuple[str, ...]:
        """The planes that are ticked."""
        return tuple(axis for axis, box in self.axes.items() if box.isChecked())


def _spin(
    parent: QWidget, low: int, high: int, value: int, *, suffix: str = "", nothing: str = ""
) -> QSpinBox:
    box = QSpinBox(parent)
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    box.setSpecialValueText(nothing)
    return box
