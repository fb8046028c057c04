"""One held-out case in the viewer: its plane, the correction, and the answers of base and tuned model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_medreason import layers
from napari_medreason._qt import viewer_dims
from napari_medreason._qt.tune_compare_cases import HeldOutCase
from napari_medreason.core.grounding import Grounding
from napari_medreason.layers import DisplayedPlane, StudyRef

CORRECTED, BEFORE, AFTER = "corrected", "before", "after"
COLOURS = {CORRECTED: "#27a879", BEFORE: "#e8743b", AFTER: "#3b8eea"}
_PLACE = ("scale", "translate", "rotate", "shear", "affine")
_CLEAR = (0.0, 0.0, 0.0, 0.0)


class CaseLayers:
    """At most one case in the viewer; its four layers move together.

    Meanwhile the user's own layers are hidden, for a case lies in the world of another patient; what is
    selected stays so, and with it what the other docks are about.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._case: HeldOutCase | None = None
        self._study: StudyRef | None = None
        self._image: Image | None = None
        self._masks: dict[str, Labels] = {}
        self._hidden: list[Layer] | None = None
        self._selected: set[Layer] = set()

    def show(self, case: HeldOutCase, before: Grounding | None, after: Grounding | None) -> None:
        """Show a case in place of the one before; None for an answer that is not there yet."""
        if case is not self._case or not self._whole:
            self._remove()
            self._hide_others()
            self._add(case)
        self._draw(BEFORE, None if before is None else before.mask)
        self._draw(AFTER, None if after is None else after.mask)

    @property
    def _whole(self) -> bool:
        own = (self._image, *self._masks.values())
        return all(layer is not None and layer in self._viewer.layers for layer in own)

    def _add(self, case: HeldOutCase) -> None:
        data, attributes, _ = layers.image_layer(case.slice)
        window = case.plane.window
        attributes |= {"name": "held-out case", "contrast_limits": (window.low, window.high)}
        image = Image(data, **attributes)
        study = layers.study_of(image)
        self._case, self._study, self._image = case, study, image
        self._masks = {name: _mask_layer(name, image, study) for name in COLOURS}
        with _selection_kept(self._viewer):
            self._viewer.layers.extend([image, *self._masks.values()])
        self._viewer.layers.link_layers([image, *self._masks.values()], _PLACE)
        self._draw(CORRECTED, case.record.mask)
        self._look()

    def _draw(self, name: str, mask: NDArray[np.bool_] | None) -> None:
        layer, case, study = self._masks[name], self._case, self._study
        if case is None or study is None:
            return
        drawn = np.zeros(layer.data.shape, np.uint8)
        if mask is not None:
            drawn[layers.slice_index(study, _displayed(case))] = mask
        layer.data = drawn

    def _look(self) -> None:
        """Bring the slice before the user's eyes, filling the canvas."""
        case, study, image = self._case, self._study, self._image
        if case is None or study is None or image is None:
            return
        point = layers.to_data(np.zeros((1, 2)), study, _displayed(case))[0]
        world = viewer_dims.point_world(self._viewer, image, point)
        viewer_dims.show_slice(self._viewer, case.record.image.axis, world, layer_ndim=image.ndim)
        self._viewer.fit_to_view(layers=[image])  # other layers may lie far away in the patient

    def _hide_others(self) -> None:
        """Once, before the first case: what the user shows or opens after that is wanted."""
        if self._hidden is None:
            self._selected = set(self._viewer.layers.selection)
            self._hidden = [layer for layer in self._viewer.layers if layer.visible]
            for layer in self._hidden:
                layer.visible = False

    def close(self) -> None:
        """Take the case out of the viewer, and show the user's layers again."""
        self._remove()
        hidden, self._hidden, self._selected = self._hidden or [], None, set()
        for layer in hidden:
            if layer in self._viewer.layers:
                layer.visible = True

    def _remove(self) -> None:
        own = [layer for layer in (*self._masks.values(), self._image) if layer is not None]
        if set(own) & set(self._viewer.layers.selection):
            _select(self._viewer, self._selected)
        self._case = self._study = self._image = None
        self._masks = {}
        for layer in own:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)


@contextmanager
def _selection_kept(viewer: Viewer) -> Iterator[None]:
    """Layers that are added get selected; here without a word to those who follow the active layer."""
    selection = viewer.layers.selection
    former = set(selection)
    with selection.events.active.blocker():
        yield
        _select(viewer, former)


def _select(viewer: Viewer, wanted: Iterable[Layer]) -> None:
    """Select these, as far as they are still in the viewer."""
    selection = viewer.layers.selection
    selection.clear()
    selection.update([layer for layer in viewer.layers if layer in set(wanted)])


def _displayed(case: HeldOutCase) -> DisplayedPlane:
    return DisplayedPlane(case.record.image.axis, 0)


def _mask_layer(name: str, image: Image, study: StudyRef) -> Labels:
    layer = Labels(
        np.zeros(image.data.shape, np.uint8),
        name=f"held-out case: {name}",
        colormap=DirectLabelColormap(color_dict={None: COLOURS[name], 0: _CLEAR, 1: COLOURS[name]}),
        opacity=0.45 if name == CORRECTED else 1.0,
        scale=image.scale,
        translate=image.translate,
        units=image.units,
        axis_labels=image.axis_labels,
        metadata={layers.METADATA_KEY: {"study": study}},
    )
    if name != CORRECTED:
        layer.contour = 1
    layer.editable = False
    return layer
