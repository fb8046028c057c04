"""The Ask dock: joins view, rules, viewer and engine, and takes all of it apart when it closes."""

from __future__ import annotations

import sys
import threading
from functools import partial
from importlib import import_module
from pathlib import Path

from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QVBoxLayout

from napari_medreason import models
from napari_medreason._qt import answer_export, canvas_letters, engine_bridge, notify, settings
from napari_medreason._qt.ask_presenter import AskPresenter
from napari_medreason._qt.ask_view import AskView
from napari_medreason._qt.background import Background
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason._qt.model_choice import default_model, model_rows
from napari_medreason._qt.open_study import StudyOpener
from napari_medreason._qt.viewer_layers import ViewerLayers
from napari_medreason.errors import MedReasonError

MODELS_DOCK = "Models and weights"
SETTINGS_AFTER_MS = 200
"""When the remembered settings are read, after the dock was made."""


class AskWidget(Docked):
    """Ask about the slice on screen and get mask, box, key points and words as linked layers.

    engine: a bridge of one's own, for tests and benchmarks; otherwise the one that all docks share.
    """

    _model_settled = False

    def __init__(self, napari_viewer: Viewer, engine: EngineBridge | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._shares_engine = engine is None
        self._images: list[Image] = []
        self.view = AskView(self)
        self.viewer_layers = ViewerLayers(napari_viewer)
        self.presenter = AskPresenter(
            self.view,
            self.viewer_layers,
            engine or engine_bridge.acquire(),
            report=notify.report,
            segmenters=models.redrawing(),
        )
        self.opener = StudyOpener(napari_viewer, self)
        self.exports = Background(self)
        canvas_letters.attach(napari_viewer, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._connect()
        self._fill_models()
        self._refresh_images()

    def _connect(self) -> None:
        view, presenter = self.view, self.presenter
        view.asked.connect(self.ask)
        view.cancelled.connect(presenter.cancel)
        view.folder_wanted.connect(self.opener.choose_folder)
        view.file_wanted.connect(self.opener.choose_file)
        view.image_chosen.connect(self._choose_image)
        view.model_chosen.connect(self._keep_model)
        view.models_wanted.connect(self.open_models)
        view.model_choice.opening.connect(self._refill_models)
        view.answer_chosen.connect(presenter.select)
        view.answer_highlighted.connect(presenter.show)
        view.visibility_changed.connect(presenter.set_visible)
        view.delete_wanted.connect(presenter.delete)
        view.export_wanted.connect(self.choose_export)
        view.undo_wanted.connect(presenter.undo)
        view.redo_wanted.connect(presenter.redo)
        events = self._viewer.layers.events
        events.inserted.connect(self._refresh_images)
        events.removed.connect(self._refresh_images)
        events.renamed.connect(self._refresh_images)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)

    def ask(self, question: str) -> None:
        """Ask about the chosen image, as Enter does."""
        load_tables_meanwhile()
        self._choose_saved_model()
        self.presenter.ask(question, self.image, model=self.view.model)

    @property
    def image(self) -> Image | None:
        """The image layer that is asked about."""
        row = self.view.image_choice.currentIndex()
        return self._images[row] if 0 <= row < len(self._images) else None

    def _fill_models(self) -> None:
        self.view.model_choice.fill(model_rows(), default_model())
        QTimer.singleShot(SETTINGS_AFTER_MS, self._choose_saved_model)

    def _choose_saved_model(self) -> None:
        """Napari reads every plugin's manifest for the first setting: not before the dock stands."""
        if self._closed or self._model_settled:
            return
        self._model_settled = True
        if (saved := settings.saved_model()) in models.available():
            self.view.choose_model(saved)
        elif saved:
            self._say_gone(saved)

    def _keep_model(self, model: str) -> None:
        self._model_settled = True
        settings.save_model(model)
        self._say_what_model()

    def _refill_models(self) -> None:
        """Weights may have come, or a server been named, since the list was last shown."""
        former, title = self.view.model, self.view.model_choice.currentText()
        self.view.model_choice.fill(model_rows(), former)
        if former and self.view.model != former:
            self._say_gone(title)

    def _say_gone(self, title: str) -> None:
        say = notify.warn if self.presenter.busy else self.view.show_status
        say(f"“{title}” is no longer here; “{self.view.model_choice.currentText()}” answers instead.")

    def _say_what_model(self) -> None:
        """What a user must know of the chosen model before asking it."""
        row = self.view.model_choice.row
        if row is not None and row.remote:
            self.view.show_status(row.tip.splitlines()[0] + ".")
        elif row is not None and row.missing:
            self.view.show_status("Its weights are not here yet; “Models…” brings them.")
        elif not self.presenter.busy:
            self.view.show_status("")

    def choose_export(self, answer_id: str) -> None:
        """Let the user choose where to write an answer."""
        if folder := QFileDialog.getExistingDirectory(self, "Folder for the answer"):
            self.export(answer_id, Path(folder))

    def export(self, answer_id: str, folder: Path) -> None:
        """Write an answer as it is shown into a folder of its own, off the GUI thread."""
        answer = self.presenter.session.get(answer_id)
        if answer is None:
            return
        try:
            grounding = answer_export.as_shown(answer, self.viewer_layers.mask(answer))
        except MedReasonError as error:
            notify.report(error)
            return
        self.exports.start(
            partial(answer_export.write, folder, answer, grounding),
            then=lambda target: self.view.show_status(f"Wrote {target.name}; read back: identical."),
            failed=notify.report,
        )

    def open_models(self) -> None:
        """Open the Models dock, at the weights that the chosen model lacks."""
        window = getattr(self._viewer, "window", None)
        row = self.view.model_choice.row
        if window is not None:
            _, widget = window.add_plugin_dock_widget(settings.PLUGIN, MODELS_DOCK, tabify=True)
            widget.choose(row.missing if row is not None else ())

    def _refresh_images(self, _event: object = None) -> None:
        former = self.image
        self._images = self.viewer_layers.images()
        active = self._viewer.layers.selection.active
        wanted = next((layer for layer in (former, active) if layer in self._images), None)
        chosen = self._images.index(wanted) if wanted is not None else 0
        self.view.set_images([layer.name for layer in self._images], chosen if self._images else -1)

    def _follow_selection(self, _event: object = None) -> None:
        active = self._viewer.layers.selection.active
        if active in self._images:
            self._choose_image(self._images.index(active))

    def _choose_image(self, row: int) -> None:
        self.view.image_choice.setCurrentIndex(row)

    def take_apart(self) -> None:
        """Disconnect from the viewer and give the engine back; the answers' layers stay."""
        events = self._viewer.layers.events
        events.inserted.disconnect(self._refresh_images)
        events.removed.disconnect(self._refresh_images)
        events.renamed.disconnect(self._refresh_images)
        self._viewer.layers.selection.events.active.disconnect(self._follow_selection)
        self.opener.close()
        self.exports.cancel()
        self.presenter.close()
        self.viewer_layers.close()
        canvas_letters.release(self._viewer, self)
        if self._shares_engine:
            engine_bridge.release()


def load_tables_meanwhile() -> None:
    """Import pandas beside the first question: napari's layers need it, and it takes most of a second."""
    if "pandas" not in sys.modules:
        threading.Thread(target=import_module, args=("pandas",), name="pandas", daemon=True).start()
