"""Which model answers: those that can are listed first, the others say what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_medreason import models
from napari_medreason.errors import MedReasonError
from napari_medreason.models import ModelInfo, published
from napari_medreason.models.store import gigabytes


@dataclass(frozen=True)
class ModelRow:
    """One line of the choice. missing: ids of weights that are not here. remote: the slice leaves here."""

    id: str
    title: str
    tip: str
    missing: tuple[str, ...] = ()
    remote: bool = False


def model_rows() -> list[ModelRow]:
    """Every model that can be chosen here, those that can answer at once first, adapters below their base."""
    infos = [info for info in models.available().values() if info.weights or not info.needs_download]
    rows = [_row(info) for info in infos]
    order = {row.id: number for number, row in enumerate(rows)}

    def place(row: ModelRow) -> tuple[bool, bool, int, int]:
        base = row.id.partition("@")[0]
        return bool(row.missing), row.remote, order.get(base, order[row.id]), order[row.id]

    return sorted(rows, key=place)


def default_model() -> str:
    """Id of the model that is chosen at first."""
    return next((info.id for info in models.available().values() if info.default), "")


def _row(info: ModelInfo) -> ModelRow:
    try:
        missing = tuple(one.id for one in published.missing_weights(info))
    except MedReasonError:  # settings that can't be read: asking tells what is wrong with them
        missing = info.weights
    memory = [
        f"{gigabytes(size)} in {name}" for name, size in info.memory.items() if name in ("bf16", "4bit")
    ]
    tip = [
        info.summary,
        f"Licence: {info.consequence or info.licence}",
        f"Memory of the weights: {', '.join(memory)}" if memory else "",
        "Its weights are not here yet: “Models…” downloads them, or takes a folder of yours."
        if missing
        else "",
    ]
    title = f"{info.title} (not here yet)" if missing else info.title
    return ModelRow(info.id, title, "\n".join(line for line in tip if line), missing, info.remote)


class ModelChoice(QComboBox):
    """The choice itself. opening: the list is about to be shown, and should be filled anew."""

    opening = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: dict[str, ModelRow] = {}
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(8)

    def showPopup(self) -> None:
        self.opening.emit()
        super().showPopup()

    def fill(self, rows: Sequence[ModelRow], chosen: str) -> None:
        """Show these models; the first one is chosen when `chosen` is not among them."""
        self._rows = {row.id: row for row in rows}
        self.clear()
        for number, row in enumerate(rows):
            self.addItem(row.title, row.id)
            self.setItemData(number, row.tip, Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(max(0, self.findData(chosen)))

    @property
    def row(self) -> ModelRow | None:
        """The chosen model."""
        return self._rows.get(str(self.currentData() or ""))
