"""Steps that write to a work list: off the GUI thread, one after the other, and none is ever dropped."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal


class Writer(QObject):
    """Runs jobs in their order. Python waits for the last one before it ends."""

    _arrived = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, "medreason work list")
        self._outcomes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        self._pending = 0
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a job has not been told the end of yet."""
        return self._pending > 0

    def submit(
        self, job: Callable[[], Any], *, then: Callable[[Any], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run a job after those before it; then(result) or failed(error) on the GUI thread."""
        self._pending += 1
        self._executor.submit(self._work, job, then, failed)

    def _work(self, job: Callable[[], Any], then: Any, failed: Any) -> None:
        try:
            outcome = partial(then, job())
        except Exception as error:  # noqa: BLE001 - the border: every fault is told on the GUI thread
            outcome = partial(failed, error)
        self._outcomes.put(outcome)
        if not self._closed:
            self._arrived.emit()

    def _deliver(self) -> None:
        while not self._outcomes.empty():
            self._pending -= 1
            self._outcomes.get_nowait()()

    def close(self) -> None:
        """Wait for every job, and tell how it ended."""
        self._closed = True
        self._executor.shutdown(wait=True)
        self._deliver()
