"""Which facts the preview of the bench takes: those of a label on the slice on screen, or made-up ones."""

from __future__ import annotations

from functools import partial

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QComboBox

from napari_medreason._qt.background import Background
from napari_medreason._qt.template_facts import (
    Around,
    LabelSource,
    facts_on_slice,
    label_layers,
    label_source,
    neighbours_of,
)
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_samples import sample_facts
from napari_medreason.core.template_words import bare_name
from napari_medreason.core.templates import Template
from napari_medreason.errors import MedReasonError

LOOK_AGAIN_MILLISECONDS = 120
"""Pause after painting or scrolling after which the preview follows."""
NEIGHBOURS_AGAIN_MILLISECONDS = 1500
"""Pause after painting after which the neighbours of all labels are found again, in the background."""
SAMPLE_FACTS = "Sample facts"
_SAMPLES_SHOWN = 4


class Tryout(QObject):
    """Follows the viewer for two choices, one of Labels layers and one of their labels.

    changed: other facts. said(words): why there are none of the chosen layer, "" when there are.
    """

    changed = Signal()
    said = Signal(str)

    def __init__(self, viewer: Viewer, layers_choice: QComboBox, label_choice: QComboBox) -> None:
        super().__init__(layers_choice)
        self._viewer = viewer
        self._layers_choice, self._label_choice = layers_choice, label_choice
        self._layers: list[Labels] = []
        self._followed: Labels | None = None
        self._facts: dict[int, Facts] = {}
        self._around: Around = {}
        self._background = Background(self)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(NEIGHBOURS_AGAIN_MILLISECONDS)
        self._later.timeout.connect(self._find_neighbours)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(LOOK_AGAIN_MILLISECONDS)
        self._soon.timeout.connect(self.look)
        layers_choice.currentIndexChanged.connect(self._on_layer)
        label_choice.currentIndexChanged.connect(self.changed)
        for event in self._layer_events():
            event.connect(self._fill)
        for event in self._dims_events():
            event.connect(self._look_soon)
        self._fill()

    def _layer_events(self) -> tuple:
        events = self._viewer.layers.events
        return events.inserted, events.removed, events.renamed

    def _dims_events(self) -> tuple:
        events = self._viewer.dims.events
        return events.point, events.order, events.ndisplay

    @property
    def layer(self) -> Labels | None:
        """The chosen Labels layer, None for sample facts."""
        row = self._layers_choice.currentIndex() - 1
        return self._layers[row] if 0 <= row < len(self._layers) else None

    @property
    def words(self) -> str:
        """What would be counted over."""
        return "sample facts" if self.layer is None else f"all slices of “{self.layer.name}”"

    def source(self) -> LabelSource | None:
        """The chosen layer with its study; QuestionError when it has too many axes."""
        return None if self.layer is None else label_source(self._viewer, self.layer)

    def facts(self, template: Template) -> list[tuple[str, Facts]]:
        """Facts to show a template with, each with words on where they come from."""
        row = self._label_choice.currentIndex()
        if self._facts and row >= 0:
            facts = list(self._facts.values())[row]
            return [(f"On this slice: {bare_name(facts)}", facts)]
        samples = sample_facts(template.scope, template.kind)
        return [(f"Sample: {bare_name(facts)}", facts) for facts in samples[:_SAMPLES_SHOWN]]

    def _fill(self, _event: object = None) -> None:
        chosen = self._followed
        self._layers = label_layers(self._viewer)
        row = self._layers.index(chosen) + 1 if chosen in self._layers else 0
        _refill(self._layers_choice, [SAMPLE_FACTS, *(one.name for one in self._layers)], row)
        self._on_layer()

    def _on_layer(self) -> None:
        self._unfollow()
        self._followed = self.layer
        if self._followed is not None:
            for event in _painting_events(self._followed):
                event.connect(self._on_painted)
            self._find_neighbours()
        self.look()

    def _unfollow(self) -> None:
        layer, self._followed = self._followed, None
        if layer is not None:
            for event in _painting_events(layer):
                event.disconnect(self._on_painted)
        self._later.stop()
        self._around = {}

    def _on_painted(self, _event: object = None) -> None:
        self._look_soon()
        self._later.start()

    def _find_neighbours(self) -> None:
        try:
            source = self.source()
        except MedReasonError:  # told by `look`
            return
        if source is not None:
            job = partial(_neighbours_job, source)
            then = partial(self._take_neighbours, source.layer)
            self._background.start(job, then=then, failed=_told_by_look)

    def _take_neighbours(self, layer: Labels, around: Around) -> None:
        if layer is self._followed:
            self._around = around
            self.look()

    def _look_soon(self, _event: object = None) -> None:
        if self._followed is not None:
            self._soon.start()

    def look(self) -> None:
        """Read the facts of the labels on the slice again."""
        chosen, words = self._label_choice.currentText(), ""
        self._facts = {}
        try:
            source = self.source()
            self._facts = {} if source is None else facts_on_slice(self._viewer, source, self._around)
            if source is not None and not self._facts:
                words = "There is no label on this slice; the preview shows sample facts."
        except MedReasonError as error:
            words = f"{error}; the preview shows sample facts."
        names = [f"{label}: {bare_name(facts)}" for label, facts in self._facts.items()]
        _refill(self._label_choice, names, names.index(chosen) if chosen in names else 0)
        self._label_choice.setEnabled(bool(names))
        self.said.emit(words)
        self.changed.emit()

    def close(self) -> None:
        """Leave the viewer."""
        self._soon.stop()
        self._background.cancel()
        self._unfollow()
        for event in self._layer_events():
            event.disconnect(self._fill)
        for event in self._dims_events():
            event.disconnect(self._look_soon)


def _neighbours_job(source: LabelSource, **_signals: object) -> Around:
    return neighbours_of(source)


def _told_by_look(_error: Exception) -> None:
    """What is wrong with the labels of a layer is told when its slice is looked at."""


def _painting_events(layer: Labels) -> tuple:
    return layer.events.set_data, layer.events.paint, layer.events.labels_update


def _refill(choice: QComboBox, words: list[str], row: int) -> None:
    choice.blockSignals(True)
    choice.clear()
    choice.addItems(words)
    choice.setCurrentIndex(row if words else -1)
    choice.blockSignals(False)
