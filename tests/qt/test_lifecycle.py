"""Docks come and go without leaving anything behind, and torch never enters the napari process."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton

from napari_medreason._qt import engine_bridge
from napari_medreason._qt.ask_widget import AskWidget

pytestmark = pytest.mark.window


def callbacks(viewer):
    """Number of callbacks on every event of the viewer that the dock could use."""
    emitters = {**viewer.layers.events.emitters, **viewer.layers.selection.events.emitters}
    emitters |= {f"dims {name}": emitter for name, emitter in viewer.dims.events.emitters.items()}
    return {name: len(emitter.callbacks) for name, emitter in emitters.items()}


@pytest.fixture
def new_engine_threads():
    """Names of the engine threads that the test started and that still run."""
    before = set(threading.enumerate())
    return lambda: [
        thread.name for thread in threading.enumerate() if "medreason" in thread.name and thread not in before
    ]


def test_dock_opens_through_the_manifest_and_leaves_nothing_when_closed(
    make_napari_viewer, qtbot, new_engine_threads
):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((4, 5, 6)))
    before, keys = callbacks(viewer), dict(viewer.keymap)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    assert isinstance(widget, AskWidget)
    assert callbacks(viewer) != before
    assert new_engine_threads()
    (close,) = dock.titleBarWidget().findChildren(QAbstractButton, "QTitleBarCloseButton")
    qtbot.mouseClick(close, Qt.MouseButton.LeftButton)
    assert callbacks(viewer) == before
    assert dict(viewer.keymap) == keys
    qtbot.waitUntil(lambda: not new_engine_threads(), timeout=5000)
    viewer.add_image(np.zeros((4, 5, 6)))


def test_dock_closed_while_asking_drops_the_question(window_dock, bridge, qtbot):
    window_dock.ask("a slow question")
    words = window_dock.view.answer_view
    qtbot.waitUntil(lambda: "3 " in words.toPlainText(), timeout=20_000)
    viewer = window_dock._viewer
    viewer.window.remove_dock_widget(window_dock)
    ended = []
    bridge.client.models(on_result=ended.append, on_error=ended.append)
    qtbot.waitUntil(lambda: bool(ended), timeout=20_000)  # the engine is free again
    assert len(viewer.layers) == 1


def test_closing_the_viewer_ends_the_engine(make_napari_viewer, qtbot, new_engine_threads):
    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    assert new_engine_threads()
    viewer.close()
    qtbot.waitUntil(lambda: not new_engine_threads(), timeout=5000)


def test_viewers_share_one_engine_until_the_last_dock_closes(qtbot, new_engine_threads):
    docks = [AskWidget(ViewerModel()), AskWidget(ViewerModel())]
    assert new_engine_threads() == ["medreason-engine-client"]
    docks[0].close_all()
    assert new_engine_threads() == ["medreason-engine-client"]
    docks[1].close_all()
    qtbot.waitUntil(lambda: not new_engine_threads(), timeout=5000)
    assert engine_bridge.acquire() is not None
    engine_bridge.release()


def test_closing_the_last_dock_does_not_wait_for_a_busy_engine(slow_bridge, qtbot, new_engine_threads):
    ended = threading.Event()
    close = slow_bridge.client.close

    def close_slowly():
        ended.wait(5)
        close()

    slow_bridge.client.close = close_slowly
    slow_bridge.close()
    assert "medreason-engine-close" in new_engine_threads()
    ended.set()
    qtbot.waitUntil(lambda: not new_engine_threads(), timeout=5000)


def test_torch_stays_out_of_the_napari_process(tmp_path):
    """A whole question and answer in a process of its own, then a look at what was imported."""
    script = tmp_path / "ask_once.py"
    script.write_text(ASK_ONCE, encoding="utf-8")
    folder = str(__import__("pathlib").Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, str(script), folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "answered 4 layers" in run.stdout
    loaded = set(run.stdout.split("modules:")[1].split())
    assert not {"torch", "transformers", "torchvision", "triton"} & loaded


ASK_ONCE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import conftest
import napari
from napari.layers import Layer
from qtpy.QtWidgets import QApplication
from napari_medreason import layers
from napari_medreason._qt.ask_widget import AskWidget
from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason.engine.client import EngineClient

viewer = napari.Viewer()
viewer.add_layer(Layer.create(*layers.image_layer(conftest.make_volume())))
bridge = EngineBridge(EngineClient(conftest.FAKE_ENGINE))
widget = AskWidget(viewer, engine=bridge)
viewer.window.add_dock_widget(widget, name="Ask")
widget.ask("Where is the liver?")
end = time.monotonic() + 60
while len(viewer.layers) < 4 and time.monotonic() < end:
    QApplication.processEvents()
    time.sleep(0.01)
print("answered", len(viewer.layers), "layers")
widget.close_all()
bridge.close()
viewer.close()
print("modules:", *{name.partition(".")[0] for name in sys.modules})
"""
