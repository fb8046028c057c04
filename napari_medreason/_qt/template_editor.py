"""The page of the bench that edits one template: its fields, how it reads filled, what the lint says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.parts import side_by_side
from napari_medreason._qt.template_slot_edit import SlotEdit
from napari_medreason._qt.template_table import SYSTEM_NAMES
from napari_medreason.core.anatomy import SUPER_CATEGORIES
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_lint import Finding
from napari_medreason.core.template_slots import render, slot_fault
from napari_medreason.core.templates import KINDS, TEXTS, Template, why_not

SETTLE_MILLISECONDS = 200
"""Pause in typing after which preview and lint follow."""
_LINES = {"question": 2, "answer": 2, "reasoning": 3}
_CHECK_WORDS = {
    "slot": "Slot",
    "leak": "Gives the answer away",
    "name": "Gives the name away",
    "incomplete": "Incomplete",
    "cue": "Wrong cue",
    "duplicate": "Repeats another",
    "grammar": "Grammar",
    "diagnostic": "Diagnostic wording",
}


class TemplateEditor(QWidget):
    """Emits `edited` when typing settles and `save_wanted`; shows what it is told."""

    edited = Signal()
    save_wanted = Signal()
    discard_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._template: Template | None = None
        self._is_new = self._loading = False
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLE_MILLISECONDS)
        self._settling.timeout.connect(self.edited)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.show_template(None, is_new=False)

    def _make_widgets(self) -> None:
        self.title = QLabel(self)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.system, self.kind, self.scope, self.split = (QComboBox(self) for _ in range(4))
        for key, name in SYSTEM_NAMES.items():
            self.system.addItem(name, key)
        self.scope.setEditable(True)
        self.scope.addItems(["any", "anatomy", "finding", *SUPER_CATEGORIES])
        self.scope.setToolTip("“any”, “anatomy”, “finding”, one of the fifteen kinds, or a structure's id")
        self.split.addItems(["train", "test"])
        self.texts = {field: SlotEdit(_LINES[field], self) for field in TEXTS}
        self.texts["question"].setPlaceholderText("Where {is} {structure}? Type { for the list of slots.")
        self.texts["reasoning"].setPlaceholderText("Steps that lead to the answer; may be empty.")
        self.preview = QTextBrowser(self)
        self.preview.setOpenLinks(False)
        self.preview.setMinimumHeight(60)
        self.findings = QTextBrowser(self)
        self.findings.setOpenLinks(False)
        self.findings.setMinimumHeight(48)
        self.save_button = QPushButton("Save", self)
        self.discard_button = QPushButton("Discard changes", self)
        for choice in (self.system, self.kind, self.scope, self.split):
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choice.setMinimumContentsLength(6)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("For", side_by_side(self.system, self.kind))
        form.addRow("Scope", side_by_side(self.scope, self.split))
        for field in TEXTS:
            form.addRow(field.capitalize(), self.texts[field])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.title)
        layout.addLayout(form)
        layout.addWidget(self.preview, 3)
        layout.addWidget(self.findings, 2)
        layout.addLayout(side_by_side(self.save_button, self.discard_button))

    def _connect(self) -> None:
        self.system.currentIndexChanged.connect(self._fill_kinds)
        for choice in (self.system, self.kind, self.split):
            choice.currentIndexChanged.connect(self._on_change)
        self.scope.currentTextChanged.connect(self._on_change)
        for edit in self.texts.values():
            edit.textChanged.connect(self._on_change)
        self.save_button.clicked.connect(self.save_wanted)
        self.discard_button.clicked.connect(self.discard_wanted)

    def show_template(self, template: Template | None, *, is_new: bool) -> None:
        """Show a template to edit; None empties the page. is_new: it is not in the library yet."""
        self._template = template
        self._is_new = is_new
        self._loading = True
        self.system.setEnabled(is_new)
        for widget in (self.kind, self.scope, self.split, *self.texts.values()):
            widget.setEnabled(template is not None)
        if template is not None:
            self.system.setCurrentIndex(self.system.findData(template.system))
            self._fill_kinds()
            self.kind.setCurrentText(template.kind)
            self.scope.setCurrentText(template.scope)
            self.split.setCurrentText(template.split)
        for field, edit in self.texts.items():
            edit.setPlainText("" if template is None else getattr(template, field))
        self._loading = False
        self._settling.stop()
        self._show_state()
        self.edited.emit()

    def write(self, values: Mapping[str, Any]) -> None:
        """Write values into the fields, as the user would."""
        choices = {"kind": self.kind, "scope": self.scope, "split": self.split}
        for field, choice in choices.items():
            choice.setCurrentText(values[field])
        for field, edit in self.texts.items():
            edit.setPlainText(values[field])

    def _fill_kinds(self) -> None:
        kinds = KINDS[str(self.system.currentData())]
        if [self.kind.itemText(row) for row in range(self.kind.count())] != list(kinds):
            self.kind.clear()
            self.kind.addItems(kinds)

    def _on_change(self) -> None:
        if not self._loading:
            self._show_state()
            self._settling.start()

    def _show_state(self) -> None:
        template = self._template
        changed = self.changed
        if template is None:
            self.title.setText("Choose a template above, or press “New”.")
        elif self._is_new:
            self.title.setText("A new template")
        else:
            self.title.setText(f"{template.id}, version {template.version}, {template.state}")
        version = 1 if template is None or self._is_new else template.version + 1
        self.save_button.setText("Save as new draft" if self._is_new else f"Save as version {version}")
        self.save_button.setEnabled(changed)
        self.discard_button.setEnabled(changed)

    @property
    def is_new(self) -> bool:
        """Whether the template on the page is not in the library yet."""
        return self._template is not None and self._is_new

    @property
    def template(self) -> Template | None:
        """The template that was shown, as it was before editing."""
        return self._template

    @property
    def values(self) -> dict[str, Any]:
        """The fields as they are written now."""
        texts = {field: " ".join(edit.toPlainText().split()) for field, edit in self.texts.items()}
        return {
            "system": str(self.system.currentData()),
            "kind": self.kind.currentText(),
            "scope": self.scope.currentText().strip(),
            "split": self.split.currentText(),
            **texts,
        }

    @property
    def changed(self) -> bool:
        """Whether something was written that is not kept yet."""
        template = self._template
        return template is not None and any(
            getattr(template, field) != value for field, value in self.values.items()
        )

    def show_preview(self, template: Template | None, facts: Sequence[tuple[str, Facts]]) -> None:
        """How the texts read with facts, each with words on where these come from."""
        parts = [] if template is None else [_filled(template, words, one) for words, one in facts]
        self.preview.setHtml("".join(parts))

    def show_findings(self, findings: Sequence[Finding] | None, fault: str = "") -> None:
        """What there is to look at; fault: why the template can't be kept as it is."""
        if fault:
            self.findings.setHtml(f"<b>Can't be saved:</b> {escape(fault)}")
        elif findings is None:
            self.findings.setHtml("")
        elif findings:
            lines = [
                f"• <b>{_CHECK_WORDS[one.check]}</b> ({one.field}): {escape(one.words)}" for one in findings
            ]
            self.findings.setHtml("<br>".join(lines))
        else:
            self.findings.setHtml("Nothing to look at: the checks found no fault.")


def _filled(template: Template, words: str, facts: Facts) -> str:
    """One preview as HTML: filled, or why the template is not used for these facts."""
    heading = f"<p style='margin:6px 0 1px 0'><i>{escape(words)}</i></p>"
    if any(slot_fault(text) for text in template.texts):
        return heading
    reason = why_not(template, facts)
    note = f"<p style='margin:0'>Not used here: {escape(reason)}.</p>" if reason else ""
    lines = [
        f"<b>{field[0].upper()}</b>&nbsp; {escape(render(getattr(template, field), facts))}"
        for field in TEXTS
        if getattr(template, field)
    ]
    return f"{heading}{note}<p style='margin:0'>{'<br>'.join(lines)}</p>"
