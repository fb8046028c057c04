"""Docks that napari closes without telling their widget."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QSizePolicy, QWidget


class ClosingDock(QWidget):
    """A dock's widget whose `close_all` is called once, when its dock or the window goes."""

    _closed = _docked = False

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def event(self, event: QEvent | None) -> bool:
        """Napari takes the widget out of its dock when the dock is closed, and says nothing else."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None and not self._docked:
                self._docked = True
                if (window := self.window()) is not None:
                    window.destroyed.connect(self.close_all)
            elif self.parent() is None and self._docked:
                self.close_all()
        return bool(super().event(event))

    def close_all(self) -> None:
        """Leave the viewer and end what was started, once."""
        if not self._closed:
            self._closed = True
            self.leave()
            self.deleteLater()

    def leave(self) -> None:
        """Disconnect from the viewer, stop timers, workers and processes."""
        raise NotImplementedError
