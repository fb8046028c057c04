"""Widgets that take themselves apart when their dock, or the window, is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QSizePolicy, QWidget


class Docked(QWidget):
    """Base of a dock's widget; `take_apart` is called once, whatever closed the dock."""

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
        """Take everything apart, the first time this is called."""
        if self._closed:
            return
        self._closed = True
        self.take_apart()
        self.deleteLater()

    def take_apart(self) -> None:
        """Disconnect from the viewer; stop timers, workers and processes."""
        raise NotImplementedError
