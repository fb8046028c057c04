"""The Models dock: published weights are listed, downloaded, checked, or taken from a folder of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QSize
from qtpy.QtWidgets import QVBoxLayout

from napari_medreason._qt import engine_bridge, notify
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason._qt.weights_view import WeightsView
from napari_medreason.engine.protocol_weights import WeightsSummary
from napari_medreason.errors import CancelledError
from napari_medreason.io.base import counted
from napari_medreason.models.store import Verified, gigabytes

_SIZE = QSize(560, 640)


class WeightsWidget(Docked):
    """What the published models need, and whether it is here. One transfer at a time.

    engine: a bridge of one's own, for tests; otherwise the one that all docks share.
    """

    def __init__(self, napari_viewer: Viewer, engine: EngineBridge | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._shares_engine = engine is None
        self._engine = engine or engine_bridge.acquire()
        self._request: int | None = None
        self._wanted: tuple[str, ...] = ()
        self.view = WeightsView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        view = self.view
        view.chosen.connect(lambda: view.show_details(view.weights))
        view.download_wanted.connect(self.download)
        view.verify_wanted.connect(self.verify)
        view.folder_wanted.connect(self.use_folder)
        view.download_used.connect(lambda: self.use_folder(None))
        view.cancelled.connect(self.cancel)
        view.show_busy("Asking the engine which weights are here …", None)
        self._request = self._engine.weights(on_result=self._listed, on_error=self._failed)

    def _listed(self, rows: tuple[WeightsSummary, ...]) -> None:
        if self._closed:
            return
        self._request = None
        self.view.show_idle()
        self.view.model.set_weights(rows)
        self._select()

    def choose(self, weights_ids: Sequence[str]) -> None:
        """Select the first of these weights, as soon as they are listed."""
        self._wanted = tuple(weights_ids)
        self._select()

    def _select(self) -> None:
        model = self.view.model
        rows = [row for row in range(model.row_total()) if self._is_wanted(model.weights(row))]
        if model.row_total() and (rows or self.view.weights is None):
            self.view.table.selectRow(rows[0] if rows else 0)

    def _is_wanted(self, one: WeightsSummary | None) -> bool:
        return one is not None and one.id in self._wanted

    def download(self) -> None:
        """Download the chosen weights, after the user has read what they are."""
        one = self.view.weights
        if one is None or self._request is not None:
            return
        if self.view.confirm(download_words(one)):
            self._work(self._engine.pull, one, f"Downloading {one.title} …", self._pulled)

    def verify(self) -> None:
        """Compare the files of the chosen weights with their hashes."""
        one = self.view.weights
        if one is not None and self._request is None:
            self._work(self._engine.verify, one, f"Checking {one.title} …", self._verified)

    def use_folder(self, folder: str | None) -> None:
        """Take the chosen weights from a folder or file of the user's own; None: from the download."""
        one = self.view.weights
        if one is not None and self._request is None:
            self._request = self._engine.use(
                one.id, folder or None, on_result=self._used, on_error=self._failed
            )

    def _work(
        self,
        request: Callable[..., int],
        one: WeightsSummary,
        words: str,
        done: Callable[[Any], None],
    ) -> None:
        self.view.show_busy(words, None)
        self._request = request(
            one.id, on_progress=self.view.show_busy, on_result=done, on_error=self._failed
        )

    def _pulled(self, one: WeightsSummary) -> None:
        self._show(one, f"{one.title} is here.")

    def _used(self, one: WeightsSummary) -> None:
        where = "your folder" if one.state == "own" else "the download"
        self._show(one, f"{one.title} is taken from {where}.")

    def _show(self, one: WeightsSummary, words: str) -> None:
        if self._closed:
            return
        self._request = None
        self.view.show_idle(words)
        self.view.model.update(one)
        self.view.show_details(self.view.weights)

    def _verified(self, verified: Verified) -> None:
        if self._closed:
            return
        self._request = None
        what = "as the known hashes say" if verified.known else "read; their hashes are recorded now"
        files = counted(verified.files, "file", "files")
        self.view.show_idle(f"{files}, {gigabytes(verified.bytes)}: {what}.")

    def _failed(self, error: Exception) -> None:
        if self._closed:
            return
        self._request = None
        cancelled = isinstance(error, CancelledError)
        self.view.show_idle("Cancelled; what came so far is kept." if cancelled else "")
        if not cancelled:
            notify.report(error)
        if cancelled:
            self._request = self._engine.weights(on_result=self._refreshed, on_error=self._failed)

    def _refreshed(self, rows: tuple[WeightsSummary, ...]) -> None:
        if self._closed:
            return
        self._request = None
        self.view.model.set_weights(rows)
        self.view.show_details(self.view.weights)

    def cancel(self) -> None:
        """End the transfer; a later one goes on from there."""
        if self._request is not None:
            self._engine.cancel(self._request)

    def sizeHint(self) -> QSize:
        return _SIZE

    def take_apart(self) -> None:
        """Cancel a transfer and give the engine back."""
        self.cancel()
        if self._shares_engine:
            engine_bridge.release()


def download_words(one: WeightsSummary) -> str:
    """What the user is asked before a download."""
    left = "" if one.bytes_total is None else f" ({gigabytes(max(one.bytes_total - one.bytes_here, 0))})"
    licence = f"Licence: {one.licence or 'unknown'}. {one.consequence}".strip()
    return f"Download {one.title}{left} to the engine's computer?\n\n{licence}"
