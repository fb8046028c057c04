"""The study of a work list that is open in the viewer: its image, and the Labels layer that is corrected."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_medreason import layers
from napari_medreason._qt import viewer_dims
from napari_medreason._qt.correction_rights import rights_of
from napari_medreason._qt.correction_tools import Edit, ToolCall, apply_edit
from napari_medreason._qt.medpos_watcher import PaintWatcher
from napari_medreason.core.anatomy import structures
from napari_medreason.core.mask_tools import SliceAt
from napari_medreason.core.plane import AXES, Axis
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError
from napari_medreason.layers import DisplayedPlane, StudyRef
from napari_medreason.worklist import Item, Settings, WorkList
from napari_medreason.worklist.prelabels import Cancelled, Progress

LabelArray = NDArray[np.integer]
_OTHER_COLOUR = (1.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A study as it was read: labels (k, j, i) that the reader goes on with; digest: of these."""

    item: Item
    volume: Volume
    labels: LabelArray
    digest: bytes


def digest_of(labels: LabelArray) -> bytes:
    """Tells whether labels changed."""
    return blake2b(np.ascontiguousarray(labels).data, digest_size=16).digest()


def load(
    work_list: WorkList,
    item_id: str,
    *,
    reader: str,
    independent: bool,
    progress: Progress,
    cancelled: Cancelled,
) -> Loaded:
    """Read a study and its labels as `starting_labels`; long, so call it off the GUI thread."""
    volume = work_list.read_study(item_id, progress=progress, cancelled=cancelled)
    labels = starting_labels(work_list, item_id, reader=reader, volume=volume, independent=independent)
    return Loaded(work_list.item(item_id), volume, labels, digest_of(labels))


def starting_labels(
    work_list: WorkList, item_id: str, *, reader: str, volume: Volume, independent: bool
) -> LabelArray:
    """Labels (k, j, i) that a reader goes on with.

    independent: one who may become the second reader does not see the first reader's labels.
    """
    if independent and rights_of(work_list.item(item_id), reader).begin_second:
        drawn = work_list.read_labels(item_id, "prelabel", like=volume)
        start = np.zeros(volume.shape_kji, np.uint16) if drawn is None else drawn
        return start.astype(np.promote_types(start.dtype, np.uint16))
    return work_list.starting_labels(item_id, reader=reader, like=volume, independent=independent)


