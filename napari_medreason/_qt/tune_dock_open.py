"""Ways into the Fine-tune dock from elsewhere, with records filled in."""

from __future__ import annotations

from pathlib import Path

from napari.viewer import Viewer

from napari_medreason._qt.settings import PLUGIN
from napari_medreason._qt.template_facts import LabelSource
from napari_medreason._qt.tune_dock import TuneDock

DOCK = "Fine-tune"
"""Name under which napari.yaml offers the dock."""


def open_dock(viewer: Viewer) -> TuneDock:
    """The Fine-tune dock of a viewer's window, opened if it is not."""
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK, tabify=True)
    dock: TuneDock = widget
    return dock


def open_with_records(viewer: Viewer, records_file: Path, images_root: Path) -> TuneDock:
    """Open the dock with records filled in."""
    dock = open_dock(viewer)
    dock.add_records(records_file, images_root)
    return dock


def open_with_labels(viewer: Viewer, source: LabelSource) -> TuneDock:
    """Open the dock and make records of what is labelled in a layer, on the study that it was tied to."""
    dock = open_dock(viewer)
    dock.take_labels(source)
    return dock
