"""The page of the bench where templates are approved or rejected, and where their versions are compared."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_medreason.core.template_review import changed_words
from napari_medreason.core.templates import TEXTS, Template

_MARKS = {
    "same": "{}",
    "removed": "<span style='color:#d66'><s>{}</s></span>",
    "added": "<span style='color:#5b6'><u>{}</u></span>",
}


class ReviewPage(QWidget):
    """Emits the decision on the selected templates."""

    approve_wanted = Signal()
    reject_wanted = Signal()
    reopen_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary = QLabel(self)
        self.summary.setWordWrap(True)
        self.summary.setTextFormat(Qt.TextFormat.PlainText)
        self.reviewer, self.reason = QLineEdit(self), QLineEdit(self)
        self.reviewer.setPlaceholderText("Your name or initials")
        self.reason.setPlaceholderText("Needed to reject")
        self.approve_button = QPushButton("Approve", self)
        self.reject_button = QPushButton("Reject", self)
        self.reopen_button = QPushButton("Back to draft", self)
        self.approve_button.clicked.connect(self.approve_wanted)
        self.reject_button.clicked.connect(self.reject_wanted)
        self.reopen_button.clicked.connect(self.reopen_wanted)
        for edit in (self.reviewer, self.reason):
            edit.textChanged.connect(self._update)
        self._count = 0
        self._lay_out()
        self.show_templates([])

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Reviewer", self.reviewer)
        form.addRow("Reason", self.reason)
        buttons = QHBoxLayout()
        for button in (self.approve_button, self.reject_button, self.reopen_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.summary)
        layout.addStretch(1)

    def show_templates(self, templates: Sequence[Template]) -> None:
        """Show the review of the selected templates."""
        self._count = len(templates)
        lines = [f"{one.id}, version {one.version}: {review_words(one)}" for one in templates[:12]]
        more = [f"… and {self._count - 12} more"] if self._count > 12 else []
        nothing = ["Select templates in the list; several with Shift or Ctrl."]
        self.summary.setText("\n".join([*lines, *more] or nothing))
        self._update()

    def _update(self) -> None:
        number = f" {self._count}" if self._count > 1 else ""
        self.approve_button.setText(f"Approve{number}")
        self.reject_button.setText(f"Reject{number}")
        named = bool(self._count and self.reviewer.text().strip())
        self.approve_button.setEnabled(named)
        self.reject_button.setEnabled(named and bool(self.reason.text().strip()))
        self.reopen_button.setEnabled(bool(self._count))
        self.approve_button.setToolTip("" if named else "Write your name first")


def review_words(template: Template) -> str:
    """The state of a template with its reviewer, day and reason."""
    if template.state == "draft":
        return "draft, not reviewed"
    because = f" because {template.reason}" if template.reason else ""
    return f"{template.state} by {template.reviewer} on {template.date}{because}"


class VersionsPage(QWidget):
    """Every version of one template, compared with the one before."""

    bring_back_wanted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._versions: Sequence[Template] = ()
        self.choice = QComboBox(self)
        self.text = QTextBrowser(self)
        self.bring_back_button = QPushButton("Bring this version back as the newest", self)
        self.choice.currentIndexChanged.connect(self._show)
        self.bring_back_button.clicked.connect(
            lambda: self.bring_back_wanted.emit(self._versions[self.choice.currentIndex()].version)
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.choice)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.bring_back_button)

    def show_versions(self, versions: Sequence[Template]) -> None:
        """Show the versions of a template, oldest first; the newest is chosen."""
        self._versions = versions
        self.choice.blockSignals(True)
        self.choice.clear()
        self.choice.addItems([f"Version {one.version}: {review_words(one)}" for one in versions])
        self.choice.setCurrentIndex(len(versions) - 1)
        self.choice.blockSignals(False)
        self._show()

    def _show(self) -> None:
        place = self.choice.currentIndex()
        older = 0 <= place < len(self._versions) - 1
        self.bring_back_button.setEnabled(older)
        if place < 0:
            self.text.setHtml("")
        elif place == 0:
            self.text.setHtml(_whole(self._versions[0]))
        else:
            self.text.setHtml(difference_html(self._versions[place - 1], self._versions[place]))


def _whole(template: Template) -> str:
    fields = [(field, getattr(template, field)) for field in TEXTS if getattr(template, field)]
    return "".join(f"<p><b>{field.capitalize()}</b><br>{escape(text)}</p>" for field, text in fields)


def difference_html(old: Template, new: Template) -> str:
    """The newer version with removed words struck out and added ones underlined."""
    parts = [f"<p>Version {new.version} against version {old.version}</p>"]
    for field in (*TEXTS, "kind", "scope", "split"):
        before, after = getattr(old, field), getattr(new, field)
        if before == after:
            continue
        runs = [_MARKS[sort].format(escape(words)) for sort, words in changed_words(before, after)]
        parts.append(f"<p><b>{field.capitalize()}</b><br>{' '.join(runs)}</p>")
    if len(parts) == 1:
        parts.append("<p>The wording is the same.</p>")
    return "".join(parts)
