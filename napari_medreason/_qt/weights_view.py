"""The Models dock as the user sees it: widgets, intents out as signals, setters in. No rules here."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.weights_table import WeightsTable, details
from napari_medreason.engine.protocol_weights import WeightsSummary

HEAD = (
    "Published models answer with weights of their authors. They are downloaded once, or taken from a folder "
    "that you already have; nothing of your images leaves this computer for that."
)


class WeightsView(QWidget):
    """Emits what the user wants; shows what it is told."""

    chosen = Signal()
    download_wanted = Signal()
    verify_wanted = Signal()
    folder_wanted = Signal(str)
    download_used = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = WeightsTable(self)
        self._make_table()
        self._make_buttons()
        self._lay_out()
        self.show_details(None)
        self.show_idle()

    def _make_table(self) -> None:
        self.table = QTableView(self)
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setWordWrap(False)
        if (rows := self.table.verticalHeader()) is not None:
            rows.hide()
        if (columns := self.table.horizontalHeader()) is not None:
            columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            columns.setStretchLastSection(True)
        if (selection := self.table.selectionModel()) is not None:
            selection.selectionChanged.connect(lambda *_: self.chosen.emit())
        self.head, self.details, self.status = text_label(self, HEAD), text_label(self), text_label(self)

    def _make_buttons(self) -> None:
        self.download_button = QPushButton("Download", self)
        self.verify_button = QPushButton("Verify", self)
        self.verify_button.setToolTip("Read all files anew and compare them with the known hashes")
        self.own_button = QPushButton("I have them…", self)
        self.own_button.setToolTip("Use a folder or file that is on this computer already; needs no network")
        self.forget_button = QPushButton("Use the download", self)
        self.forget_button.setToolTip("Forget your own folder; its files stay")
        menu = QMenu(self)
        menu.addAction("Folder…", self._choose_folder)
        menu.addAction("File…", self._choose_file)
        self.own_button.setMenu(menu)
        self.progress = QProgressBar(self)
        self.progress.setMaximumHeight(8)
        self.progress.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel", self)
        self.download_button.clicked.connect(self.download_wanted)
        self.verify_button.clicked.connect(self.verify_wanted)
        self.forget_button.clicked.connect(self.download_used)
        self.cancel_button.clicked.connect(self.cancelled)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addWidget(self.head)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.details)
        layout.addLayout(
            side_by_side(self.download_button, self.own_button, self.verify_button, self.forget_button)
        )
        layout.addLayout(side_by_side(self.progress, self.cancel_button))
        layout.addWidget(self.status)
        self.setMinimumWidth(420)

    @property
    def weights(self) -> WeightsSummary | None:
        """The selected entry."""
        selection = self.table.selectionModel()
        rows = selection.selectedRows() if selection is not None else []
        return self.model.weights(rows[0].row()) if rows else None

    def show_details(self, one: WeightsSummary | None) -> None:
        """Show what is known of an entry, and what can be done with it."""
        self.details.setText(details(one) if one is not None else "Choose weights to see their licence.")
        self.download_button.setEnabled(one is not None and one.downloadable and not one.usable)
        self.download_button.setText("Go on downloading" if one and one.state == "partial" else "Download")
        self.own_button.setEnabled(one is not None)
        self.verify_button.setEnabled(one is not None and one.usable)
        self.forget_button.setVisible(one is not None and one.state == "own")

    def confirm(self, words: str) -> bool:
        """Ask the user before something large or lasting."""
        answer = QMessageBox.question(self, "MedReason models", words)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _choose_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder with the weights"):
            self.folder_wanted.emit(folder)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "File with the weights")
        if path:
            self.folder_wanted.emit(path)

    def show_busy(self, words: str, fraction: float | None) -> None:
        """Show how far the work is; None for unknown."""
        self.progress.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.progress.setValue(round(1000 * fraction))
        self.progress.show()
        self.cancel_button.show()
        self.status.setText(words)

    def show_idle(self, words: str = "") -> None:
        """Show how the last work ended."""
        self.progress.hide()
        self.cancel_button.hide()
        self.status.setText(words)
