"""The templates of the bench: those that ship, the user's own file over them, every change saved at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from napari_medreason.core import template_review as review
from napari_medreason.core.template_split import with_split
from napari_medreason.core.templates import System, Template, checked, latest
from napari_medreason.errors import ExportError, TemplateError
from napari_medreason.io.templates import read_templates, write_templates

FILE_NAME = "templates.json"
_MOST_UNDONE = 100

Own = tuple[Template, ...]


def own_file() -> Path:
    """The user's file of templates, in the folder that the system has for the data of programs."""
    return user_data_path("napari-medreason") / "templates" / FILE_NAME


class TemplateLibrary:
    """Shipped templates are never changed: a template is copied into the user's file at its first change.

    The file holds every version that was changed or reviewed here. Each change writes it whole or
    leaves it as it was; then nothing else has changed either. A file that can't be read is never
    written over: `fault` says why, and changes raise it.
    """

    def __init__(self, shipped: Sequence[Template], path: Path) -> None:
        self._shipped = tuple(shipped)
        self._shipped_ids = frozenset(template.id for template in shipped)
        self.path = path
        self.fault = ""
        self._own: Own = ()
        self._undone: list[tuple[str, Own]] = []
        self._done: list[tuple[str, Own]] = []
        self._bytes: bytes | None = None
        self.reload()

    def reload(self) -> None:
        """Read the user's file again; undo begins anew."""
        self._own, self.fault, self._bytes = (), "", _bytes_of(self.path)
        self._done.clear()
        self._undone.clear()
        if self._bytes is None:
            return
        try:
            self._own = read_templates(self.path)
        except TemplateError as error:
            self.fault = str(error)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every version of every template: the user's in place of the shipped one with its id and version."""
        own = {(template.id, template.version): template for template in self._own}
        merged = [own.pop((one.id, one.version), one) for one in self._shipped]
        return (*merged, *own.values())

    @property
    def newest(self) -> tuple[Template, ...]:
        """The newest version of every template."""
        return latest(self.templates)

    def template(self, template_id: str) -> Template:
        """The newest version of one template; KeyError when there is none."""
        return self.history(template_id)[-1]

    def history(self, template_id: str) -> tuple[Template, ...]:
        """Every version of one template, oldest first; KeyError when there is none."""
        versions = review.history(self.templates, template_id)
        if not versions:
            raise KeyError(template_id)
        return versions

    def ships(self, template_id: str) -> bool:
        """Whether a template of this id comes with the program."""
        return template_id in self._shipped_ids

    def is_own(self, template_id: str) -> bool:
        """Whether the user's file holds a template of this id."""
        return any(template.id == template_id for template in self._own)

    def free_id(self, system: System) -> str:
        """An id that is not taken, such as "medpos-own-03"."""
        pattern = re.compile(rf"{re.escape(system)}-own-(\d+)$")
        numbers = [int(found[1]) for one in self._own if (found := pattern.match(one.id))]
        return f"{system}-own-{max(numbers, default=0) + 1:02d}"

    def add(self, **values: Any) -> Template:
        """A new draft with an id of its own; TemplateError as `templates.checked`."""
        template = checked(**{**values, "id": self.free_id(values["system"])})
        self._change("adding", (*self._own, template))
        return template

    def revise(self, template_id: str, **changes: Any) -> Template:
        """Keep a new version as a draft, if something changed; TemplateError as `template_review.revised`."""
        old = self.template(template_id)
        new = review.revised(old, **changes)
        if new != old:
            self._change("editing", self._with((old, new)))
        return new

    def approve(self, ids: Iterable[str], *, reviewer: str) -> None:
        """Approve the newest versions of templates; TemplateError without a reviewer."""
        self._review("approving", ids, lambda one: review.approved(one, reviewer=reviewer))

    def reject(self, ids: Iterable[str], *, reviewer: str, reason: str) -> None:
        """Reject the newest versions of templates; TemplateError without a reviewer or a reason."""
        self._review("rejecting", ids, lambda one: review.rejected(one, reviewer=reviewer, reason=reason))

    def reopen(self, ids: Iterable[str]) -> None:
        """Make the newest versions of templates drafts again."""
        self._review("reopening", ids, review.reopened)

    def draw_split(self, system: str, *, test_share: float, seed: int) -> int:
        """Draw train and test anew among the templates of a system; how many of them are for tests now."""
        drawn = with_split(
            [one for one in self.templates if one.system == system], test_share=test_share, seed=seed
        )
        before = set(self.templates)
        changed = [one for one in drawn if one not in before]
        if changed:
            self._change("drawing the split", self._with(changed))
        return sum(one.split == "test" for one in latest(drawn))

    def remove(self, template_id: str) -> None:
        """Take a template out of the user's file; a shipped one is then as it came."""
        self._change("removing", tuple(one for one in self._own if one.id != template_id))

    def take_in(self, templates: Sequence[Template]) -> tuple[int, int]:
        """Add templates of a file; returns how many were new or changed and how many are given a version.

        A template whose id and version is here with other words becomes the next version of that id.
        """
        here = {(one.id, one.version): one for one in self.templates}
        tops = {one.id: one.version for one in self.newest}
        taken: list[Template] = []
        renumbered = 0
        for one in templates:
            known = here.get((one.id, one.version))
            if known == one:
                continue
            if known is not None and known.texts != one.texts:
                tops[one.id] += 1
                one = replace(one, version=tops[one.id])
                renumbered += 1
            tops[one.id] = max(tops.get(one.id, 0), one.version)
            taken.append(one)
        if taken:
            self._change("importing", self._with(taken))
        return len(taken), renumbered

    @property
    def undoes(self) -> str:
        """What undo would take back, "" for nothing."""
        return self._done[-1][0] if self._done else ""

    @property
    def redoes(self) -> str:
        """What redo would do again, "" for nothing."""
        return self._undone[-1][0] if self._undone else ""

    def undo(self) -> None:
        """Take the last change back."""
        self._step(self._done, self._undone)

    def redo(self) -> None:
        """Do the last change again that was taken back."""
        self._step(self._undone, self._done)

    def _step(self, source: list[tuple[str, Own]], target: list[tuple[str, Own]]) -> None:
        if source:
            name, own = source[-1]
            before = self._own
            self._save(own)
            source.pop()
            target.append((name, before))

    def _review(self, name: str, ids: Iterable[str], decide: Callable[[Template], Template]) -> None:
        old = [self.template(template_id) for template_id in ids]
        decided = [decide(one) for one in old]
        if decided != old:
            self._change(name, self._with(decided))

    def _with(self, templates: Iterable[Template]) -> Own:
        own = {(one.id, one.version): one for one in (*self._own, *templates)}
        return tuple(own.values())

    def _change(self, name: str, own: Own) -> None:
        before = self._own
        self._save(own)
        self._done = [*self._done, (name, before)][-_MOST_UNDONE:]
        self._undone.clear()

    def _save(self, own: Own) -> None:
        if self.fault:
            raise TemplateError(f"nothing was changed, because {self.fault}")
        if _bytes_of(self.path) != self._bytes:
            raise TemplateError(
                f"{self.path.name} was changed by another program; press “Reload” and make the change again"
            )
        _make_folder(self.path.parent)
        write_templates(self.path, own)
        self._own, self._bytes = own, _bytes_of(self.path)


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # missing; a file that is there and can't be read is told by read_templates
        return b"" if path.exists() else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"the folder for templates can't be made: {error.strerror}; check space and permission"
        ) from error
