"""Window and level by dragging the mouse, only while the user has switched that on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.layers import Image
from napari.viewer import Viewer

from napari_medreason.core.volume import Window
from napari_medreason.core.window_presets import dragged

_LEFT_BUTTON = 1


class WindowDrag:
    """A drag with the left button changes the window of one image; every other use of the mouse stays.

    image: gives the image to change, None for none.
    """

    def __init__(self, viewer: Viewer, image: Callable[[], Image | None]) -> None:
        self._viewer, self._image = viewer, image
        self._on = False

    @property
    def is_on(self) -> bool:
        """Whether drags change the window."""
        return self._on

    def switch(self, on: bool) -> None:
        """Switch drags on or off."""
        callbacks = self._viewer.mouse_drag_callbacks
        if on and not self._on:
            callbacks.append(self._drag)
        elif not on and self._on:
            callbacks.remove(self._drag)
        self._on = on

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        image = self._image()
        if image is None or event.button != _LEFT_BUTTON or event.modifiers or self._tool_in_use():
            return
        camera = self._viewer.scene.camera
        panned = camera.mouse_pan
        camera.mouse_pan = False
        low, high = image.contrast_limits
        start, window = event.pos, Window(float(low), float(high))
        yield
        while event.type == "mouse_move":
            right, down = (float(now - then) for now, then in zip(event.pos, start, strict=True))
            show_window(image, dragged(window, right, -down))
            yield
        camera.mouse_pan = panned

    def _tool_in_use(self) -> bool:
        """Whether the active layer paints, picks or moves with the mouse."""
        active = self._viewer.layers.selection.active
        return active is not None and str(active.mode) != "pan_zoom"

    def close(self) -> None:
        """Leave the mouse alone."""
        self.switch(False)


def show_window(image: Image, window: Window) -> None:
    """Show an image through a window; the ends of napari's own slider move where they must."""
    low, high = image.contrast_limits_range
    if window.low < low or window.high > high:
        image.contrast_limits_range = (min(low, window.low), max(high, window.high))
    image.contrast_limits = (window.low, window.high)
