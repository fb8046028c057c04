"""One piece of work at a time off the GUI thread, with progress; what was started later wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_medreason.errors import CancelledError

Job = Callable[..., Any]
"""Called with `progress(done, total)` and `cancelled() -> bool`."""


PROGRESS_AFTER_SECONDS = 0.4
"""Shorter jobs show no progress: a bar that flashes up tells nothing."""


class Background(QObject):
    """Runs jobs; results of those that were cancelled, or overtaken by another, are dropped.

    A job that does not look at `cancelled` ends by itself, unheard; it keeps no window and no program open.
    progressed(done, total); ended(): no job is running any more.
    """

    progressed = Signal(int, int)
    ended = Signal()
    _stepped = Signal(object, int, int)
    _finished = Signal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stop: threading.Event | None = None
        self._began = 0.0
        self._stepped.connect(self._on_stepped)
        self._finished.connect(self._on_finished)

    @property
    def busy(self) -> bool:
        """Whether a job runs whose result is still wanted."""
        return self._stop is not None

    def start(self, job: Job, *, then: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        """Run a job, instead of the one that runs; then(result) or failed(error) on the GUI thread."""
        self.cancel()
        stop = self._stop = threading.Event()
        self._began = time.monotonic()
        work = partial(self._work, job, stop, then, failed)
        threading.Thread(target=work, name="medreason background", daemon=True).start()

    def _work(self, job: Job, stop: threading.Event, then: Any, failed: Any) -> None:
        try:
            receive, value = then, job(progress=partial(self._progress, stop), cancelled=stop.is_set)
        except Exception as error:  # noqa: BLE001 - the border: every fault is told on the GUI thread
            receive, value = failed, error
        if not stop.is_set():
            self._finished.emit(stop, receive, value)

    def _progress(self, stop: threading.Event, done: int, total: int) -> None:
        if not stop.is_set() and time.monotonic() - self._began > PROGRESS_AFTER_SECONDS:
            self._stepped.emit(stop, done, total)

    def _on_stepped(self, stop: threading.Event, done: int, total: int) -> None:
        if stop is self._stop:
            self.progressed.emit(done, total)

    def _on_finished(self, stop: threading.Event, receive: Callable[[Any], None], value: Any) -> None:
        if stop is not self._stop:
            return
        self._stop = None
        self.ended.emit()
        if not isinstance(value, CancelledError):
            receive(value)

    def cancel(self) -> None:
        """Drop the job that runs, if any."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.set()
            self.ended.emit()
