"""Editing one template of the bench: what is written, its preview and checks, and keeping it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from napari_medreason._qt import notify
from napari_medreason._qt.template_library import TemplateLibrary
from napari_medreason._qt.template_tryout import Tryout
from napari_medreason._qt.template_view import TemplateView
from napari_medreason.core.template_lint import lint
from napari_medreason.core.templates import KINDS, Template, checked
from napari_medreason.errors import MedReasonError, TemplateError

_WRITTEN = ("kind", "scope", "question", "answer", "reasoning", "split")

_NEW = "new-"
"""How ids of templates begin that are not in the library yet."""
_REMOVING = {
    True: "Go back to the template as it came with the program",
    False: "Take this template out of your file",
}

Change = Callable[[Callable[[], Any]], bool]


class TemplateEditing:
    """Joins the editor with the library.

    change(action) runs an action that changes the library, shows the result, tells faults, and says
    whether it was done. What is written and not saved stays with its template while the dock is open.
    """

    def __init__(self, view: TemplateView, tryout: Tryout, change: Change) -> None:
        self.library: TemplateLibrary | None = None
        self._view, self._tryout, self._change = view, tryout, change
        self._unsaved: dict[str, dict[str, Any]] = {}
        self._begun = 0
        view.editor.edited.connect(self.show_checks)
        view.editor.save_wanted.connect(self.save)
        view.editor.discard_wanted.connect(self.discard)
        view.new_button.clicked.connect(self.new)
        view.copy_button.clicked.connect(self.copy)
        view.versions.bring_back_wanted.connect(self.bring_back)
        tryout.changed.connect(self.show_checks)

    def leave_row(self) -> None:
        """Another template is chosen: remember what is written for this one."""
        editor = self._view.editor
        if editor.template is not None:
            self._unsaved.pop(editor.template.id, None)
            if editor.changed:
                self._unsaved[editor.template.id] = editor.values

    def show_current(self) -> None:
        """Show the template of the current row, with what was written for it before."""
        view, library = self._view, self.library
        template_id = view.current_id
        if library is None or not template_id:
            if not view.editor.is_new:
                view.editor.show_template(None, is_new=False)
                view.versions.show_versions(())
            return
        history = library.history(template_id)
        view.editor.show_template(history[-1], is_new=False)
        if written := self._unsaved.pop(template_id, None):
            view.editor.write(written)
        view.versions.show_versions(history)
        view.remove_button.setEnabled(library.is_own(template_id))
        view.remove_button.setText("Revert" if library.ships(template_id) else "Remove")
        view.remove_button.setToolTip(_REMOVING[library.ships(template_id)])

    def show_checks(self) -> None:
        """Preview and checks of what is written now."""
        editor, library = self._view.editor, self.library
        if editor.template is None or library is None:
            editor.show_preview(None, ())
            editor.show_findings(None)
            return
        try:
            template = checked(id=editor.template.id, **editor.values)
        except TemplateError as error:
            editor.show_preview(None, ())
            editor.show_findings(None, str(error) if editor.changed else "")
            return
        editor.show_preview(template, self._tryout.facts(template))
        editor.show_findings(lint(template, library.newest))

    def save(self) -> None:
        """Keep what is written as a new version, or as a new template."""
        editor, library = self._view.editor, self.library
        if editor.template is None or library is None or not editor.changed:
            return
        template_id, values = editor.template.id, editor.values
        if editor.is_new:
            self._save_new(library, editor.template, values)
            return
        del values["system"]
        editor.show_template(editor.template, is_new=False)
        if not self._change(lambda: library.revise(template_id, **values)):
            editor.write(values)

    def _save_new(self, library: TemplateLibrary, template: Template, values: dict[str, Any]) -> None:
        made: list[Template] = []
        editor = self._view.editor
        editor.show_template(None, is_new=False)
        if self._change(lambda: made.append(library.add(**values))):
            self._view.select(made[0].id)
            self.show_current()
        else:
            editor.show_template(replace(template, system=values["system"]), is_new=True)
            editor.write(values)

    def keep_all(self) -> None:
        """The dock closes: keep all that is written as drafts, where it can be kept."""
        self.leave_row()
        library = self.library
        if library is None:
            return
        for template_id, values in self._unsaved.items():
            try:
                _keep(library, template_id, values)
            except MedReasonError as error:
                notify.report(error)

    def discard(self) -> None:
        """Drop what is written since the last version."""
        editor = self._view.editor
        if editor.template is not None:
            self._unsaved.pop(editor.template.id, None)
            editor.show_template(None, is_new=False)
            self.show_current()

    def new(self) -> None:
        """Begin a template of the system that is listed, or go on with one that was begun and not saved."""
        self.leave_row()
        begun = [template_id for template_id in self._unsaved if template_id.startswith(_NEW)]
        values = self._unsaved.pop(begun[-1]) if begun else None
        system = values["system"] if values else str(self._view.system.currentData() or "medpos")
        fields: dict[str, Any] = {"id": self._new_id(), "system": system, "kind": KINDS[system][0]}
        self._begin(Template(**fields, scope="any", question="", answer=""))
        if values:
            self._view.editor.write(values)

    def _new_id(self) -> str:
        """Not two new templates alike: what is written for each is remembered."""
        self._begun += 1
        return f"{_NEW}{self._begun}"

    def copy(self) -> None:
        """Begin a template with the words of the current one."""
        if self.library is not None and self._view.current_id:
            old = self.library.template(self._view.current_id)
            written = {field: getattr(old, field) for field in _WRITTEN}
            self._begin(Template(id=self._new_id(), system=old.system, **written))

    def _begin(self, template: Template) -> None:
        self.leave_row()
        self._view.pages.setCurrentWidget(self._view.editor)
        self._view.editor.show_template(template, is_new=True)
        self._view.editor.texts["question"].setFocus()

    def bring_back(self, version: int) -> None:
        """Make an older version the newest again, as a version of its own."""
        library, template_id = self.library, self._view.current_id
        if library is None or not template_id:
            return
        old = next(one for one in library.history(template_id) if one.version == version)
        fields = {field: getattr(old, field) for field in _WRITTEN}
        self._change(lambda: library.revise(template_id, **fields))


def _keep(library: TemplateLibrary, template_id: str, values: dict[str, Any]) -> None:
    """Keep written values as the next version, or as a new template when there is none of this id."""
    if all(one.id != template_id for one in library.newest):
        library.add(**values)
        return
    library.revise(template_id, **{field: values[field] for field in _WRITTEN})
