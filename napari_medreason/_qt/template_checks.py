"""The lint of many templates off the GUI thread, only for those that changed since the last time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from qtpy.QtCore import QObject, Signal

from napari_medreason._qt.background import Background
from napari_medreason.core.template_lint import Finding, lint
from napari_medreason.core.templates import Template

_AT_ONCE = 20
"""Templates after which findings are handed over."""

Findings = dict[str, tuple[Finding, ...]]


class BackgroundLint(QObject):
    """Keeps `findings` by template id; `progressed` comes whenever some were added."""

    progressed = Signal()
    failed = Signal(Exception)
    _some = Signal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.findings: Findings = {}
        self._checked: dict[str, Template] = {}
        self._stop = threading.Event()
        self._background = Background(self)
        self._some.connect(self._add)

    def look_at(self, templates: Sequence[Template]) -> None:
        """Check the templates that are new or changed, against all the others."""
        self.stop()
        current = {one.id: one for one in templates}
        self.findings = {key: found for key, found in self.findings.items() if key in current}
        self._checked = {key: one for key, one in self._checked.items() if key in self.findings}
        wanted = [one for one in templates if not _same_words(self._checked.get(one.id), one)]
        self._stop = threading.Event()
        if wanted:
            others = self._others_of(templates)
            job = partial(_check, wanted, others, self._stop, self._some.emit)
            self._background.start(job, then=_ignore, failed=self.failed.emit)

    def _others_of(self, templates: Sequence[Template]) -> Mapping[str, Sequence[Template]]:
        """What each is compared with: at first only the earlier ones, so that a pair is told once."""
        return {
            one.id: templates if one.id in self._checked else templates[:place]
            for place, one in enumerate(templates)
        }

    def _add(self, stop: threading.Event, checked: Sequence[Template], found: Findings) -> None:
        if stop is not self._stop or stop.is_set():
            return
        self._checked.update((one.id, one) for one in checked)
        self.findings = {**self.findings, **found}
        self.progressed.emit()

    def stop(self) -> None:
        """Hand over nothing any more."""
        self._stop.set()
        self._background.cancel()


def _ignore(_nothing: object) -> None:
    """Everything was handed over on the way."""


def _same_words(checked: Template | None, template: Template) -> bool:
    if checked is None:
        return False
    return (checked.texts, checked.kind, checked.scope) == (template.texts, template.kind, template.scope)


def _check(
    wanted: Sequence[Template],
    others: Mapping[str, Sequence[Template]],
    stop: threading.Event,
    hand_over: Callable[[threading.Event, Sequence[Template], Findings], None],
    **_signals: object,
) -> None:
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        found: Findings = {}
        for one in some:
            if stop.is_set():
                return
            found[one.id] = lint(one, others[one.id])
        hand_over(stop, some, found)
