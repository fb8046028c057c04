"""The user's judgement of what a run has made: kept for the Ask dock, or taken out of it again."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Signal

from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.tune_compare_view import CompareView
from napari_medreason._qt.tune_compare_words import doubt
from napari_medreason._qt.tune_runs_acting import WAIT
from napari_medreason._qt.tune_runs_reading import RunReport
from napari_medreason.core.run_folder import ADAPTER
from napari_medreason.models import adapter_store


class Judging(QObject):
    """accepted(model_id): an adapter was accepted. changed(): the store of adapters has changed.

    It has no Qt parent: an adapter that is being kept is kept after the page was closed, too.
    """

    accepted = Signal(str)
    changed = Signal()

    def __init__(self, view: CompareView, report: Callable[[Exception], None]) -> None:
        super().__init__()
        self._view, self._report = view, report
        self._run: RunReport | None = None
        self._work = Background()
        view.accept_wanted.connect(self.accept)
        view.roll_back_wanted.connect(self.roll_back)

    def set_run(self, report: RunReport | None) -> None:
        """Judge this run; it has something to judge when it has ended."""
        self._run = report
        whole = report is not None and not report.run.running
        card = report.card if report is not None and whole else None
        accepted = report.accepted.model_id if report is not None and report.accepted else ""
        self._view.show_card(card, accepted, fault=report.fault if report is not None else "")

    def accept(self) -> None:
        """Keep the adapter, so that the Ask dock offers it."""
        if self._run is None or self._run.card is None:
            return
        if self._work.busy:
            notify.inform(WAIT)
            return
        against = doubt(self._run.card.get("before_after", {}))
        if against and not self._view.confirm(f"{against} Accept it all the same?"):
            return
        adapter = self._run.run.folder / ADAPTER
        self._work.start(lambda **_: adapter_store.accept(adapter), then=self._accepted, failed=self._report)

    def _accepted(self, adapter: adapter_store.Adapter) -> None:
        self.changed.emit()
        self.accepted.emit(adapter.model_id)

    def roll_back(self) -> None:
        """Take the accepted adapter out of the store again; the run keeps its own."""
        if self._work.busy:
            notify.inform(WAIT)
        elif self._run is not None and self._run.accepted is not None:
            adapter_id = self._run.accepted.id
            self._work.start(
                lambda **_: adapter_store.remove(adapter_id),
                then=lambda _: self.changed.emit(),
                failed=self._report,
            )
