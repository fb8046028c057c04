"""The pages of the bench that count: train and test wordings, yield and balance over facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medreason._qt.template_table import SYSTEM_NAMES
from napari_medreason.core.template_balance import Balance
from napari_medreason.core.template_split import shared_wording
from napari_medreason.core.templates import Template, latest

_MOST_ROWS = 60


class SplitPage(QWidget):
    """Train and test counts, wordings on both sides, and drawing the split of a system anew."""

    draw_wanted = Signal(float, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = _tree("Split", self)
        self.share, self.seed = QSpinBox(self), QSpinBox(self)
        self.share.setRange(0, 90)
        self.share.setValue(10)
        self.share.setPrefix("tests ")
        self.share.setSuffix(" %")
        self.seed.setRange(0, 999_999)
        self.seed.setValue(1)
        self.seed.setPrefix("seed ")
        self.draw_button = QPushButton("Draw anew", self)
        self.draw_button.clicked.connect(
            lambda: self.draw_wanted.emit(self.share.value() / 100, self.seed.value())
        )
        row = QHBoxLayout()
        for widget in (self.share, self.seed, self.draw_button):
            row.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.tree, 1)
        layout.addLayout(row)

    def show_templates(self, templates: Sequence[Template], system: str) -> None:
        """Count templates by system and split; system: the one whose split would be drawn, "" for none."""
        name = SYSTEM_NAMES.get(system, "")
        self.draw_button.setEnabled(bool(system))
        self.draw_button.setText(f"Draw {name} anew" if name else "Draw anew")
        self.draw_button.setToolTip(
            "Wordings that are the same, and all versions of a template, stay on one side"
            if name
            else "Choose a system above the list first"
        )
        self.tree.clear()
        counts: Counter[tuple[str, str]] = Counter((one.system, one.split) for one in latest(templates))
        for key, title in SYSTEM_NAMES.items():
            _group(self.tree, title, {split: counts[key, split] for split in ("train", "test")})
        shared = shared_wording(templates)
        words = {f"{one.train_id} and {one.test_id}: {one.text}": one.field for one in shared[:_MOST_ROWS]}
        title = "Wordings on both sides" if shared else "No wording is on both sides"
        _group(self.tree, title, words, total=len(shared) or None)


class BalancePage(QWidget):
    """How often each template can be used with the facts, and how even these are."""

    count_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.count_button = QPushButton("Count", self)
        self.count_button.clicked.connect(self.count_wanted)
        self.words = QLabel(self)
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.tree = _tree("Yield and balance", self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.count_button)
        layout.addWidget(self.words)
        layout.addWidget(self.tree, 1)

    def show_source(self, words: str) -> None:
        """What would be counted over, such as "all slices of “1 liver”"."""
        self.count_button.setText(f"Count over {words}")

    def show_busy(self, busy: bool) -> None:
        """Whether counting is under way."""
        self.count_button.setEnabled(not busy)
        if busy:
            self.words.setText("Counting …")

    def show_balance(self, result: Balance) -> None:
        """Show all counts; the yields with the largest and those that are never used."""
        idle = len(result.idle)
        self.words.setText(
            f"{result.facts} regions give {result.pairs:,} questions; "
            f"{len(result.yields) - idle} of {len(result.yields)} templates are used."
        )
        used = sorted(((n, key) for key, n in result.yields.items() if n), key=lambda pair: -pair[0])
        tables: dict[str, Mapping[str, object]] = {
            "Templates that are used": {key: n for n, key in used},
            "Templates that are never used": dict.fromkeys(result.idle, 0),
            "Why templates are not used": result.reasons,
            "Structures": {key.replace("_", " "): n for key, n in result.structures.items()},
            "Kinds of structure": result.super_categories,
            "Positions": result.positions,
            "Sides": result.sides,
            "Questions by kind": result.kinds,
            "Regions without a question": result.uncovered,
        }
        self.tree.clear()
        for title, table in tables.items():
            _group(self.tree, title, table, total=len(table), open_up=title in ("Structures", "Positions"))


def _tree(title: str, parent: QWidget) -> QTreeWidget:
    tree = QTreeWidget(parent)
    tree.setHeaderLabels([title, "Count"])
    tree.setColumnWidth(0, 270)
    tree.setUniformRowHeights(True)
    return tree


def _group(
    tree: QTreeWidget,
    title: str,
    table: Mapping[str, object],
    *,
    total: int | None = None,
    open_up: bool = True,
) -> None:
    top = QTreeWidgetItem([title, "" if total is None else str(total)])
    for key, value in list(table.items())[:_MOST_ROWS]:
        row = QTreeWidgetItem([str(key), str(value)])
        row.setToolTip(0, str(key))
        top.addChild(row)
    if len(table) > _MOST_ROWS:
        top.addChild(QTreeWidgetItem([f"… and {len(table) - _MOST_ROWS} more", ""]))
    tree.addTopLevelItem(top)
    top.setExpanded(open_up)
