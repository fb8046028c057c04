"""Live curves of a run: losses, rewards and rates above, validation below, over steps or minutes.

pyqtgraph is imported when the widget is made, so that no dock that needs no curves pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QComboBox, QListWidget, QListWidgetItem, QSplitter, QVBoxLayout, QWidget

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_runs_history import Curve, CurveName, Group

COLOURS = ("#3b8eea", "#e8743b", "#27a879", "#d64f8c", "#9b6fd6", "#c49a1a", "#35aebf", "#b0564a", "#7a8b99")
"""Told apart on dark and on light ground."""
GROUPS: tuple[Group, ...] = ("training", "validation")
FIRST_SHOWN = ("loss", "reward", "refusal rate")
TIPS = {
    "kept dice": "On shipped phantoms: what it could do before, found by name; a fall is forgetting",
    "kept prompted dice": "On shipped phantoms: what it could do before, drawn from box and points",
}
_FEW = 40
"""Points of a curve that are drawn as dots too; a single one would not be seen otherwise."""
_NAME = Qt.ItemDataRole.UserRole


class CurvesView(QWidget):
    """Two plots with one x axis, and a list that is legend and choice."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph

        self._pyqtgraph = pyqtgraph
        self._curves: Mapping[CurveName, Curve] = {}
        self._lines: dict[CurveName, Any] = {}
        self._hidden: set[CurveName] = set()
        self._asked: set[CurveName] = set()
        self._zoomed = False
        self.over = QComboBox(self)
        self.over.addItems(["steps", "minutes"])
        self.legend = QListWidget(self)
        self.legend.setToolTip("Tick the curves to draw")
        self.legend.setFlow(QListWidget.Flow.LeftToRight)
        self.legend.setWrapping(True)
        self.legend.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.legend.setSpacing(2)
        self.plots = {group: pyqtgraph.PlotWidget(self) for group in GROUPS}
        self.hint = text_label(self, "Curves appear with the first steps.", low=True)
        self._set_up_plots()
        self._lay_out()
        self.over.currentIndexChanged.connect(self._on_over)
        self.legend.itemChanged.connect(self._on_ticked)

    def _set_up_plots(self) -> None:
        for group, plot in self.plots.items():
            plot.setLabel("left", group)
            plot.setMenuEnabled(False)
            plot.showGrid(x=True, y=True, alpha=0.2)
            plot.setMinimumHeight(80)
            plot.getAxis("left").setWidth(52)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.getAxis("bottom").enableAutoSIPrefix(False)
            plot.setToolTip("Turn the wheel to zoom, drag to move, double-click to see all")
            plot.getViewBox().sigRangeChangedManually.connect(self._on_zoomed)
            plot.scene().sigMouseClicked.connect(self._on_clicked)
        self.plots["validation"].setXLink(self.plots["training"])

    def _on_zoomed(self, *_: object) -> None:
        self._zoomed = True

    def _on_clicked(self, event: Any) -> None:
        if event.double():
            self._see_all()

    def _see_all(self) -> None:
        """Both plots from the first step to the last; pyqtgraph would take the range of one of them."""
        self._zoomed = False
        for plot in self.plots.values():
            plot.enableAutoRange(axis="y")
        self._fit_width()

    def _fit_width(self) -> None:
        last = max((float(self._along(curve)[-1]) for curve in self._curves.values()), default=0.0)
        if last > 0 and not self._zoomed:
            self.plots["training"].setXRange(0.0, last, padding=0.02)

    def _along(self, curve: Curve) -> NDArray[np.float64]:
        return curve.minutes if self.over.currentIndex() else curve.steps

    def _lay_out(self) -> None:
        drawn = QWidget(self)
        column = QVBoxLayout(drawn)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for plot in self.plots.values():
            column.addWidget(plot, 1)
        split = QSplitter(Qt.Orientation.Vertical, self)
        split.addWidget(drawn)
        split.addWidget(self.legend)
        split.setStretchFactor(0, 4)
        split.setStretchFactor(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(side_by_side((text_label(self, "Over", low=True), 0), (self.over, 1)))
        layout.addWidget(self.hint)
        layout.addWidget(split, 1)

    def set_theme(self, background: str, text: str) -> None:
        """Draw on this ground with letters of this colour."""
        for plot in self.plots.values():
            plot.setBackground(background)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(text)
                axis.setTextPen(text)

    def clear(self) -> None:
        """Show nothing, before another run is shown."""
        self._zoomed = False
        self.set_curves({})

    def set_curves(self, curves: Mapping[CurveName, Curve]) -> None:
        """Show these; what the user ticked stays as it is for curves of the same name."""
        self._curves = curves
        if set(curves) != set(self._lines):
            self._remake(sorted(curves, key=_order))
        self.hint.setVisible(not curves)
        self._draw()

    def _remake(self, names: list[CurveName]) -> None:
        for (group, _), line in self._lines.items():
            self.plots[group].removeItem(line)
        self._lines.clear()
        self.legend.blockSignals(True)
        self.legend.clear()
        for group in GROUPS:
            for number, name in enumerate(one for one in names if one[0] == group):
                self._add(name, _pen(number))
        self.legend.blockSignals(False)

    def _add(self, name: CurveName, pen: QPen) -> None:
        group, title = name
        line = self._pyqtgraph.PlotDataItem(
            pen=pen,
            symbolSize=5,
            symbolBrush=pen.color(),
            symbolPen=None,
            connect="finite",
        )
        self.plots[group].addItem(line)
        self._lines[name] = line
        entry = QListWidgetItem(_swatch(pen), title if group == "training" else f"{group} {title}")
        entry.setData(_NAME, name)
        entry.setToolTip(TIPS.get(title, ""))
        entry.setFlags(entry.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        entry.setCheckState(Qt.CheckState.Checked if self._is_shown(name) else Qt.CheckState.Unchecked)
        self.legend.addItem(entry)

    def _is_shown(self, name: CurveName) -> bool:
        if name in self._asked:
            return name not in self._hidden
        return name[0] == "validation" or name[1] in FIRST_SHOWN

    def _on_ticked(self, entry: QListWidgetItem) -> None:
        name = tuple(entry.data(_NAME))
        self._asked.add(name)
        self._hidden.discard(name)
        if entry.checkState() != Qt.CheckState.Checked:
            self._hidden.add(name)
        self._draw()

    def _on_over(self, *_: object) -> None:
        self._draw()
        self._see_all()

    def _draw(self) -> None:
        self.plots["validation"].setLabel("bottom", self.over.currentText())
        for name, line in self._lines.items():
            curve = self._curves[name]
            if self._is_shown(name):
                few = name[0] == "validation" or len(curve.values) <= _FEW
                line.setData(self._along(curve), curve.values, symbol="o" if few else None, antialias=few)
            else:
                line.setData([], [])
        self._fit_width()

    def shown(self) -> list[CurveName]:
        """The curves that are drawn."""
        return [name for name in self._lines if self._is_shown(name)]

    def sizeHint(self) -> QSize:
        return QSize(380, 420)


def _order(name: CurveName) -> tuple[int, bool, str]:
    """Training first, what is shown at first before the rest."""
    group, title = name
    return GROUPS.index(group), title not in FIRST_SHOWN, title


def _pen(number: int) -> QPen:
    """How the curve of this number in its plot is drawn; dashed once the colours are used up."""
    styles = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)
    pen = QPen(QColor(COLOURS[number % len(COLOURS)]))
    pen.setWidth(2)
    pen.setCosmetic(True)
    pen.setStyle(styles[number // len(COLOURS) % len(styles)])
    return pen


def _swatch(pen: QPen) -> QIcon:
    picture = QPixmap(22, 6)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setPen(pen)
    painter.drawLine(0, 3, 22, 3)
    painter.end()
    return QIcon(picture)
