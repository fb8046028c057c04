"""The list of templates as a table model, with search and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QModelIndex, QObject, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor

from napari_medreason._qt.row_model import RowModel
from napari_medreason.core.template_lint import Finding
from napari_medreason.core.templates import Template

COLUMNS = ("Template", "Kind", "Scope", "State", "Split", "To look at", "Question")
TO_LOOK_AT = COLUMNS.index("To look at")
SYSTEM_NAMES = {"medpos": "MedPos", "mlmr-sd": "MLMR-SD", "u-mrg": "U-MRG"}
_STATE_COLOURS = {"approved": QColor(80, 170, 90), "rejected": QColor(210, 90, 80)}


class TemplateTable(RowModel):
    """One row per template, its newest version; findings come later, from the lint in the background."""

    columns = COLUMNS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Template] = []
        self._findings: Mapping[str, Sequence[Finding]] = {}

    def set_templates(self, templates: Sequence[Template]) -> None:
        """Show these templates; the same ids in the same order keep selection and scrolling."""
        same_ids = [one.id for one in templates] == [one.id for one in self._rows]
        if not same_ids:
            self.beginResetModel()
        self._rows = list(templates)
        if not same_ids:
            self.endResetModel()
        elif self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, len(COLUMNS) - 1))

    def set_findings(self, findings: Mapping[str, Sequence[Finding]]) -> None:
        """What the lint found, by template id; an id that is missing was not looked at yet."""
        self._findings = findings
        if self._rows:
            self.dataChanged.emit(self.index(0, TO_LOOK_AT), self.index(len(self._rows) - 1, TO_LOOK_AT))

    def template(self, row: int) -> Template:
        """The template of a row."""
        return self._rows[row]

    def row_of(self, template_id: str) -> int:
        """Row of a template, -1 when it is not there."""
        return next((row for row, one in enumerate(self._rows) if one.id == template_id), -1)

    def finding_count(self, template: Template) -> int | None:
        """How much there is to look at; None before the lint came to it."""
        found = self._findings.get(template.id)
        return None if found is None else len(found)

    def row_total(self) -> int:
        return len(self._rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        template, column = self._rows[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(template, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tool_tip(template)
        if role == Qt.ItemDataRole.ForegroundRole and column == "State":
            return _STATE_COLOURS.get(template.state)
        return None

    def _words(self, template: Template, column: str) -> str:
        if column == "To look at":
            count = self.finding_count(template)
            return "…" if count is None else str(count) if count else ""
        return {
            "Template": template.id,
            "Kind": template.kind,
            "Scope": template.scope,
            "State": template.state,
            "Split": template.split,
            "Question": template.question,
        }[column]


def _tool_tip(template: Template) -> str:
    system = SYSTEM_NAMES[template.system]
    review = ""
    if template.state != "draft":
        because = f" because {template.reason}" if template.reason else ""
        review = f"\n{template.state} by {template.reviewer} on {template.date}{because}"
    return f"{system}, {template.kind}, version {template.version}\n{template.question}{review}"


class TemplateFilter(QSortFilterProxyModel):
    """Rows that hold all searched words and fit the chosen system, kind and state."""

    def __init__(self, table: TemplateTable, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self._words: tuple[str, ...] = ()
        self._wanted: dict[str, str] = {}
        self._only_findings = False
        self.setSourceModel(table)

    def search(self, text: str) -> None:
        """Keep rows that hold every word of `text` in id, scope, question, answer or reasoning."""
        self._words = tuple(text.lower().split())
        self.invalidate()

    def want(self, field: str, value: str) -> None:
        """Keep rows whose field "system", "kind", "state" or "split" has a value; "" keeps all."""
        self._wanted[field] = value
        self.invalidate()

    def want_findings(self, only: bool) -> None:
        """Keep only rows with something to look at."""
        self._only_findings = only
        self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: QModelIndex) -> bool:
        template = self._table.template(source_row)
        if any(value and getattr(template, field) != value for field, value in self._wanted.items()):
            return False
        if self._only_findings and not self._table.finding_count(template):
            return False
        text = " ".join((template.id, template.scope, *template.texts)).lower()
        return all(word in text for word in self._words)
