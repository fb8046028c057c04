"""Letters of the patient's sides at the edges of the canvas, and one line about the shown slice.

They stand as long as somebody needs them: a dock that is open, or a study that “Open study…” added.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_medreason import layers
from napari_medreason._qt import canvas_settings, viewer_dims
from napari_medreason.errors import QuestionError
from napari_medreason.layers import StudyRef
from napari_medreason.layers.sides import CanvasSides, canvas_sides

PLACES = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
    "caption": "top_left",
}
"""Parts of CanvasSides, and where napari draws them."""
_PREFIX = "medreason_"
_LETTER_SIZE, _CAPTION_SIZE = 16, 10
_MOVES = {
    "visible",
    "scale",
    "translate",
    "rotate",
    "shear",
    "affine",
    "data",
    "metadata",
    "name",
    "reordered",
}
"""Events of layers after which letters may be others."""

_letters: WeakKeyDictionary[Any, CanvasLetters] = WeakKeyDictionary()


def attach(viewer: Viewer, owner: object) -> CanvasLetters:
    """The letters of a viewer, shown until every owner is released: docks, or layers while they are there."""
    model = _bare(viewer)
    found = _letters.get(model)
    if found is None:
        found = _letters[model] = CanvasLetters(viewer)
    found.owners.add(id(owner))
    return found


def release(viewer: Viewer, owner: object) -> None:
    """An owner needs the letters no more; they go with the last one."""
    model = _bare(viewer)
    found = _letters.get(model)
    if found is None:
        return
    found.owners.discard(id(owner))
    if not found.owners:
        del _letters[model]
        found.close()


def _bare(viewer: Any) -> Any:
    """Napari hands plugins proxies, one for each caller."""
    return getattr(viewer, "__wrapped__", viewer)


class CanvasLetters:
    """Text overlays of ours on one viewer; nothing else of the viewer is changed but the way it is turned."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.owners: set[int] = set()
        self.sides: CanvasSides | None = None
        self._turned = False
        self._known: tuple[Any, StudyRef] | None = None
        for part, position in PLACES.items():
            size = _CAPTION_SIZE if part == "caption" else _LETTER_SIZE
            overlay = TextOverlay(position=position, font_size=size, visible=False, box=part == "caption")
            viewer.canvas.overlays[_PREFIX + part] = overlay
        for emitter in self._emitters():
            emitter.connect(self._refresh)
        viewer.layers.events.connect(self._layers_changed)
        self._turn_and_refresh()

    def _emitters(self) -> tuple[Any, ...]:
        dims, selection = self._viewer.dims.events, self._viewer.layers.selection.events
        camera = self._viewer.scene.camera.events
        return dims.point, dims.order, dims.ndisplay, selection.active, camera.orientation

    def settings_changed(self) -> None:
        """The user switched the letters or the convention."""
        self._turn_and_refresh()

    def _layers_changed(self, event: Any) -> None:
        if event.type in _MOVES or event.type in ("inserted", "removed"):
            if event.type in ("data", "metadata", "removed"):
                self._known = None
            self._turn_and_refresh()
        if event.type == "removed":
            release(self._viewer, event.value)

    def _refresh(self, event: Any = None) -> None:
        if getattr(event, "type", "") in ("order", "active"):
            self._turn()
        self.sides = self._sides() if canvas_settings.letters_shown() else None
        for part in PLACES:
            overlay = self._viewer.canvas.overlays[_PREFIX + part]
            text = "" if self.sides is None else getattr(self.sides, part)
            if overlay.text != text:
                overlay.text = text
            if overlay.visible != bool(text):
                overlay.visible = bool(text)

    def _turn_and_refresh(self) -> None:
        self._turn()
        self._refresh()

    def _turn(self) -> None:
        """Turn axial and coronal planes over for the neurological convention, and back; sagittal ones stay.

        A view that the user turned over is left alone: the letters tell its sides as well.
        """
        camera, image = self._viewer.scene.camera, self._image()
        wanted = image is not None and canvas_settings.neurological() and self._shows_left_and_right(image)
        if wanted != self._turned:
            self._turned = wanted
            camera.orientation2d = (camera.orientation2d[0], "left" if wanted else "right")

    def _shows_left_and_right(self, image: Image) -> bool:
        order = viewer_dims.own_order(self._viewer.dims.order, image.ndim)
        return image.ndim > 2 and order[-1] == image.ndim - 1 and self._study(image).orientation_known

    def _sides(self) -> CanvasSides | None:
        image = self._image()
        if image is None or self._viewer.dims.ndisplay != 2:
            return None
        study = self._study(image)
        try:
            displayed = layers.displayed_plane(
                study,
                order=viewer_dims.own_order(self._viewer.dims.order, image.ndim),
                point_data=viewer_dims.point_data(self._viewer, image),
                ndisplay=2,
            )
        except QuestionError:
            return None
        down, right = self._directions(image)
        return canvas_sides(study, displayed, right_data=right, down_data=down)

    def _image(self) -> Image | None:
        """The image whose sides are told: the active one, else the topmost that is seen."""
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and active.visible and not active.rgb:
            return active
        shown = (layer for layer in reversed(self._viewer.layers) if layer.visible)
        return next((layer for layer in shown if isinstance(layer, Image) and not layer.rgb), None)

    def _study(self, image: Image) -> StudyRef:
        """Kept until the data changes, since to recognise a study takes a look at its voxels."""
        if self._known is not None and self._known[0] == image:
            return self._known[1]
        study = layers.study_wherever(image)
        self._known = (image, study)
        return study

    def _directions(self, image: Image) -> NDArray[np.float64]:
        """(2, layer ndim): canvas down and canvas right as directions along the data axes of a layer."""
        orientation = self._viewer.scene.camera.orientation2d
        signs = (1 if orientation[0] == "down" else -1, 1 if orientation[1] == "right" else -1)
        origin = np.asarray(image.world_to_data(np.zeros(image.ndim)))
        rows = []
        order = viewer_dims.own_order(self._viewer.dims.order, image.ndim)
        for axis, sign in zip(order[-2:], signs, strict=True):
            step = np.zeros(image.ndim)
            step[axis] = sign
            rows.append(np.asarray(image.world_to_data(step)) - origin)
        return np.array(rows)

    def close(self) -> None:
        """Take overlays and connections away; a view that was turned over is turned back."""
        for emitter in self._emitters():
            emitter.disconnect(self._refresh)
        self._viewer.layers.events.disconnect(self._layers_changed)
        if self._turned:
            camera = self._viewer.scene.camera
            camera.orientation2d = (camera.orientation2d[0], "right")
        for part in PLACES:
            del self._viewer.canvas.overlays[_PREFIX + part]
