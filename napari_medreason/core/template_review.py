"""The life of a template: approved or rejected, revised into a new version, compared with an old one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date as calendar_date
from typing import Any

from napari_medreason.core.templates import TEXTS, State, Template, checked, latest
from napari_medreason.errors import TemplateError

_COMPARED = (*TEXTS, "system", "kind", "scope", "split")


def approved(template: Template, *, reviewer: str, date: str = "") -> Template:
    """The template approved; date: ISO day, today when not given. TemplateError without a reviewer."""
    return _changed(template, state="approved", reviewer=reviewer, date=date or _today(), reason="")


def rejected(template: Template, *, reviewer: str, reason: str, date: str = "") -> Template:
    """The template rejected; TemplateError without a reviewer or a reason."""
    return _changed(template, state="rejected", reviewer=reviewer, date=date or _today(), reason=reason)


def reopened(template: Template) -> Template:
    """The template as a draft again, without its review."""
    return _changed(template, state="draft", reviewer="", date="", reason="")


def revised(template: Template, **changes: Any) -> Template:
    """The next version with other fields, a draft again; the same template when nothing changes.

    Keep the old one beside it: files hold every version. TemplateError for another id, a version or a
    review among the changes (those are not wording), or a value that is not accepted.
    """
    for key in changes:
        if key not in _COMPARED:
            raise TemplateError(f"{key!r} is not part of a revision; accepted are {', '.join(_COMPARED)}")
    same = _changed(template, **changes)
    if same == template:
        return template
    return _changed(reopened(same), version=template.version + 1)


def usable(
    templates: Iterable[Template], *, states: Iterable[State] = ("approved", "draft")
) -> tuple[Template, ...]:
    """The newest version of every template whose state is among `states`, in their order."""
    accepted = frozenset(states)
    return tuple(template for template in latest(templates) if template.state in accepted)


def history(templates: Iterable[Template], template_id: str) -> tuple[Template, ...]:
    """Every version of one template, oldest first."""
    versions = (template for template in templates if template.id == template_id)
    return tuple(sorted(versions, key=lambda template: template.version))


def difference(old: Template, new: Template) -> tuple[str, ...]:
    """What changed between two versions, as unified diff lines by field; empty when only the review did."""
    before, after = (_lines(template) for template in (old, new))
    was, now = (f"{template.id} version {template.version}" for template in (old, new))
    return tuple(difflib.unified_diff(before, after, was, now, lineterm="", n=0))


def changed_words(old: str, new: str) -> tuple[tuple[str, str], ...]:
    """Runs of words with what became of them: ("same" | "removed" | "added", words), in reading order."""
    before, after = old.split(), new.split()
    runs: list[tuple[str, str]] = []
    for action, a0, a1, b0, b1 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if action == "equal":
            runs.append(("same", " ".join(before[a0:a1])))
            continue
        runs += [("removed", " ".join(before[a0:a1]))] if a1 > a0 else []
        runs += [("added", " ".join(after[b0:b1]))] if b1 > b0 else []
    return tuple(runs)


def _changed(template: Template, **changes: Any) -> Template:
    return checked(**{**asdict(template), **changes})


def _lines(template: Template) -> list[str]:
    values = asdict(template)
    return [f"{key}: {values[key]}" for key in _COMPARED if values[key]]


def _today() -> str:
    return calendar_date.today().isoformat()
