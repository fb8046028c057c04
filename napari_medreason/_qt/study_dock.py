"""The Study dock: the geometry card of an image, how it is viewed, its window, and its export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from napari.viewer import Viewer
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QVBoxLayout

from napari_medreason import layers
from napari_medreason._qt import canvas_letters, canvas_settings, notify, viewer_dims
from napari_medreason._qt.background import Background
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.study_view import StudyView
from napari_medreason._qt.window_drag import WindowDrag, show_window
from napari_medreason.core.plane import AXES, Axis
from napari_medreason.core.regrid import regridded
from napari_medreason.core.volume import CT_WINDOWS, Window
from napari_medreason.core.window_presets import preset_names, preset_window, sampled
from napari_medreason.errors import ExportError
from napari_medreason.layers import card
from napari_medreason.layers.label_maps import computed

if TYPE_CHECKING:
    from napari_medreason._qt.export_dialog import ExportDialog, Job
    from napari_medreason.io.proof import Receipt

_WIDTH = 360


class StudyWidget(Docked):
    """What is known of the image's geometry, and how it is shown."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._images: list[Image] = []
        self._heard: Image | None = None
        self.view = StudyView(self)
        self.letters = canvas_letters.attach(napari_viewer, self)
        self._work = Background(self)
        self._exports = Background()
        """Never cancelled: a file that was begun is finished, and its proof is told, whatever closes."""
        self.drag = WindowDrag(napari_viewer, lambda: self.image)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.view.set_view(letters=canvas_settings.letters_shown(), convention=canvas_settings.convention())
        self._connect()
        self._refresh_images()

    def _connect(self) -> None:
        view = self.view
        view.image_chosen.connect(self._show_image)
        view.plane_wanted.connect(self._show_plane)
        view.letters_switched.connect(self._switch_letters)
        view.convention_chosen.connect(self._choose_convention)
        view.preset_chosen.connect(self._choose_preset)
        view.window_edited.connect(self._edit_window)
        view.drag_switched.connect(self.drag.switch)
        view.regrid_wanted.connect(self.regrid)
        view.export_wanted.connect(self.open_export)
        view.cancelled.connect(self._cancel)
        for emitter, heard in self._viewer_connections():
            emitter.connect(heard)

    def _viewer_connections(self) -> tuple[tuple[Any, Any], ...]:
        events = self._viewer.layers.events
        return (
            (events.inserted, self._refresh_images),
            (events.removed, self._refresh_images),
            (events.renamed, self._refresh_images),
            (self._viewer.layers.selection.events.active, self._follow_selection),
        )

    @property
    def image(self) -> Image | None:
        """The image that the dock is about."""
        row = self.view.image_choice.currentIndex()
        return self._images[row] if 0 <= row < len(self._images) else None

    def _refresh_images(self, _event: object = None) -> None:
        former, active = self.image, self._viewer.layers.selection.active
        self._images = [
            layer for layer in reversed(self._viewer.layers) if isinstance(layer, Image) and not layer.rgb
        ]
        wanted = next((layer for layer in (former, active) if layer in self._images), None)
        row = self._images.index(wanted) if wanted is not None else 0
        self.view.set_images([layer.name for layer in self._images], row if self._images else -1)
        self._show_image()

    def _follow_selection(self, _event: object = None) -> None:
        active = self._viewer.layers.selection.active
        if active in self._images and active != self.image:
            self.view.image_choice.setCurrentIndex(self._images.index(active))
            self._show_image()

    def _show_image(self, _row: int = -1) -> None:
        image = self.image
        self._listen_to(image)
        if image is None:
            self.view.set_usable(False)
            self.view.set_card((), ())
            self.view.set_presets(())
            return
        study = layers.study_wherever(image)
        notes = card.reading_notes(study, image.metadata)
        self.view.set_usable(True, regrid=card.irregular_words(study, notes))
        self.view.set_card(card.study_card(study, image.data), card.study_checks(study, image.metadata))
        self.view.set_presets(preset_names(study.modality, calibrated=study.calibrated))
        self._show_limits()

    def _listen_to(self, image: Image | None) -> None:
        """Follow the contrast limits of one image, also where napari's own slider moves them."""
        if self._heard is not None:
            self._heard.events.contrast_limits.disconnect(self._show_limits)
        self._heard = image
        if image is not None:
            image.events.contrast_limits.connect(self._show_limits)

    def _show_limits(self, _event: object = None) -> None:
        image = self.image
        if image is None:
            return
        low, high = (float(value) for value in image.contrast_limits)
        study = layers.study_wherever(image)
        fixed = CT_WINDOWS if study.modality == "CT" and study.calibrated else {}
        preset = next((name for name, window in fixed.items() if window == Window(low, high)), "")
        self.view.set_window((low + high) / 2, high - low, preset)

    def _show_plane(self, axis: Axis) -> None:
        image = self.image
        if image is not None and image.ndim > 2:
            point = viewer_dims.point_data(self._viewer, image)
            world = viewer_dims.point_world(self._viewer, image, point)
            dims, fixed = self._viewer.dims, image.ndim - 3 + AXES.index(axis)
            viewer_dims.show_slice(self._viewer, axis, world, layer_ndim=image.ndim)
            lead = dims.ndim - image.ndim
            others = [other for other in range(dims.ndim) if other != lead + fixed]
            dims.order = (*others[:-2], lead + fixed, *others[-2:])

    def _switch_letters(self, shown: bool) -> None:
        canvas_settings.show_letters(shown)
        self.letters.settings_changed()

    def _choose_convention(self, name: str) -> None:
        canvas_settings.choose_convention(name)
        self.letters.settings_changed()

    def regrid(self) -> None:
        """Resample the study to a regular grid, as a new image; the old one stays."""
        image = self.image
        if image is None:
            return
        study = layers.study_wherever(image)
        notes, data = card.reading_notes(study, image.metadata), image.data
        if notes is not None:
            self.view.show_busy("Resampling …", can_cancel=True)
            self._work.start(
                lambda progress, cancelled: _resampled(data, study, notes),
                then=self._add_resampled,
                failed=self._fail,
            )

    def _add_resampled(self, entry: layers.LayerDataTuple) -> None:
        layer = Layer.create(*entry)
        self._viewer.add_layer(layer)
        canvas_letters.attach(self._viewer, layer)
        self.view.show_idle(f"Added “{layer.name}”.")

    def open_export(self) -> ExportDialog:
        """Let the user choose what to export and how; gives the dialog, which is open."""
        from napari_medreason._qt.export_dialog import ExportDialog  # brings the DICOM writers

        layers = [
            layer
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Labels) or (isinstance(layer, Image) and not layer.rgb)
        ]
        selected = [layer for layer in layers if layer in self._viewer.layers.selection]
        selected = selected or [layer for layer in layers if isinstance(layer, Labels)][:1]
        dialog = ExportDialog(layers, selected, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.wanted.connect(self._export)
        dialog.open()
        return dialog

    def _export(self, job: Job) -> None:
        self.view.show_busy("Writing and reading back …", can_cancel=False)
        self._exports.start(job, then=self._show_receipt, failed=self._fail)

    def _show_receipt(self, receipt: Receipt) -> None:
        if not self._closed:
            self.view.show_idle(receipt.words)
        if not receipt.identical:
            notify.report(ExportError(receipt.words))
        elif self._closed:
            notify.inform(receipt.words)

    def _fail(self, error: Exception) -> None:
        if not self._closed:
            self.view.show_idle()
        notify.report(error)

    def _cancel(self) -> None:
        self._work.cancel()
        self.view.show_idle("Cancelled; nothing was changed.")

    def _choose_preset(self, name: str) -> None:
        image = self.image
        if image is None:
            return
        if name in CT_WINDOWS:  # looks at no voxel: a lazily opened study stays so
            show_window(image, CT_WINDOWS[name])
            return
        data = image.data
        self._work.start(
            lambda progress, cancelled: preset_window(name, sampled(computed(data))),
            then=lambda window: show_window(image, window),
            failed=self._fail,
        )

    def _edit_window(self, centre: float, width: float) -> None:
        if self.image is not None:
            show_window(self.image, Window(centre - width / 2, centre + width / 2))

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH, super().sizeHint().height())

    def take_apart(self) -> None:
        """Disconnect from the viewer; letters go unless another dock needs them."""
        for emitter, heard in self._viewer_connections():
            emitter.disconnect(heard)
        self._work.cancel()
        self._listen_to(None)
        self.drag.close()
        canvas_letters.release(self._viewer, self)


def _resampled(data: Any, study: layers.StudyRef, notes: layers.ReadingNotes) -> layers.LayerDataTuple:
    volume = regridded(card.study_volume(data, study, notes))
    return layers.image_layer(replace(volume, name=f"{study.name} on a regular grid"))
