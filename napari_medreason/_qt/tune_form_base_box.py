"""The choice of the model that a run starts from: those of the recipe, or a folder of weights."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QSizePolicy, QWidget

from napari_medreason._qt.tune_form_bases import BaseChoice, base_choices
from napari_medreason.core.run_config import RecipeName

FOLDER = "a folder of weights"
"""Data of the entry that lets the user choose a folder."""


class BaseBox(QComboBox):
    """Offers what a recipe can start from. changed: the user, or `fill`, chose another."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices: dict[str, BaseChoice] = {}
        self._recipe: RecipeName = "embedded"
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.activated.connect(lambda _: self._on_activated())

    @property
    def base(self) -> str:
        """The chosen base as a configuration names it, a folder by its absolute path."""
        chosen = str(self.currentData() or "")
        return "" if chosen == FOLDER else chosen

    @property
    def choice(self) -> BaseChoice | None:
        """What is known of the chosen base, None for a folder."""
        return self._choices.get(self.base)

    def fill(self, recipe: RecipeName, base: str) -> None:
        """Offer the bases of a recipe, and choose one, "" for the first."""
        self._recipe = recipe
        choices = base_choices(recipe)
        self._choices = {one.id: one for one in choices}
        self.clear()
        for row, one in enumerate(choices):
            self.addItem(one.title, one.id)
            self.setItemData(row, one.tip, Qt.ItemDataRole.ToolTipRole)
        if recipe != "embedded":
            self.addItem("A folder of weights…", FOLDER)
        if base and base not in self._choices:
            self._add_folder(base)
        self._choose(base)

    def look_again(self) -> None:
        """See whether weights that were missing have come."""
        if self.choice is not None and self.choice.missing:
            self.fill(self._recipe, self.base)

    def _choose(self, base: str) -> None:
        self.setCurrentIndex(max(0, self.findData(base)))
        tip = self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(str(tip or self.base))
        self.changed.emit()

    def _add_folder(self, folder: str) -> None:
        if self.findData(folder) < 0:
            self.insertItem(max(0, self.count() - 1), f"Folder “{Path(folder).name}”", folder)

    def _on_activated(self) -> None:
        chosen = str(self.currentData())
        if chosen == FOLDER:
            chosen = QFileDialog.getExistingDirectory(self, "Folder of weights to start from")
            if chosen:
                chosen = str(Path(chosen))
                self._add_folder(chosen)
        self._choose(chosen)
