"""The template bench: joins the list and its pages with the library, the checks and the viewer's labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QMenu, QVBoxLayout

from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.template_checks import BackgroundLint
from napari_medreason._qt.template_editing import TemplateEditing
from napari_medreason._qt.template_facts import LabelSource, facts_of_layer
from napari_medreason._qt.template_library import TemplateLibrary, own_file
from napari_medreason._qt.template_tryout import Tryout
from napari_medreason._qt.template_view import TemplateView
from napari_medreason.core.anatomy import SUPER_CATEGORIES
from napari_medreason.core.template_balance import Balance, balance
from napari_medreason.core.template_lint import lint
from napari_medreason.core.template_samples import sample_facts
from napari_medreason.core.templates import Template
from napari_medreason.errors import MedReasonError
from napari_medreason.io.templates import read_templates, shipped, write_templates

_FILES = "Templates (*.yaml *.yml *.json *.csv)"


class TemplateBench(Docked):
    """Write, check, review and count the templates of questions and answers.

    path: the user's file of templates, for tests; otherwise in the user's data folder.
    """

    def __init__(self, napari_viewer: Viewer, path: Path | None = None) -> None:
        super().__init__()
        self._path = path or own_file()
        self.library = TemplateLibrary((), self._path)
        self.view = TemplateView(self)
        self._loading, self._counting = Background(self), Background(self)
        self.checks = BackgroundLint(self)
        self.tryout = Tryout(napari_viewer, self.view.source, self.view.label)
        self.editing = TemplateEditing(self.view, self.tryout, self.change)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._connect()
        self._show_source()
        self.say("Reading templates …")
        self._loading.start(_shipped_and_warm, then=self._open_library, failed=self._fail)

    def _connect(self) -> None:
        view = self.view
        view.row_changed.connect(self._on_row)
        view.selection_changed.connect(self._show_review)
        view.system.currentIndexChanged.connect(self._show_split)
        view.review.approve_wanted.connect(self.approve)
        view.review.reject_wanted.connect(self.reject)
        view.review.reopen_wanted.connect(lambda: self.change(self.library.reopen, view.selected_ids))
        view.split_page.draw_wanted.connect(self._draw_split)
        view.balance_page.count_wanted.connect(self.count)
        view.remove_button.clicked.connect(lambda: self.change(self.library.remove, view.current_id))
        view.undo_button.clicked.connect(lambda: self.change(self.library.undo))
        view.redo_button.clicked.connect(lambda: self.change(self.library.redo))
        self.checks.progressed.connect(lambda: view.table.set_findings(self.checks.findings))
        self.checks.failed.connect(notify.report)
        self.tryout.said.connect(self._on_tryout)
        self.tryout.changed.connect(self._show_source)
        menu = QMenu(self)
        menu.addAction("Import…", self._choose_import)
        menu.addAction("Export what is listed…", partial(self._choose_export, listed=True))
        menu.addAction("Export every version…", partial(self._choose_export, listed=False))
        menu.addAction("Reload", lambda: self.change(self.library.reload))
        view.files_button.setMenu(menu)

    def _open_library(self, templates: tuple[Template, ...]) -> None:
        self.library = self.editing.library = TemplateLibrary(templates, self._path)
        reviewers = [one.reviewer for one in self.library.newest if one.reviewer]
        self.view.review.reviewer.setText(reviewers[-1] if reviewers else "")
        self.refresh()
        self.view.rows.selectRow(0)
        self.say(self.library.fault)

    def say(self, words: str) -> None:
        """Show one line about what was done, or what is in the way."""
        self.view.status.setText(words)
        self.view.status.setVisible(bool(words))

    def refresh(self) -> None:
        """Show the library as it is now."""
        view, library, newest = self.view, self.library, self.library.newest
        current = view.current_id
        view.table.set_templates(newest)
        self.checks.look_at(newest)
        view.table.set_findings(self.checks.findings)
        for button, name in ((view.undo_button, library.undoes), (view.redo_button, library.redoes)):
            button.setEnabled(bool(name))
            button.setToolTip(f"The last change: {name}" if name else "")
        view.show_count()
        self._show_split()
        if current and view.current_id != current:
            view.select(current)
        self.editing.show_current()
        self._show_review()

    def change(self, action: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
        """Change the library and show it; a fault is told, and then nothing has changed."""
        self.editing.leave_row()
        try:
            action(*arguments, **named)
        except MedReasonError as error:
            notify.report(error)
            self.say(str(error))
            return False
        self.refresh()
        self.say(self.library.fault)
        return True

    def _on_row(self) -> None:
        self.editing.leave_row()
        self.editing.show_current()

    def _on_tryout(self, words: str) -> None:
        if self.library.newest:
            self.say(words or self.library.fault)

    def _show_source(self) -> None:
        self.view.balance_page.show_source(self.tryout.words)

    def _show_review(self) -> None:
        known = {one.id: one for one in self.library.newest}
        self.view.review.show_templates([known[key] for key in self.view.selected_ids if key in known])

    def _show_split(self) -> None:
        system = str(self.view.system.currentData() or "")
        self.view.split_page.show_templates(self.library.templates, system)

    def approve(self) -> None:
        """Approve the selected templates."""
        self.change(self.library.approve, self.view.selected_ids, reviewer=self._reviewer)

    def reject(self) -> None:
        """Reject the selected templates."""
        reason = self.view.review.reason.text()
        if self.change(self.library.reject, self.view.selected_ids, reviewer=self._reviewer, reason=reason):
            self.view.review.reason.clear()

    @property
    def _reviewer(self) -> str:
        return self.view.review.reviewer.text().strip()

    def _draw_split(self, share: float, seed: int) -> None:
        system = str(self.view.system.currentData())
        self.change(self.library.draw_split, system, test_share=share, seed=seed)

    def count(self) -> None:
        """Count yield and balance of the listed templates, over the chosen labels or over sample facts."""
        try:
            source = self.tryout.source()
        except MedReasonError as error:
            notify.report(error)
            return
        self.view.balance_page.show_busy(True)
        wanted = [self.library.template(key) for key in self.view.listed_ids]
        job = partial(_counted, wanted, source)
        self._counting.start(job, then=self._show_balance, failed=self._fail)

    def _show_balance(self, result: Balance) -> None:
        self.view.balance_page.show_busy(False)
        self.view.balance_page.show_balance(result)

    def _choose_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import templates", "", _FILES)
        if path:
            self.import_file(Path(path))

    def import_file(self, path: Path) -> None:
        """Take the templates of a file into the user's own."""
        counts: list[tuple[int, int]] = []
        if self.change(lambda: counts.append(self.library.take_in(read_templates(path)))):
            taken, renumbered = counts[0]
            again = f", {renumbered} of them as new versions" if renumbered else ""
            self.say(f"{taken} templates were taken from {path.name}{again}.")

    def _choose_export(self, *, listed: bool) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export templates", "templates.yaml", _FILES)
        if path:
            self.export_file(Path(path), listed=listed)

    def export_file(self, path: Path, *, listed: bool) -> None:
        """Write the newest versions of the listed templates, or every version of all."""
        newest = [self.library.template(key) for key in self.view.listed_ids]
        templates = newest if listed else self.library.templates
        if self.change(write_templates, path, templates):
            self.say(f"{len(templates)} templates were written to {path.name}.")

    def _fail(self, error: Exception) -> None:
        self.view.balance_page.show_busy(False)
        notify.report(error)
        self.say(str(error))

    def take_apart(self) -> None:
        """Keep what is written as a draft, if it can be kept, and leave the viewer."""
        self.editing.keep_all()
        self._loading.cancel()
        self._counting.cancel()
        self.checks.stop()
        self.tryout.close()


def _shipped_and_warm(**_signals: object) -> tuple[Template, ...]:
    """The shipped templates, with one of them compared with all, so that the next comparison is fast."""
    templates = shipped()
    for one in {one.system: one for one in templates}.values():
        lint(one, templates)
    return templates


def _counted(templates: list[Template], source: LabelSource | None, **_signals: object) -> Balance:
    if source is not None:
        return balance(templates, facts_of_layer(source))
    pairs = [(scope, kind) for scope in SUPER_CATEGORIES for kind in ("near", "far")]
    return balance(templates, [facts for scope, kind in pairs for facts in sample_facts(scope, kind)])
