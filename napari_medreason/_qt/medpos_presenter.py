"""The rules of the MedPos dock: which layer, what is shown of it, and what each wish of the user does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject
from qtpy.QtGui import QColor

from napari_medreason import layers
from napari_medreason._qt import viewer_dims
from napari_medreason._qt.background import Background
from napari_medreason._qt.medpos_details import MedPosDetails
from napari_medreason._qt.medpos_model import RegionModel
from napari_medreason._qt.medpos_overlay import MedPosOverlay
from napari_medreason._qt.medpos_rows import Key, RegionRow
from napari_medreason._qt.medpos_study import CHOSEN, NO_STUDY, StudyChoice, study_choices
from napari_medreason._qt.medpos_summary import AXES_ACCEPTED, CANCELLED, NO_LAYER, counted, summary
from napari_medreason._qt.medpos_table import LiveTable, Source
from napari_medreason._qt.medpos_view import MedPosView
from napari_medreason._qt.medpos_watcher import PaintWatcher
from napari_medreason._qt.template_facts import LabelSource
from napari_medreason.core.plane import AXES
from napari_medreason.core.region_columns import RegionSettings
from napari_medreason.errors import LabelMapError, MedReasonError, QuestionError
from napari_medreason.io.named_regions import write_regions


class MedPosPresenter(QObject):
    """Joins the view with the viewer; `report` shows errors."""

    def __init__(self, view: MedPosView, viewer: Viewer, *, report: Callable[[Exception], None]) -> None:
        super().__init__(view)
        self._view, self._viewer, self._report = view, viewer, report
        self._choices: tuple[StudyChoice, ...] = ()
        self._reason = ""
        self.layer: Labels | None = None
        self.names: dict[int, str] = {}
        self.background = Background(self)
        self.live = LiveTable(self.background)
        self.watcher = PaintWatcher(viewer, self)
        overlay = MedPosOverlay(viewer, self.watcher.paused)
        self.details = MedPosDetails(view, self.live, overlay, names=lambda: self.names)
        self._connect()
        self.show_layer(None)

    def _connect(self) -> None:
        view, live = self._view, self.live
        self.background.progressed.connect(view.show_progress)
        self.background.ended.connect(view.show_idle)
        live.reset.connect(self._on_reset)
        live.updated.connect(self._on_updated)
        live.body_known.connect(self._changed)
        live.body_failed.connect(self._report)
        live.failed.connect(self._on_failed)
        self.watcher.painted.connect(live.painted)
        self.watcher.refreshed.connect(live.refresh)
        self.watcher.replaced.connect(self._on_replaced)
        view.table.regions.named.connect(lambda label, name: self.name_labels({label: name}))

    def show_layer(self, layer: Labels | None) -> None:
        """Show the labels of another layer, None for none."""
        self.layer = layer
        self.details.hide()
        self._view.table.regions.set_rows([])
        self._view.table.regions.forget_colours()
        self.names = {} if layer is None else layers.label_names(layer)
        self._view.table.regions.set_names(self.names)
        self._view.set_ready(False)
        if layer is None:
            self._choices = ()
            self._view.set_studies([], -1)
            self.watcher.watch(None)
            self.live.load(None)
            self._view.status.setText(NO_LAYER)
            self.details.show_words()
            return
        choices = study_choices(layer, self._images())
        self._choices, self._reason = choices.offered, choices.reason
        first = len(choices.offered) if choices.first is None else choices.first
        self._view.set_studies([*(choice.name for choice in choices.offered), NO_STUDY], first)
        self.load()

    def choose_study(self, row: int) -> None:
        """Tie the layer to a study, or, behind the last one, to none."""
        self._reason = CHOSEN if row >= len(self._choices) else ""
        self.load()

    def images_changed(self) -> None:
        """Images came or went: another study may fit the layer."""
        if self.layer is not None:
            before = [choice.study.id for choice in self._choices]
            after = [choice.study.id for choice in study_choices(self.layer, self._images()).offered]
            if before != after:
                self.show_layer(self.layer)

    def _images(self) -> list[Image]:
        return [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Image)]

    def load(self) -> None:
        """Make the table anew, with the study, slices and rule that are chosen."""
        layer = self.layer
        if layer is None:
            return
        choice = self._choice
        settings = RegionSettings(axis=self._view.axis, rule=self._view.rule)
        try:
            study = layers.study_of(layer) if choice is None else choice.study
        except QuestionError:
            self._on_failed(LabelMapError(AXES_ACCEPTED.format(name=layer.name, count=layer.ndim)))
            return
        image = None if choice is None else choice.image
        axis = max(0, layer.ndim - 3) + (AXES.index(settings.axis) if layer.ndim > 2 else 0)
        self.watcher.watch(layer, axis)
        self._view.status.setText(f"Looking at “{layer.name}” …")
        self.live.load(Source(layer, study, self._frame(layer), settings, image))

    @property
    def _choice(self) -> StudyChoice | None:
        """The study that is chosen for the layer."""
        row = self._view.study_choice.currentIndex()
        return self._choices[row] if 0 <= row < len(self._choices) else None

    def _frame(self, layer: Labels) -> int | None:
        return max(0, round(viewer_dims.point_data(self._viewer, layer)[0])) if layer.ndim == 4 else None

    def _on_replaced(self) -> None:
        self.show_layer(self.layer)

    def cancel(self) -> None:
        """Give up looking at the whole label map."""
        self.background.cancel()
        if self.layer is not None:
            self._view.status.setText(CANCELLED.format(name=self.layer.name))
            self._view.set_ready(True)

    def _on_reset(self, rows: Sequence[RegionRow]) -> None:
        table = self._view.table
        current, scrolled = table.current, table.verticalScrollBar()
        place = scrolled.value() if scrolled is not None else 0
        table.regions.set_rows(rows)
        if current is not None:
            table.choose(current)
        if scrolled is not None:
            scrolled.setValue(place)
        self._changed()

    def _on_updated(self, slices: Collection[int], rows: Sequence[RegionRow]) -> None:
        self._view.table.regions.replace_slices(slices, rows)
        self._changed()

    def _on_failed(self, error: Exception) -> None:
        self._view.table.regions.set_rows([])
        self._view.set_ready(self.layer is not None)
        self._view.status.setText(str(error)[:1].upper() + str(error)[1:])
        if not isinstance(error, MedReasonError):
            self._report(error)

    def _changed(self) -> None:
        self._view.set_ready(True)
        self._view.status.setText(self._summary())
        self.details.later()

    def _summary(self) -> str:
        table, layer = self.live.table, self.layer
        if table is None or layer is None:
            return ""
        return summary(
            table,
            layer.name,
            reason=self._reason,
            searching=self.live.searching,
            body_missing=self.live.body_missing,
        )

    def jump(self, key: Key) -> None:
        """Show the slice of a region, and make its layer the active one."""
        region = self.details.region(key)
        if region is None:
            return
        point = layers.to_data(np.zeros((1, 2)), region.study, region.displayed)[0]
        world = viewer_dims.point_world(self._viewer, region.layer, point)
        axis = region.table.settings.axis
        viewer_dims.show_slice(self._viewer, axis, world, layer_ndim=region.layer.ndim)
        self._viewer.layers.selection.active = region.layer
        self.details.later()

    def shown_slice(self) -> int | None:
        """The slice that is on screen, as the table counts them; None when another plane is shown."""
        source = self.live.source
        if source is None:
            return None
        if source.study.layer_ndim == 2:
            return 0
        fixed = self._viewer.dims.ndim - 3 + AXES.index(source.settings.axis)
        if fixed in self._viewer.dims.displayed:
            return None
        return source.study.display_index(source.settings.axis, self.watcher.shown_index())

    def follow_dims(self) -> None:
        """The sliders moved: keep to the slice on screen, and to the frame of a 4D label map."""
        self.filter_rows()
        source = self.live.source
        if source is not None and source.frame is not None and self._frame(source.layer) != source.frame:
            self.load()

    def filter_rows(self) -> None:
        """Show only the rows that the user wants to see."""
        only = self.shown_slice() if self._view.only_shown.isChecked() else None
        self._view.table.filter.choose(self._view.filter_line.text(), only)

    def name_selected(self, text: str) -> None:
        """Name the labels of the selected rows, or those in a list such as "1 liver, 2 spleen"."""
        listed = layers.parsed_names(text)
        self.name_labels(listed or dict.fromkeys(self._view.table.selected_labels, text))

    def name_labels(self, names: dict[int, str]) -> None:
        """Keep names of labels with the layer; an empty name takes one away."""
        if self.layer is None or not names:
            return
        merged = {**self.names, **names}
        self.names = {label: name for label, name in sorted(merged.items()) if name}
        layers.keep_names(self.layer, self.names)
        self._view.table.regions.set_names(self.names)
        self.details.later()

    def export(self, path: Path, form: str) -> None:
        """Write all regions of the table in a form of io.region_files."""
        table, layer = self.live.table, self.layer
        if table is None or layer is None:
            return
        try:
            write_regions(path, form, table, Path(f"{_file_stem(layer.name)}.nii.gz"), self.shown_names())
        except MedReasonError as error:
            self._report(error)
            return
        self._view.status.setText(f"Wrote {path.name}: {counted(len(table), 'region')}.")

    @property
    def label_source(self) -> LabelSource | None:
        """The layer with the study that is chosen for it, None without a layer."""
        if self.layer is None:
            return None
        choice = self._choice
        study, image = (layers.study_of(self.layer), None) if choice is None else (choice.study, choice.image)
        return LabelSource(self.layer, study, image, layers.label_names(self.layer))

    def shown_names(self) -> dict[int, str]:
        """Names by label in the words of the vocabulary."""
        return {label: layers.full_name(name) for label, name in self.names.items()}

    def close(self) -> None:
        """Let go of the viewer; the overlay goes, the names stay with the layer."""
        self.live.close()
        self.watcher.watch(None)
        self.details.close()


def make_model(parent: QObject, layer_of: Callable[[], Labels | None]) -> RegionModel:
    """The table's model, with swatches in the colours that the layer has for its labels."""

    def colour(label: int) -> QColor:
        layer = layer_of()
        values: Any = None if layer is None else layer.get_color(label)
        return QColor(128, 128, 128) if values is None else QColor.fromRgbF(*(float(v) for v in values[:3]))

    return RegionModel(colour, parent)


def _file_stem(name: str) -> str:
    return (
        "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name).strip("_")
        or "labels"
    )
