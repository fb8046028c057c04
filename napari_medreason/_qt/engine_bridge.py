"""The engine client with callbacks on the GUI thread; one client for all viewers of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal

from napari_medreason._qt import notify
from napari_medreason.engine.client import EngineClient

Callback = Callable[..., None]


class EngineBridge(QObject):
    """Takes the same requests as EngineClient; every callback runs on the thread of this object."""

    _arrived = Signal(object, object)

    def __init__(self, client: EngineClient | None = None) -> None:
        super().__init__()
        self._closed = False
        self._arrived.connect(self._run, Qt.ConnectionType.QueuedConnection)
        self.client = client or EngineClient()

    def ask(self, question: Any, *, model: str, **callbacks: Callback) -> int:
        """Ask; callbacks on_text, on_progress, on_result and on_error as in EngineClient.ask."""
        return self.client.ask(question, model=model, **self._relayed(callbacks))

    def segment(self, plane: Any, *, on_result: Callback, on_error: Callback, **prompt: Any) -> int:
        """Draw a mask from prompts; see EngineClient.segment."""
        relayed = self._relayed({"on_result": on_result, "on_error": on_error})
        return self.client.segment(plane, **prompt, **relayed)

    def weights(self, **callbacks: Callback) -> int:
        """List the published weights; see EngineClient.weights."""
        return self.client.weights(**self._relayed(callbacks))

    def pull(self, weights: str, **callbacks: Callback) -> int:
        """Download weights; see EngineClient.pull."""
        return self.client.pull(weights, **self._relayed(callbacks))

    def verify(self, weights: str, **callbacks: Callback) -> int:
        """Compare weights with their hashes; see EngineClient.verify."""
        return self.client.verify(weights, **self._relayed(callbacks))

    def use(self, weights: str, folder: str | None, **callbacks: Callback) -> int:
        """Take weights from a folder; see EngineClient.use."""
        return self.client.use(weights, folder, **self._relayed(callbacks))

    def cancel(self, request_id: int) -> None:
        """End a request; its on_error gets CancelledError."""
        self.client.cancel(request_id)

    def close(self) -> None:
        """End the engine in the background; callbacks that are still on the way are dropped."""
        self._closed = True
        # ending a busy engine takes up to 2 s; no daemon, or Python would end without the engine's end
        threading.Thread(target=self.client.close, name="medreason-engine-close").start()

    def _relayed(self, callbacks: dict[str, Callback]) -> dict[str, Any]:
        return {name: self._relay(callback) for name, callback in callbacks.items()}

    def _relay(self, callback: Callback) -> Callback:
        def send(*values: Any) -> None:
            if not self._closed:
                self._arrived.emit(callback, values)

        return send

    def _run(self, callback: Callback, values: tuple[Any, ...]) -> None:
        if self._closed:
            return
        try:
            callback(*values)
        except Exception as error:  # noqa: BLE001 - the border between engine and Qt
            notify.report(error)


_shared: EngineBridge | None = None
_users = 0


def acquire() -> EngineBridge:
    """The bridge that all docks of this process share; give it back with `release`."""
    global _shared, _users
    if _shared is None:
        _shared = EngineBridge()
    _users += 1
    return _shared


def release() -> None:
    """Give the shared bridge back; the last one closes the engine."""
    global _shared, _users
    _users = max(0, _users - 1)
    if _users == 0 and _shared is not None:
        bridge, _shared = _shared, None
        bridge.close()
