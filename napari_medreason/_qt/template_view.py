"""The template bench as the user sees it: list, filters, pages. Rules are in `template_widget`."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.template_counts_page import BalancePage, SplitPage
from napari_medreason._qt.template_editor import TemplateEditor
from napari_medreason._qt.template_review_page import ReviewPage, VersionsPage
from napari_medreason._qt.template_table import COLUMNS, SYSTEM_NAMES, TemplateFilter, TemplateTable
from napari_medreason.core.templates import KINDS

_WIDTHS = {"Template": 150, "Kind": 62, "Scope": 80, "State": 66, "Split": 44, "To look at": 64}


class TemplateView(QWidget):
    """Widgets and their layout."""

    row_changed = Signal()
    selection_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = TemplateTable(self)
        self.filter = TemplateFilter(self.table, self)
        self._make_widgets()
        self._lay_out()
        self.search.textChanged.connect(self.filter.search)
        self.system.currentIndexChanged.connect(self._on_system)
        for choice, field in ((self.system, "system"), (self.kind, "kind"), (self.state, "state")):
            choice.currentIndexChanged.connect(
                lambda _, field=field, choice=choice: self.filter.want(field, str(choice.currentData() or ""))
            )
        if (selection := self.rows.selectionModel()) is not None:
            selection.currentRowChanged.connect(lambda *_: self.row_changed.emit())
            selection.selectionChanged.connect(lambda *_: self.selection_changed.emit())
        self.only_findings.toggled.connect(self.filter.want_findings)
        for signal in (self.filter.modelReset, self.filter.layoutChanged):
            signal.connect(self.show_count)
        self._on_system()

    def _make_widgets(self) -> None:
        self.source, self.label = QComboBox(self), QComboBox(self)
        self.source.setToolTip("Where the preview takes its facts from: a Labels layer, on the slice you see")
        self.label.setToolTip("The label on this slice that the preview is about")
        self.search = QLineEdit(self)
        self.search.setPlaceholderText("Search words, ids, scopes")
        self.search.setClearButtonEnabled(True)
        self.system, self.kind, self.state = (QComboBox(self) for _ in range(3))
        for choice, words in ((self.system, "System"), (self.state, "State")):
            choice.addItem(words, "")
        for key, name in SYSTEM_NAMES.items():
            self.system.addItem(name, key)
        for state in ("draft", "approved", "rejected"):
            self.state.addItem(state, state)
        self.only_findings = QCheckBox("To look at", self)
        self.only_findings.setToolTip("Only templates in which the checks found something")
        self.count = QLabel(self)
        self.rows = QTableView(self)
        self.rows.setModel(self.filter)
        self.new_button, self.copy_button = QPushButton("New", self), QPushButton("Copy", self)
        self.remove_button, self.files_button = QPushButton("Remove", self), QPushButton("File", self)
        self.undo_button, self.redo_button = QPushButton("Undo", self), QPushButton("Redo", self)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.editor, self.review, self.versions = TemplateEditor(self), ReviewPage(self), VersionsPage(self)
        self.split_page, self.balance_page = SplitPage(self), BalancePage(self)
        self._set_up_rows()

    def _set_up_rows(self) -> None:
        self.rows.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.rows.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.rows.setSortingEnabled(True)
        self.rows.setShowGrid(False)
        self.rows.setWordWrap(False)
        self.rows.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # as they come, until a head is clicked
        if (upright := self.rows.verticalHeader()) is not None:
            upright.hide()
            upright.setDefaultSectionSize(self.rows.fontMetrics().height() + 6)
        for column, name in enumerate(COLUMNS):
            self.rows.setColumnWidth(column, _WIDTHS.get(name, 400))

    def _lay_out(self) -> None:
        for choice in (self.source, self.label, self.system, self.kind, self.state):
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choice.setMinimumContentsLength(6)
        grid = QGridLayout()
        grid.addWidget(QLabel("Try on", self), 0, 0)
        grid.addWidget(self.source, 0, 1, 1, 2)
        grid.addWidget(self.label, 0, 3)
        grid.addWidget(self.search, 1, 0, 1, 3)
        grid.addWidget(self.count, 1, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        grid.setColumnStretch(3, 1)
        filters = QHBoxLayout()
        for choice in (self.system, self.kind, self.state):
            filters.addWidget(choice, 1)
        filters.addWidget(self.only_findings)
        buttons = QHBoxLayout()
        for button in self._buttons:
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        pages = QTabWidget(self)
        for page, name in self._pages.items():
            pages.addTab(page, name)
        self.pages = pages
        splitter = QSplitter(Qt.Orientation.Vertical, self)
        splitter.addWidget(self.rows)
        splitter.addWidget(pages)
        splitter.setStretchFactor(0, 1)
        splitter.setStretchFactor(1, 2)
        splitter.setChildrenCollapsible(False)
        splitter.setSizes([240, 400])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(grid)
        layout.addLayout(filters)
        layout.addLayout(buttons)
        layout.addWidget(splitter, 1)
        layout.addWidget(self.status)
        self.setMinimumWidth(420)

    @property
    def _buttons(self) -> tuple[QPushButton, ...]:
        return (
            self.new_button,
            self.copy_button,
            self.remove_button,
            self.undo_button,
            self.redo_button,
            self.files_button,
        )

    @property
    def _pages(self) -> dict[QWidget, str]:
        return {
            self.editor: "Edit",
            self.review: "Review",
            self.versions: "Versions",
            self.split_page: "Split",
            self.balance_page: "Balance",
        }

    def _on_system(self) -> None:
        """Offer the kinds of the chosen system, or all."""
        system = str(self.system.currentData() or "")
        self.kind.clear()
        self.kind.addItem("Kind", "")
        for key, kinds in KINDS.items():
            for kind in kinds if system in ("", key) else ():
                self.kind.addItem(kind, kind)

    def show_count(self) -> None:
        """How many templates are listed."""
        shown, total = self.filter.rowCount(), self.table.rowCount()
        self.count.setText(f"{shown} of {total}")

    @property
    def current_id(self) -> str:
        """Id of the template that is edited, "" for none."""
        index = self.filter.mapToSource(self.rows.currentIndex())
        return self.table.template(index.row()).id if index.isValid() else ""

    @property
    def selected_ids(self) -> list[str]:
        """Ids of the selected templates, in the order of the list."""
        selection = self.rows.selectionModel()
        rows = sorted(selection.selectedRows(), key=lambda index: index.row()) if selection else []
        return [self.table.template(self.filter.mapToSource(index).row()).id for index in rows]

    def select(self, template_id: str) -> None:
        """Select one template, if the filters show it."""
        row = self.table.row_of(template_id)
        index = self.filter.mapFromSource(self.table.index(row, 0)) if row >= 0 else None
        if index is not None and index.isValid():
            self.rows.selectRow(index.row())
            self.rows.scrollTo(index)

    @property
    def listed_ids(self) -> list[str]:
        """Ids of all templates that the filters show, in their order."""
        places = [self.filter.mapToSource(self.filter.index(row, 0)) for row in range(self.filter.rowCount())]
        return [self.table.template(place.row()).id for place in places]
