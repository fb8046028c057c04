"""Real napari windows and docks that talk to a real engine process with a made-up model."""

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.core.volume import Volume

FAKE_ENGINE = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]


def make_volume(shape=(20, 48, 64), *, frames=0, modality="CT", name="trunk"):
    """A volume whose every voxel differs from its neighbours, slices stored from feet to head."""
    values = np.random.default_rng(0).integers(-1000, 1000, size=shape, dtype=np.int16)
    if frames:
        values = np.stack([values + n for n in range(frames)])
    affine = np.diag([1.5, 1.5, 4.0, 1.0])
    affine[:3, 3] = (-48.0, -36.0, -40.0)
    return Volume(values, affine, modality=modality, name=name)


@pytest.fixture
def volume_maker():
    return make_volume


@pytest.fixture
def volume():
    return make_volume()


@pytest.fixture(scope="session")
def bridge(qapp):
    """Engine with a made-up model, shared by the tests because a process takes a second to start."""
    from napari_medreason._qt.engine_bridge import EngineBridge
    from napari_medreason.engine.client import EngineClient

    bridge = EngineBridge(EngineClient(FAKE_ENGINE))
    yield bridge
    bridge.close()


@pytest.fixture
def slow_bridge(qapp, monkeypatch):
    """An engine of its own that takes 0.3 s to draw a mask."""
    from napari_medreason._qt.engine_bridge import EngineBridge
    from napari_medreason.engine.client import EngineClient

    monkeypatch.setenv("MEDREASON_FAKE_SLOW_SEGMENTS", "1")
    bridge = EngineBridge(EngineClient(FAKE_ENGINE))
    yield bridge
    bridge.close()


@pytest.fixture
def notices(monkeypatch):
    """What the user was told by notifications, as (severity, message)."""
    from napari.utils.notifications import notification_manager

    heard = []

    def listen(notification):
        heard.append((str(notification.severity), notification.message))

    notification_manager.notification_ready.connect(listen)
    yield heard
    notification_manager.notification_ready.disconnect(listen)


def open_dock(viewer, bridge, volume):
    """The Ask dock on a viewer with one study."""
    from napari.layers import Layer

    from napari_medreason import layers
    from napari_medreason._qt.ask_widget import AskWidget

    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    return AskWidget(viewer, engine=bridge)


@pytest.fixture
def dock(bridge, volume, notices, qtbot):
    """The Ask dock on napari's viewer model: everything but the drawn window, which takes seconds."""
    from napari.components import ViewerModel

    widget = open_dock(ViewerModel(), bridge, volume)
    yield widget
    widget.close_all()


@pytest.fixture
def slow_dock(slow_bridge, volume, notices, qtbot):
    """As `dock`, with masks that take longer to draw than the next move of the box."""
    from napari.components import ViewerModel

    widget = open_dock(ViewerModel(), slow_bridge, volume)
    yield widget
    widget.close_all()


@pytest.fixture
def window_dock(make_napari_viewer, bridge, volume, notices, qtbot):
    """The Ask dock in a real napari window."""
    viewer = make_napari_viewer()
    widget = open_dock(viewer, bridge, volume)
    viewer.window.add_dock_widget(widget, name="Ask")
    yield widget
    widget.close_all()
