"""The one place that touches the viewer: reads what is shown, adds, changes and removes our layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_medreason import layers
from napari_medreason._qt import viewer_dims
from napari_medreason._qt.modality_guess import ModalityGuesses
from napari_medreason._qt.prompt_watcher import PromptWatcher
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.volume import Window
from napari_medreason.errors import QuestionError
from napari_medreason.session import Answer, Place

_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True, eq=False)
class Look:
    """The plane that the user sees of one image, and what answers about it need."""

    plane: Plane
    place: Place
    image_shape: tuple[int, ...]
    transform: Mapping[str, Any]


@dataclass(eq=False)
class AnswerLayers:
    """The three layers of one answer."""

    mask: Labels
    box: Shapes
    points: Points
    watcher: PromptWatcher

    @property
    def all(self) -> tuple[Labels, Shapes, Points]:
        """Mask, box and points, bottom first."""
        return self.mask, self.box, self.points


class ViewerLayers:
    """What the Ask dock does with a napari viewer. Only layers made here are ever changed.

    on_prompt(answer_id): the user moved the box or a point of an answer. on_undo, on_redo(answer_id):
    the keys of a layer of ours. on_gone(answer_id): the user deleted all layers of an answer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.on_prompt: Callable[[str], None] = _ignore
        self.on_undo: Callable[[str], None] = _ignore
        self.on_redo: Callable[[str], None] = _ignore
        self.on_gone: Callable[[str], None] = _ignore
        self._answers: dict[str, AnswerLayers] = {}
        self._modalities = ModalityGuesses()
        viewer.layers.events.removed.connect(self._on_removed)

    def images(self) -> list[Image]:
        """The image layers of the viewer, top first."""
        return [layer for layer in reversed(self.viewer.layers) if isinstance(layer, Image)]

    def look(self, image: Image) -> Look:
        """The plane of `image` on screen, copied; QuestionError when none is shown."""
        if image.rgb:
            raise QuestionError(
                f"layer “{image.name}” is a colour picture; grey images are accepted, "
                "split its channels first"
            )
        data = image.data[0] if image.multiscale else image.data
        study = layers.study_of(image)
        dims = self.viewer.dims
        displayed = layers.displayed_plane(
            study,
            order=viewer_dims.own_order(dims.order, image.ndim),
            point_data=viewer_dims.point_data(self.viewer, image),
            ndisplay=dims.ndisplay,
        )
        low, high = image.contrast_limits
        window = Window(float(low), float(high))
        plane = layers.plane_of(data, study, displayed, window=window)
        transform = {name: getattr(image, name) for name in _TRANSFORM}
        modality, notes = (plane.modality, ()) if plane.modality else self._modalities.of(image, plane)
        place = Place(study, image.name, displayed.frame, notes, tuple(float(x) for x in dims.point))
        return Look(
            replace(plane, modality=modality), place, tuple(int(size) for size in data.shape), transform
        )

    def add(self, answer: Answer, look: Look) -> None:
        """Add the layers of an answer, if it has a mask, with its box ready to be moved."""
        label = layers.AnswerLabel(answer.id, answer.question, _layer_name(answer), answer.colour)
        made = layers.answer_layers(
            answer.grounding,
            look.place.study,
            label,
            image_shape=look.image_shape,
            frame=look.place.frame,
            transform=look.transform,
        )
        if not made:
            return
        mask, box, points = (Layer.create(*entry) for entry in made)
        watcher = PromptWatcher(box, points)
        watcher.edited.connect(lambda: self.on_prompt(answer.id))
        watcher.undo_pressed.connect(lambda: self.on_undo(answer.id))
        watcher.redo_pressed.connect(lambda: self.on_redo(answer.id))
        group = AnswerLayers(mask, box, points, watcher)
        self._answers[answer.id] = group
        self.viewer.layers.extend(group.all)
        box.mode, points.mode = "select", "select"
        self.viewer.layers.selection.active = box

    def prompt(self, answer: Answer) -> tuple[Box | None, tuple[Point, ...]]:
        """The box and the points as they are drawn now, in the plane of the answer."""
        group = self._answers[answer.id]
        study, displayed, shape = answer.place.study, answer.displayed, answer.grounding.grid.shape
        boxes = [layers.box_of(corners, study, displayed, shape=shape) for corners in group.box.data]
        box = next((box for box in reversed(boxes) if box is not None), None)
        return box, layers.points_of(group.points.data, study, displayed, shape=shape)

    def has_strays(self, answer: Answer) -> bool:
        """Whether a box or a point was drawn on another slice than that of the answer."""
        group = self._answers[answer.id]
        drawn = (*group.box.data, group.points.data)
        return not all(layers.on_slice(data, answer.place.study, answer.displayed).all() for data in drawn)

    def mask(self, answer: Answer) -> NDArray[np.bool_] | None:
        """The (rows, columns) mask as it is painted now; None when its layer is gone or reshaped."""
        group = self._answers.get(answer.id)
        index = layers.slice_index(answer.place.study, answer.displayed)
        if group is None or group.mask not in self.viewer.layers:
            return None
        painted = np.asarray(group.mask.data)[index]
        return painted > 0 if painted.shape == answer.grounding.grid.shape else None

    def show_mask(self, answer: Answer) -> None:
        """Replace the mask of an answer by that of its shown state, in place."""
        group, state = self._answers[answer.id], answer.state
        if state is None:
            return
        index = layers.slice_index(answer.place.study, answer.displayed)
        group.mask.data[index] = state.mask
        group.mask._reset_history()  # its strokes were on the former mask; napari has no public way
        group.mask.refresh()
        note = layers.mask_note(
            segmenter=state.segmenter, weights_sha256=state.weights_sha256, corrected=answer.corrected
        )
        for layer in group.all:
            _annotate(layer, note)

    def show_state(self, answer: Answer) -> None:
        """Show box, points and mask of an answer's shown state, without asking for a new mask."""
        group, state = self._answers[answer.id], answer.state
        if state is None:
            return
        study, displayed = answer.place.study, answer.displayed
        corners = [layers.rectangle(state.box, study, displayed)] if state.box else []
        points = np.array(state.points, dtype=np.float64).reshape(-1, 2)
        with group.watcher.paused():
            _draw_box(group.box, corners)
            group.points.data = layers.to_data(points, study, displayed)
            group.points.features["number"] = np.arange(1, len(points) + 1)
        self.show_mask(answer)

    def has_layers(self, answer_id: str) -> bool:
        """Whether the mask of an answer can still be redrawn."""
        group = self._answers.get(answer_id)
        return group is not None and all(layer in self.viewer.layers for layer in group.all)

    def set_visible(self, answer_id: str, visible: bool) -> None:
        """Show or hide the layers of an answer together."""
        if group := self._answers.get(answer_id):
            for layer in group.all:
                layer.visible = visible

    def remove(self, answer_id: str) -> None:
        """Delete the layers of an answer."""
        if (group := self._answers.pop(answer_id, None)) is None:
            return
        group.watcher.close()
        for layer in group.all:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def jump(self, answer: Answer) -> None:
        """Show the slice of an answer, turning the view only if another plane is shown."""
        study, group = answer.place.study, self._answers.get(answer.id)
        axis, world = answer.displayed.axis, self._world(answer)
        viewer_dims.show_slice(self.viewer, axis, world, layer_ndim=study.layer_ndim)
        if group is not None and group.box in self.viewer.layers:
            self.viewer.layers.selection.active = group.box

    def _world(self, answer: Answer) -> NDArray[np.float64]:
        """A point of the answer's slice on the viewer's sliders: where its layers are, else were asked."""
        group = self._answers.get(answer.id)
        if group is None:
            return np.array(answer.place.world_point)
        point_data = layers.to_data(np.zeros((1, 2)), answer.place.study, answer.displayed)[0]
        return viewer_dims.point_world(self.viewer, group.mask, point_data)

    def _on_removed(self, _event: object) -> None:
        gone = [
            answer_id
            for answer_id, group in self._answers.items()
            if not any(layer in self.viewer.layers for layer in group.all)
        ]
        for answer_id in gone:
            self._answers.pop(answer_id).watcher.close()
            self.on_gone(answer_id)

    def close(self) -> None:
        """Disconnect from the viewer; the layers stay."""
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for group in self._answers.values():
            group.watcher.close()
        self._answers.clear()


def _ignore(_answer_id: str) -> None:
    """Until somebody listens."""


def _layer_name(answer: Answer) -> str:
    words = answer.grounding.structure.replace("_", " ") or answer.question[:24]
    return f"{answer.number} {words}"


def _annotate(layer: Layer, note: dict[str, Any]) -> None:
    """New dictionaries: layers that the user duplicated share the old ones."""
    ours = layer.metadata.get(layers.METADATA_KEY, {})
    layer.metadata = {**layer.metadata, layers.METADATA_KEY: {**ours, "mask": note}}


def _draw_box(layer: Shapes, corners: list[NDArray[Any]]) -> None:
    if len(corners) == 1 and layer.shape_type == ["rectangle"]:
        layer.data = corners
        return
    layer.selected_data = set(range(len(layer.data)))
    layer.remove_selected()
    if corners:
        layer.add_rectangles(corners)
