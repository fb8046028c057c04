"""Tells which slices of a Labels layer changed while the user paints, a few times a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medreason._qt import viewer_dims

PAINT_MS = 25
"""Strokes within this time are looked at together."""
REFRESH_MS = 400
"""After an undo, or a change by another program, everything is looked at again this much later."""


class PaintWatcher(QObject):
    """Watches one layer at a time. Indices are those of the layer's data along one of its axes.

    painted(set of indices): strokes touched these. refreshed(): anything may have changed (undo, redo, or
    another program that drew the layer anew). replaced(): the layer holds another array.
    """

    painted = Signal(object)
    refreshed = Signal()
    replaced = Signal()

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Labels | None = None
        self._axis = 0
        self._changed: set[int] = set()
        self._shown: tuple[Any, ...] = ()
        self._paused = False
        self._paint_timer = _timer(self, PAINT_MS, self._tell_painted)
        self._refresh_timer = _timer(self, REFRESH_MS, self.refreshed.emit)

    def watch(self, layer: Labels | None, data_axis: int = 0) -> None:
        """Watch this layer only, with indices along this axis of its data."""
        if self._layer is not None:
            for emitter, heard in self._connections(self._layer):
                emitter.disconnect(heard)
        self._paint_timer.stop()
        self._refresh_timer.stop()
        self._changed.clear()
        self._layer, self._axis, self._shown = layer, data_axis, self._view()
        if layer is not None:
            for emitter, heard in self._connections(layer):
                emitter.connect(heard)

    def _connections(self, layer: Labels) -> tuple[tuple[Any, Any], ...]:
        events = layer.events
        return (
            (events.labels_update, self._on_stroke),
            (events.paint, self._on_painted),
            (events.set_data, self._on_refresh),
            (events.data, self._on_replaced),
        )

    def _on_stroke(self, event: Any) -> None:
        """A part of the shown plane was drawn anew, during a stroke."""
        layer = self._layer
        if layer is None:
            return
        order = viewer_dims.own_order(self._viewer.dims.order, layer.ndim)
        displayed = order[-self._viewer.dims.ndisplay :]
        if self._axis in displayed:
            place = displayed.index(self._axis)
            first = int(event.offset[place])
            self._add(range(first, first + int(event.data.shape[place])))
        else:
            self._add((self.shown_index(),))

    def _on_painted(self, event: Any) -> None:
        """A stroke ended; it may have gone through several slices."""
        for atom in event.value:
            where = atom[0][self._axis]
            if isinstance(where, slice):
                self._add(range(*where.indices(self._size())))
            else:
                self._add(np.unique(where).tolist())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While layers of ours come, change or go, napari draws all others anew: that is no change."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _on_refresh(self, _event: object) -> None:
        """The layer was drawn anew: because the user moved a slider, or because its data changed."""
        view = self._view()
        if view == self._shown and not self._paused:
            self._add((self.shown_index(),))
            self._refresh_timer.start()
        self._shown = view

    def _on_replaced(self, _event: object) -> None:
        self._refresh_timer.stop()
        self.replaced.emit()

    def shown_index(self) -> int:
        """Index along the watched axis at the place of the viewer's sliders."""
        if self._layer is None:
            return 0
        return round(viewer_dims.point_data(self._viewer, self._layer)[self._axis])

    def _view(self) -> tuple[Any, ...]:
        dims = self._viewer.dims
        return (*dims.point, *dims.order, dims.ndisplay)

    def _size(self) -> int:
        return 0 if self._layer is None else int(self._layer.data.shape[self._axis])

    def _add(self, indices: Iterable[int]) -> None:
        self._changed.update(index for index in indices if 0 <= index < self._size())
        if self._changed and not self._paint_timer.isActive():
            self._paint_timer.start()

    def _tell_painted(self) -> None:
        changed, self._changed = self._changed, set()
        self.painted.emit(changed)


def _timer(parent: QObject, milliseconds: int, ring: Any) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(ring)
    return timer
