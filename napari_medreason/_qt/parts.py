"""Small parts that the docks share: words that can be copied, and widgets side by side."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget


def text_label(parent: QWidget, words: str = "", *, low: bool = False) -> QLabel:
    """Plain words that wrap and can be selected; names of files and layers may stand in them.

    low: takes no more height than its words need.
    """
    label = QLabel(words, parent)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if low:
        label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
    return label


def side_by_side(*widgets: QWidget | tuple[QWidget, int]) -> QHBoxLayout:
    """Widgets side by side, each with its share of the spare width; none for a bare widget."""
    layout = QHBoxLayout()
    for entry in widgets:
        widget, share = entry if isinstance(entry, tuple) else (entry, 0)
        layout.addWidget(widget, share)
    return layout
