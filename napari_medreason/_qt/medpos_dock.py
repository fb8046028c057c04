"""The MedPos dock: joins view, rules and viewer, and takes all of it apart when it closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from napari.viewer import Viewer
from qtpy.QtCore import QSize
from qtpy.QtWidgets import QFileDialog, QVBoxLayout

from napari_medreason._qt import notify
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.medpos_presenter import MedPosPresenter, make_model
from napari_medreason._qt.medpos_view import MedPosView
from napari_medreason.errors import ExportError

_WIDTH = 440

FORMS = {
    "JSON lines (*.jsonl)": ("jsonl", ".jsonl"),
    "CSV table (*.csv)": ("csv", ".csv"),
    "MedPos CSV, as released (*.csv)": ("medpos-csv", ".csv"),
}
"""Forms of the export dialog: filter, form of io.region_files, ending of the file."""


class MedPosWidget(Docked):
    """Where the labels of a Labels layer lie, as words and numbers, while they are painted."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._layers: list[Labels] = []
        self.view = MedPosView(make_model(self, lambda: self.presenter.layer), self)
        self.presenter = MedPosPresenter(self.view, napari_viewer, report=notify.report)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._connect()
        self._refresh_layers()

    def _connect(self) -> None:
        view, presenter = self.view, self.presenter
        view.layer_chosen.connect(self._choose)
        view.study_chosen.connect(presenter.choose_study)
        view.settings_changed.connect(presenter.load)
        view.table.jump_wanted.connect(presenter.jump)
        view.filter_changed.connect(presenter.filter_rows)
        view.name_wanted.connect(presenter.name_selected)
        view.refresh_wanted.connect(presenter.live.refresh)
        view.cancelled.connect(presenter.cancel)
        view.export_wanted.connect(self.choose_export)
        view.tune_wanted.connect(self.fine_tune)
        for emitter, heard in self._viewer_connections():
            emitter.connect(heard)

    def _viewer_connections(self) -> tuple[tuple[Any, Any], ...]:
        events, dims = self._viewer.layers.events, self._viewer.dims.events
        return (
            (events.inserted, self._refresh_layers),
            (events.removed, self._refresh_layers),
            (events.renamed, self._refresh_layers),
            (self._viewer.layers.selection.events.active, self._follow_selection),
            (dims.point, self._follow_dims),
            (dims.order, self._follow_dims),
        )

    def _refresh_layers(self, event: Any = None) -> None:
        self._layers = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]
        active, former = self._viewer.layers.selection.active, self.presenter.layer
        chosen = next((layer for layer in (former, active, *self._layers) if layer in self._layers), None)
        row = -1 if chosen is None else self._layers.index(chosen)
        self.view.set_layers([layer.name for layer in self._layers], row)
        if chosen != former:  # not `is`: napari hands plugins proxies of its layers
            self.presenter.show_layer(chosen)
        elif isinstance(getattr(event, "value", None), Image):
            self.presenter.images_changed()

    def _follow_selection(self, _event: object = None) -> None:
        active = self._viewer.layers.selection.active
        if active in self._layers and active != self.presenter.layer:
            self._choose(self._layers.index(active))

    def _follow_dims(self, _event: object = None) -> None:
        self.presenter.follow_dims()

    def _choose(self, row: int) -> None:
        self.view.layer_choice.setCurrentIndex(row)
        self.presenter.show_layer(self._layers[row])

    def choose_export(self) -> None:
        """Let the user choose a file and its form, then write it."""
        path, chosen = QFileDialog.getSaveFileName(self, "Export positions", "positions", ";;".join(FORMS))
        if not path:
            return
        form, ending = FORMS.get(chosen, next(iter(FORMS.values())))
        target = Path(path)
        if target.suffix != ending:
            target = target.with_name(target.name + ending)
            if target.exists():  # the dialog asked about another name
                notify.report(
                    ExportError(f"{target.name} exists already; choose it in the dialog to replace it")
                )
                return
        self.presenter.export(target, form)

    def fine_tune(self) -> None:
        """Open the Fine-tune dock and make records of what is labelled here."""
        source = self.presenter.label_source
        if source is not None and getattr(self._viewer, "window", None) is not None:
            from napari_medreason._qt.tune_dock_open import open_with_labels  # brings the charts of runs

            open_with_labels(self._viewer, source)

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH, super().sizeHint().height())

    def take_apart(self) -> None:
        """Disconnect from the viewer; our overlay goes, layers and names stay."""
        for emitter, heard in self._viewer_connections():
            emitter.disconnect(heard)
        self.presenter.close()
