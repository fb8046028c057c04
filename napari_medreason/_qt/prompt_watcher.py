"""Tells when the user has finished moving a box or a point, and hears the undo keys of their layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari.layers import Points, Shapes
from qtpy.QtCore import QObject, QTimer, Signal

QUIET_MILLISECONDS = 150
UNDO_KEY, REDO_KEY = "Control-Z", "Control-Shift-Z"
_FINISHED = ("changed", "added", "removed")


class PromptWatcher(QObject):
    """Watches one box layer and one points layer of ours.

    The keys are bound on these two layers only: napari gives Shapes and Points no undo of their own.
    """

    edited = Signal()
    undo_pressed = Signal()
    redo_pressed = Signal()

    def __init__(self, box: Shapes, points: Points) -> None:
        super().__init__()
        self._layers: tuple[Shapes | Points, ...] = (box, points)
        self._paused = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(QUIET_MILLISECONDS)
        self._timer.timeout.connect(self.edited)
        for layer in self._layers:
            layer.events.data.connect(self._on_data)
            layer.bind_key(UNDO_KEY, self._on_undo)
            layer.bind_key(REDO_KEY, self._on_redo)

    def _on_data(self, event: Any) -> None:
        if not self._paused and str(getattr(event, "action", "")) in _FINISHED:
            self._timer.start()

    def _on_undo(self, _layer: object) -> None:
        self.undo_pressed.emit()

    def _on_redo(self, _layer: object) -> None:
        self.redo_pressed.emit()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Change the layers without counting it as the user's doing; drops an edit not yet told."""
        self._timer.stop()
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def close(self) -> None:
        """Stop watching and unbind the keys."""
        self._timer.stop()
        for layer in self._layers:
            layer.events.data.disconnect(self._on_data)
            layer.bind_key(UNDO_KEY, None)
            layer.bind_key(REDO_KEY, None)
        self._layers = ()
