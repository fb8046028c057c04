"""The data-set dock as the user sees it: pages, output folder, start, progress, result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTabWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.dataset_review import RecordReview
from napari_medreason._qt.dataset_sources import SourcesPage
from napari_medreason._qt.dataset_words import AmountsPage, WordsPage

_COUNTS = {
    "split": "Records by split",
    "patients": "Patients by split",
    "state": "Records by review",
    "source": "Records by source",
    "super_category": "Records by kind of structure",
    "modality": "Records by modality",
}


class DataSetView(QWidget):
    """Widgets and their layout; rules are in `dataset_widget`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sources, self.words, self.amounts = SourcesPage(self), WordsPage(self), AmountsPage(self)
        self.review = RecordReview(self)
        self.result = QTreeWidget(self)
        self.result.setHeaderLabels(["Result", "Count"])
        self.result.setColumnWidth(0, 290)
        self.out = QLineEdit(self)
        self.out.setPlaceholderText("Empty folder, or that of a build to go on with")
        self.out_button = QPushButton("…", self)
        self.out_button.setToolTip("Choose the output folder")
        self.start_button = QPushButton("Build", self)
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(4)
        keeps_its_place = self.progress.sizePolicy()
        keeps_its_place.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(keeps_its_place)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.words.system_changed.connect(lambda: self.amounts.show_system(self.words.chosen_system))
        self._lay_out()
        self.show_busy(False)

    def _lay_out(self) -> None:
        self.pages = QTabWidget(self)
        for page, name in (
            (self.sources, "Sources"),
            (self.words, "Words"),
            (self.amounts, "Amounts"),
            (self.result, "Result"),
            (self.review, "Review"),
        ):
            self.pages.addTab(page, name)
        grid = QGridLayout()
        grid.addWidget(QLabel("Output", self), 0, 0)
        grid.addWidget(self.out, 0, 1)
        grid.addWidget(self.out_button, 0, 2)
        grid.addWidget(self.start_button, 1, 0, 1, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addWidget(self.pages, 1)
        layout.addLayout(grid)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        self.setMinimumWidth(440)

    def show_busy(self, busy: bool) -> None:
        """Whether a build is under way."""
        self.start_button.setText("Cancel" if busy else "Build")
        self.progress.setVisible(busy)
        if busy:
            self.progress.setRange(0, 0)
        for page in (self.sources, self.words, self.amounts, self.out, self.out_button):
            page.setEnabled(not busy)

    def show_progress(self, event: Mapping[str, Any]) -> None:
        """A progress line of the build."""
        self.progress.setRange(0, int(event["total"]))
        self.progress.setValue(int(event["cases"]))
        self.status.setText(progress_words(event))

    def show_result(self, event: Mapping[str, Any]) -> None:
        """Counts of a finished build, and what was left out by reason."""
        self.result.clear()
        counts = event["counts"]
        self._group("Records", {}, total=int(event["records"]))
        self._group("Left out", event["left_out"], total=sum(event["left_out"].values()))
        for key, title in _COUNTS.items():
            if counts.get(key):
                self._group(title, counts[key])

    def _group(self, title: str, table: Mapping[str, int], total: int | None = None) -> None:
        top = QTreeWidgetItem([title, "" if total is None else f"{total:,}"])
        for key, count in table.items():
            row = QTreeWidgetItem([key, f"{count:,}"])
            row.setToolTip(0, key)
            top.addChild(row)
        self.result.addTopLevelItem(top)
        top.setExpanded(True)


def progress_words(event: Mapping[str, Any]) -> str:
    """Cases, records, what was left out and what an earlier start had done; requests and cost of a model."""
    resumed = f", {event['resumed']:,} of them before" if event["resumed"] else ""
    words = (
        f"Case {event['cases']:,} of {event['total']:,}{resumed}: {event['records']:,} records, "
        f"{event['dropped']:,} left out"
    )
    usage = event.get("usage") or {}
    if usage.get("requests") or usage.get("cached"):
        words += (
            f"; {usage['requests']:,} requests, {usage['refused']:,} texts refused, "
            f"{usage['cached']:,} from before, {usage['input_tokens'] + usage['output_tokens']:,} tokens"
        )
    return words
