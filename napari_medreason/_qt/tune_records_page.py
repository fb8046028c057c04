"""The records of a run as the user sees them: files, their images, and how patients are divided."""

from __future__ import annotations

from pathlib import Path
from time import localtime, strftime

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side
from napari_medreason._qt.tune_records import RecordSet, SplitPlan, SplitWish
from napari_medreason._qt.tune_records_build import records_root

WISHES: dict[SplitWish, str] = {
    "missing": "By patient, where records don't say",
    "kept": "As the records say",
    "drawn": "Anew, by patient",
}
_LIST_HEIGHT = 66


class RecordsPage(QWidget):
    """Keeps the list of record files. changed: other records, or another split of them.

    file_wanted(file): the user chose a file whose images are not known yet. list_wanted(folder): a work list.
    labels_wanted: those in the viewer.
    """

    changed = Signal()
    file_wanted = Signal(object)
    list_wanted = Signal(object)
    labels_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sets: list[RecordSet] = []
        self.rows = QListWidget(self)
        self.rows.setFixedHeight(_LIST_HEIGHT)
        self.rows.setToolTip("Files of records: one corrected mask on one slice each, with its question")
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

    def _on_wish(self) -> None:
        self._show_rights()
        self.changed.emit()

    def _fill(self, chosen: int) -> None:
        self.rows.clear()
        for one in self.sets:
            item = QListWidgetItem(_title(one.file))
            item.setToolTip(f"{one.file}\nImages: {one.images}")
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
            self.sets[row] = RecordSet(self.sets[row].file, folder)
            self._fill(row)
            self.changed.emit()

    def _choose_list(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the work list"):
            self.list_wanted.emit(Path(folder))

    def _remove(self) -> None:
        row = self.rows.currentRow()
        if 0 <= row < len(self.sets):
            del self.sets[row]
            self._fill(min(row, len(self.sets) - 1))
            self.changed.emit()


def _title(file: Path) -> str:
    """What a file is called in the list: its folder and name, or when it was made here."""
    if file.parent.parent == records_root():
        made = strftime("%Y-%m-%d %H:%M:%S", localtime(file.stat().st_mtime)) if file.exists() else "lost"
        return f"Made here, {made}"
    return f"{file.parent.name}/{file.name}"
