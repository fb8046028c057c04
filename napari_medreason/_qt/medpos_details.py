"""What the MedPos dock shows of the chosen row: sentences, checked words, and the overlay in the viewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_medreason._qt import medpos_words
from napari_medreason._qt.medpos_overlay import MedPosOverlay, Region
from napari_medreason._qt.medpos_rows import Key
from napari_medreason._qt.medpos_table import LiveTable
from napari_medreason._qt.medpos_view import MedPosView
from napari_medreason.core.position_check import check_words

WORDS_MS = 120
"""Sentences and verdicts follow the table this much later, several changes at once."""
OVERLAY_MS = 250
"""The overlay is drawn when nothing changed for this long: napari takes a while, which strokes would feel."""
NO_ROW = "Choose a row to check the words against."


class MedPosDetails(QObject):
    """Follows the chosen row and the words to check; names() gives the names of the labels."""

    def __init__(
        self,
        view: MedPosView,
        live: LiveTable,
        overlay: MedPosOverlay,
        *,
        names: Callable[[], Mapping[int, str]],
    ) -> None:
        super().__init__(view)
        self._view, self._live, self._names = view, live, names
        self._overlay = overlay
        self._overlay.on_gone = lambda: view.overlay_box.setChecked(False)
        self._words_timer, self._overlay_timer = QTimer(self), QTimer(self)
        for timer, pause, ring in (
            (self._words_timer, WORDS_MS, self.show_words),
            (self._overlay_timer, OVERLAY_MS, self.show_overlay),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(ring)
        view.table.row_chosen.connect(self.later)
        view.words_changed.connect(self.later)
        view.overlay_wanted.connect(self._on_overlay)

    def later(self) -> None:
        """Show everything anew, in a moment."""
        if not self._words_timer.isActive():
            self._words_timer.start()
        self._overlay_timer.start()

    def region(self, key: Key | None) -> Region | None:
        """The region of a row, None when it is not in the table."""
        table, source = self._live.table, self._live.source
        if key is None or table is None or source is None:
            return None
        same = (table.label == key[0]) & (table.slice == key[1]) & (table.part == key[2])
        rows = np.flatnonzero(same)
        if rows.size == 0:
            return None
        return Region(source.layer, source.study, source.frame, table, int(rows[0]))

    def show_words(self) -> None:
        """Show sentences and verdicts of the chosen row now."""
        region = self.region(self._view.table.current)
        words = self._view.words_line.text().strip()
        if region is None:
            self.hide()
            self._view.show_verdicts(NO_ROW if words else "")
            return
        table, row, label = region.table, region.row, int(region.table.label[region.row])
        name, extent = self._names().get(label, ""), medpos_words.extent_of(table, label)
        self._view.sentences.setText(medpos_words.region_words(table, row, name, extent))
        found = check_words(words, medpos_words.mask_facts(table, row, name, extent))
        no_statement = medpos_words.NO_STATEMENT if words else ""
        self._view.show_verdicts(medpos_words.statements_html(found) or no_statement)

    def show_overlay(self) -> None:
        """Draw the chosen row over its label map now, if the user wants it."""
        region = self.region(self._view.table.current)
        if region is not None and self._view.overlay_box.isChecked():
            self._overlay.show(region)

    def hide(self) -> None:
        """No row is chosen."""
        self._view.sentences.setText("")
        self._view.show_verdicts("")
        self._overlay.remove()

    def _on_overlay(self, shown: bool) -> None:
        if shown:
            self.later()
        else:
            self._overlay.remove()

    def close(self) -> None:
        """Take the overlay out of the viewer."""
        self._words_timer.stop()
        self._overlay_timer.stop()
        self._overlay.close()
