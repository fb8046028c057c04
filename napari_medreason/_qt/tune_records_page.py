"""The records of a run as the user sees them: files, their images, and how patients are divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import localtime, strftime

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side
from napari_medreason._qt.tune_records import RecordSet, SplitPlan, SplitWish
from napari_medreason._qt.tune_records_made import delete_made, made_here
from napari_medreason.errors import ExportError

WISHES: dict[SplitWish, str] = {
    "missing": "By patient, where records don't say",
    "kept": "As the records say",
    "drawn": "Anew, by patient",
}
DELETE = (
    "Delete the copies of images and masks as well? Runs that were made from these records can then not be "
    "resumed, and their cases not be shown. Your own files stay in any case."
)
WHOSE = (
    "Number or made-up name of the patient that all these records are of; the same for two studies of one "
    "patient. It is written into the records of the run. Empty: as the records say."
)
_LIST_HEIGHT = 66


class RecordsPage(QWidget):
    """Keeps the list of record files. changed: other records, or another split of them.

    file_wanted(file): the user chose a file whose images are not known yet. list_wanted(folder): a work list.
    labels_wanted: those in the viewer. failed(error): something could not be deleted.
    """

    changed = Signal()
    file_wanted = Signal(object)
    list_wanted = Signal(object)
    labels_wanted = Signal()
    failed = Signal(Exception)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sets: list[RecordSet] = []
        self._contents: dict[Path, str] = {}
        self.rows = QListWidget(self)
        self.rows.setFixedHeight(_LIST_HEIGHT)
        self.rows.setToolTip(
            "Files of records: one corrected mask on one slice each, with its question. Double-click one to "
            "say which patient it is of"
        )
        self.add_button, self.from_button = QPushButton("Add file…", self), QPushButton("Add from", self)
        self.images_button, self.remove_button = QPushButton("Images…", self), QPushButton("Remove", self)
        self.images_button.setToolTip("Choose the folder that the image paths of the selected file start at")
        self.from_button.setToolTip("Make records of labels in the viewer, or of a work list")
        self.wish = QComboBox(self)
        for key, words in WISHES.items():
            self.wish.addItem(words, key)
        self.wish.setToolTip("Which patients the model learns from, is judged by, and is compared on")
        self.wish.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plan = SplitPlan()
        self.validation = self._share("judge ", plan.validation, "Share of patients to judge the run by")
        self.test = self._share("compare ", plan.test, "Share of patients to compare before and after on")
        self._make_menu()
        self._lay_out()
        self._connect()

    def _share(self, prefix: str, value: float, words: str) -> QSpinBox:
        box = QSpinBox(self)
        box.setRange(0, 80)
        box.setValue(round(100 * value))
        box.setPrefix(prefix)
        box.setSuffix(" %")
        box.setToolTip(words)
        return box

    def _make_menu(self) -> None:
        menu = QMenu(self)
        menu.addAction("Labels in the viewer", self.labels_wanted.emit)
        menu.addAction("Work list: accepted studies…", self._choose_list)
        self.from_button.setMenu(menu)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.rows)
        buttons = (self.add_button, self.from_button, self.images_button, self.remove_button)
        layout.addLayout(side_by_side(*((button, 1) for button in buttons)))
        layout.addLayout(side_by_side((QLabel("Patients", self), 0), (self.wish, 1)))
        layout.addLayout(side_by_side((self.validation, 1), (self.test, 1)))
        self._fill(-1)

    def _connect(self) -> None:
        self.add_button.clicked.connect(self._choose_file)
        self.images_button.clicked.connect(self._choose_images)
        self.remove_button.clicked.connect(self._remove)
        self.rows.itemActivated.connect(lambda _: self._choose_patient())
        self.rows.currentRowChanged.connect(lambda _: self._show_rights())
        self.wish.activated.connect(lambda _: self._on_wish())
        for box in (self.validation, self.test):
            box.valueChanged.connect(lambda _: self.changed.emit())

    @property
    def plan(self) -> SplitPlan:
        """How the patients are divided."""
        return SplitPlan(self.wish.currentData(), self.validation.value() / 100, self.test.value() / 100)

    def add(self, one: RecordSet) -> None:
        """Add a file of records; one that is there already gets its images folder."""
        self.sets = [other for other in self.sets if other.file != one.file]
        self.sets.append(one)
        self._fill(len(self.sets) - 1)
        self.changed.emit()

    def show_sets(self, sets: list[RecordSet]) -> None:
        """Show these files in place of those that are there."""
        self.sets = list(sets)
        self._fill(0 if sets else -1)
        self.changed.emit()

    def show_plan(self, plan: SplitPlan) -> None:
        """Show how the patients are to be divided."""
        self.wish.setCurrentIndex(self.wish.findData(plan.wish))
        for box, share in ((self.validation, plan.validation), (self.test, plan.test)):
            box.setValue(round(100 * share))
        self._on_wish()

    def show_contents(self, contents: Mapping[Path, str]) -> None:
        """Show what each file holds, in words."""
        self._contents = dict(contents)
        for row, one in enumerate(self.sets):
            if (item := self.rows.item(row)) is not None:
                self._name(item, one)

    def _name(self, item: QListWidgetItem, one: RecordSet) -> None:
        contents = self._contents.get(one.file, "")
        item.setText(_title(one, contents))
        item.setToolTip("\n".join(filter(None, (contents, str(one.file), f"Images: {one.images}"))))

    def _on_wish(self) -> None:
        self._show_rights()
        self.changed.emit()

    def _fill(self, chosen: int) -> None:
        self.rows.clear()
        for one in self.sets:
            item = QListWidgetItem()
            self._name(item, one)
            self.rows.addItem(item)
        self.rows.setCurrentRow(chosen)
        self._show_rights()

    def _show_rights(self) -> None:
        for button in (self.images_button, self.remove_button):
            button.setEnabled(self.rows.currentRow() >= 0)
        for box in (self.validation, self.test):
            box.setEnabled(self.wish.currentData() != "kept")

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Records", "", "Records (*.jsonl)")
        if path:
            self.file_wanted.emit(Path(path))

    def choose_images(self, file: Path) -> Path | None:
        """Let the user choose the folder that the image paths of a file start at."""
        folder = QFileDialog.getExistingDirectory(
            self, f"Folder of the images of {file.name}", str(file.parent)
        )
        return Path(folder) if folder else None

    def _choose_images(self) -> None:
        row = self.rows.currentRow()
        if 0 <= row < len(self.sets) and (folder := self.choose_images(self.sets[row].file)):
            self.sets[row] = replace(self.sets[row], images=folder)
            self._fill(row)
            self.changed.emit()

    def _choose_list(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the work list"):
            self.list_wanted.emit(Path(folder))

    def _remove(self) -> None:
        row = self.rows.currentRow()
        if 0 <= row < len(self.sets) and self._may_go(self.sets[row].file):
            del self.sets[row]
            self._fill(min(row, len(self.sets) - 1))
            self.changed.emit()

    def _may_go(self, file: Path) -> bool:
        """Ask about the copies of records that were made here, and delete them if that is wished."""
        if not (made_here(file) and file.exists()):
            return True
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        answer = QMessageBox.question(
            self, "Fine-tuning", DELETE, yes | no | QMessageBox.StandardButton.Cancel, no
        )
        if answer == yes:
            try:
                delete_made(file)
            except ExportError as error:
                self.failed.emit(error)
                return False
        return bool(answer in (yes, no))

    def _choose_patient(self) -> None:
        row = self.rows.currentRow()
        if not 0 <= row < len(self.sets):
            return
        told, sure = QInputDialog.getText(self, "Fine-tuning", WHOSE, text=self.sets[row].patient)
        if sure and told.strip() != self.sets[row].patient:
            self.sets[row] = replace(self.sets[row], patient=told.strip())
            self._fill(row)
            self.changed.emit()


def _title(one: RecordSet, contents: str) -> str:
    """What a file is called in the list: its folder and name, or what was made here, and when."""
    name = (
        _made_title(one.file, contents) if made_here(one.file) else f"{one.file.parent.name}/{one.file.name}"
    )
    return f"{name} (patient {one.patient})" if one.patient else name


def _made_title(file: Path, contents: str) -> str:
    made = strftime("%d %b %H:%M:%S", localtime(file.stat().st_mtime)) if file.exists() else "lost"
    return f"{contents or 'Made here'}, {made}"
