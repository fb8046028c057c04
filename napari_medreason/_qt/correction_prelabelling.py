"""Lets a model draw on studies of the work list before a reader begins, in the engine process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from qtpy.QtCore import QObject

from napari_medreason import models
from napari_medreason._qt import engine_bridge, settings
from napari_medreason._qt.background import Background
from napari_medreason._qt.correction_ask import engine_ask
from napari_medreason._qt.correction_presenter import CorrectionPresenter
from napari_medreason._qt.correction_view import CorrectionView
from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason.engine.client import EngineClient
from napari_medreason.errors import MedReasonError
from napari_medreason.worklist import Item, PreLabel, PreLabeller, WorkList, prelabeller
from napari_medreason.worklist.prelabels import Cancelled, Progress

_PARTS = 1000
"""Steps of the progress bar for one study."""


class PreLabelling(QObject):
    """One job at a time. engine: a bridge of one's own, else the one that all docks share."""

    def __init__(
        self,
        view: CorrectionView,
        presenter: CorrectionPresenter,
        report: Callable[[Exception], None],
        engine: EngineBridge | None,
    ) -> None:
        super().__init__(presenter)
        self._view, self._presenter, self._report = view, presenter, report
        self._engine, self._shares_engine = engine, engine is None
        self._work = Background(self)
        self._before: PreLabel | None = None
        known = models.available()
        default = settings.saved_model()
        chosen = default if default in known else models.default()
        view.pre_label.set_models([(one.id, one.title, one.summary) for one in known.values()], chosen)
        view.pre_label.this_wanted.connect(self.pre_label_open)
        view.pre_label.waiting_wanted.connect(self.pre_label_waiting)
        self._work.progressed.connect(view.show_progress)
        self._work.ended.connect(self._on_end)

    @property
    def busy(self) -> bool:
        """Whether a model is drawing."""
        return self._work.busy

    def pre_label_open(self) -> None:
        """Let the model draw on the study in the viewer."""
        if self._presenter.item_id:
            self._presenter.saving.flush(lambda item: self._start([item.id] if item else []))

    def pre_label_waiting(self) -> None:
        """Let the model draw on all studies that nobody has begun."""
        work_list = self._presenter.work_list
        if work_list is not None:
            self._start([item.id for item in work_list.items if item.state == "waiting"])

    def _start(self, item_ids: Sequence[str]) -> None:
        work_list = self._presenter.work_list
        if self.busy or work_list is None:
            return
        if not item_ids:
            self._view.say("No study is waiting.")
            return
        page, item = self._view.pre_label, self._presenter.item
        self._before = item.prelabel if item is not None else None
        job = partial(
            _pre_label,
            work_list,
            item_ids,
            client=self._bridge().client,
            model=str(page.model.currentData()),
            step=page.step.value(),
        )
        self._view.say(f"Pre-labelling {len(item_ids)} studies …" if len(item_ids) > 1 else "Pre-labelling …")
        self._view.show_progress(0, 0)
        self._work.start(job, then=self._tell, failed=self._fail)

    def _bridge(self) -> EngineBridge:
        if self._engine is None:
            self._engine = engine_bridge.acquire()
        return self._engine

    def _on_end(self) -> None:
        self._view.show_idle()
        self._view.say("")
        self._presenter.refresh()
        item = self._presenter.item
        if item is not None and item.state == "pre-labelled" and item.prelabel != self._before:
            self._presenter.saving.flush(self._show_labels)

    def _show_labels(self, item: Item | None) -> None:
        """Not when the user has drawn meanwhile: the study is in progress then."""
        if item is not None and item.state == "pre-labelled":
            self._presenter.reload_labels()

    def _tell(self, faults: Sequence[str]) -> None:
        self._view.say(f"Pre-labelled, but for {len(faults)} studies." if faults else "Pre-labelled.")
        for words in dict.fromkeys(faults):
            self._report(MedReasonError(words))

    def _fail(self, error: Exception) -> None:
        self._view.say("Not pre-labelled; see the message.")
        self._report(error)

    def cancel(self) -> None:
        """Stop; studies that are done stay pre-labelled."""
        if self.busy:
            self._work.cancel()
            self._view.say("Pre-labelling was cancelled.")

    def close(self) -> None:
        """Stop, and give the engine back."""
        self._work.cancel()
        if self._shares_engine and self._engine is not None:
            engine_bridge.release()


def _pre_label(
    work_list: WorkList,
    item_ids: Sequence[str],
    *,
    client: EngineClient,
    model: str,
    step: int,
    progress: Progress,
    cancelled: Cancelled,
) -> list[str]:
    """One study after the other; what went wrong. A single one raises instead."""
    ask = engine_ask(client, model=model, cancelled=cancelled)
    draw: PreLabeller = prelabeller(work_list.settings.labels, ask, step=step)
    faults = []
    for number, item_id in enumerate(item_ids):

        def tell(done: int, total: int, before: int = number) -> None:
            progress(_PARTS * before + _PARTS * done // max(1, total), _PARTS * len(item_ids))

        try:
            work_list.prelabel(item_id, draw, progress=tell, cancelled=cancelled)
        except MedReasonError as error:
            if len(item_ids) == 1:
                raise
            faults.append(str(error))
    return faults
