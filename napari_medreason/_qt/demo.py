"""`medreason demo`: napari on the synthetic CT, with a question already asked."""

from __future__ import annotations

import napari
from napari.layers import Layer
from napari.viewer import Viewer

from napari_medreason import layers, napari_hooks
from napari_medreason._qt.ask_widget import AskWidget

DEMO_QUESTION = "Where is the liver?"


def run_demo(question: str | None = None) -> None:
    """Open the window, ask, and stay until the user closes it."""
    viewer = napari.Viewer(title="MedReason demo")
    start_demo(viewer, question or DEMO_QUESTION)
    napari.run()


def start_demo(viewer: Viewer, question: str) -> AskWidget:
    """Show the sample study at a slice with the liver, dock Ask and ask the question."""
    (entry,) = napari_hooks.sample_ct()
    image = Layer.create(*entry)
    viewer.add_layer(image)
    step = layers.study_of(image).display_index("axial", napari_hooks.DEMO_SLICE)
    viewer.dims.set_current_step(0, step)
    _, widget = viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    if not isinstance(widget, AskWidget):
        raise TypeError(f"the plugin's manifest names another Ask widget: {type(widget)}")
    widget.view.question_box.setText(question)
    widget.ask(question)
    return widget