class OpenStudy(QObject):
    """At most one study of ours in the viewer. Layers of others are left alone.

    changed(): the user drew or undid something. gone(): the user deleted the Labels layer.
    label_chosen(value): the layer's label changed.
    """

    changed = Signal()
    gone = Signal()
    label_chosen = Signal(int)

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.loaded: Loaded | None = None
        self.study: StudyRef | None = None
        self.layer: Labels | None = None
        self._image: Image | None = None
        self._watcher = PaintWatcher(viewer, self)
        for signal in (self._watcher.painted, self._watcher.refreshed, self._watcher.replaced):
            signal.connect(lambda *_: self.changed.emit())
        viewer.layers.events.removed.connect(self._on_removed)

    def show(self, loaded: Loaded, settings: Settings) -> None:
        """Show a study in place of the one before."""
        self.close()
        image = Layer.create(*layers.image_layer(loaded.volume))
        study = layers.study_of(image)
        image.name = loaded.item.path
        layer = _labels_layer(loaded, study, image, settings)
        self.loaded, self.study, self.layer, self._image = loaded, study, layer, image
        self._viewer.layers.extend([image, layer])
        self._viewer.layers.selection.active = layer
        layer.events.selected_label.connect(self._on_label)
        self._watcher.watch(layer)
        self._show_middle(loaded.labels, study)

    def _show_middle(self, labels: LabelArray, study: StudyRef) -> None:
        """The axial slice with the most drawn on it, or the middle one."""
        axis = study.axes_kji[0]
        drawn = np.count_nonzero(labels, axis=tuple(other for other in range(3) if other != axis))
        self.jump("axial", int(drawn.argmax()) if drawn.any() else labels.shape[axis] // 2)

    def close(self) -> None:
        """Take the study out of the viewer."""
        self._watcher.watch(None)
        former = (self.layer, self._image)
        self._forget()
        for layer in former:
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def leave_behind(self) -> str:
        """Leave the layers in the viewer, as somebody else's from now on; the name of the labels."""
        layer = self.layer
        if layer is not None:
            layer.name = f"{layer.name} (not saved)"
        self._watcher.watch(None)
        self._forget()
        return "" if layer is None else str(layer.name)

    def let_go(self) -> None:
        """Stop watching; the layers stay in the viewer."""
        self._watcher.watch(None)
        self._forget()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _forget(self) -> None:
        if self.layer is not None:
            self.layer.events.selected_label.disconnect(self._on_label)
        self.loaded = self.study = self.layer = self._image = None

    def _on_removed(self, event: Any) -> None:
        if self.layer is not None and event.value == self.layer:
            self.gone.emit()
            self._watcher.watch(None)
            self._forget()

    def _on_label(self, _event: object) -> None:
        if self.layer is not None:
            self.label_chosen.emit(int(self.layer.selected_label))

    def set_editable(self, editable: bool) -> None:
        """Whether the user may draw."""
        if self.layer is not None:
            self.layer.editable = editable

    def choose_label(self, value: int) -> None:
        """Draw with a label."""
        if self.layer is not None and self.layer.selected_label != value:
            self.layer.selected_label = value

    def snapshot(self) -> LabelArray:
        """A copy (k, j, i) of what is drawn; LabelMapError when the layer was given other data."""
        if self.layer is None or self.study is None:
            raise LabelMapError("no study of the work list is open; open one first")
        data = np.asarray(self.layer.data)
        if data.shape != self.study.display_shape:
            raise LabelMapError(
                f"layer “{self.layer.name}” has shape {data.shape} now; {self.study.display_shape} is "
                "accepted: undo that, or open the study again"
            )
        return np.ascontiguousarray(layers.stored_array(data, self.study)).copy()

    def replace_labels(self, labels: LabelArray) -> None:
        """Show other labels (k, j, i), without a way back; for what was just read from the disk."""
        if self.layer is not None and self.study is not None:
            self.layer.data = layers.display_array(labels, self.study)

    def tool_call(self, *, only_shown: bool, value: float) -> ToolCall:
        """What a tool works on now; LabelMapError and QuestionError when nothing fit is shown."""
        labels = self.snapshot()
        if self.layer is None or self.study is None or self.loaded is None:
            raise LabelMapError("no study of the work list is open; open one first")
        shown, study = self.shown_plane(), self.study
        display_axis = AXES.index(shown.axis)
        where = SliceAt(study.axes_kji[display_axis], shown.index)
        up = -1 if study.flipped[display_axis] else 1
        label, spacing = int(self.layer.selected_label), self.loaded.volume.spacing_kji
        return ToolCall(labels, label, spacing, where, up, only_shown, value)

    def apply(self, edit: Edit) -> int:
        """Draw the result of a tool as one step that can be undone; the number of changed voxels."""
        return 0 if self.layer is None else apply_edit(self.layer, edit)

    def shown_plane(self) -> DisplayedPlane:
        """The plane on screen; QuestionError when none is."""
        if self.layer is None or self._image is None or self.study is None:
            raise LabelMapError("no study of the work list is open; open one first")
        dims, image = self._viewer.dims, self._image
        return layers.displayed_plane(
            self.study,
            order=viewer_dims.own_order(dims.order, image.ndim),
            point_data=viewer_dims.point_data(self._viewer, image),
            ndisplay=dims.ndisplay,
        )

    def jump(self, axis: Axis, index: int) -> None:
        """Show a slice; index as in core.plane."""
        if self.layer is None or self.study is None or self._image is None:
            return
        frame = 0 if self.study.layer_ndim == 4 else None
        point = layers.to_data(np.zeros((1, 2)), self.study, DisplayedPlane(axis, index, frame))[0]
        world = viewer_dims.point_world(self._viewer, self._image, point)
        viewer_dims.show_slice(self._viewer, axis, world, layer_ndim=self._image.ndim)


def _labels_layer(loaded: Loaded, study: StudyRef, image: Image, settings: Settings) -> Labels:
    layer = Labels(
        layers.display_array(loaded.labels, study),
        name=f"{loaded.item.path}: labels",
        opacity=0.5,
        scale=image.scale[-3:],
        translate=image.translate[-3:],
        units=image.units[-3:],
        axis_labels=image.axis_labels[-3:],
        metadata={layers.METADATA_KEY: {"study": study}},
        colormap=_colours(settings),
    )
    layers.keep_names(layer, {label.value: label.name for label in settings.labels})
    layer.selected_label = settings.labels[0].value if settings.labels else 1
    layer.brush_size = 8
    return layer


def _colours(settings: Settings) -> DirectLabelColormap:
    """Colours of the vocabulary where a label stands in it, alternating ones otherwise."""
    known = structures()
    colours: dict[int | None, Any] = {None: _OTHER_COLOUR, 0: (0.0, 0.0, 0.0, 0.0)}
    spare = ((0.2, 0.8, 0.9, 1.0), (0.95, 0.75, 0.2, 1.0), (0.4, 0.9, 0.4, 1.0), (0.9, 0.4, 0.6, 1.0))
    for number, label in enumerate(settings.labels):
        if label.structure in known:
            red, green, blue = (part / 255 for part in known[label.structure].colour)
            colours[label.value] = (red, green, blue, 1.0)
        else:
            colours[label.value] = spare[number % len(spare)]
    return DirectLabelColormap(color_dict=colours)
