"""The Models dock with a real engine process and a hub on this machine."""

import threading

import pytest
from napari.components import ViewerModel

from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason._qt.weights_dock import WeightsWidget
from napari_medreason.engine.client import EngineClient
from napari_medreason.models import settings, store

from ..models.fake_hub import Hub, start
from .conftest import FAKE_ENGINE

pytestmark = pytest.mark.window

CONTENT = bytes(range(256)) * 8192  # 2 MiB
MEDSAM2 = "wanglab/MedSAM2"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that the engine's process asks: it inherits where weights and settings are."""
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "models.toml"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    hub = Hub({MEDSAM2: {"MedSAM2_latest.pt": CONTENT}})
    server = start(hub)
    settings.change_settings(base_url=hub.url)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def dock(hub, qtbot):
    bridge = EngineBridge(EngineClient(FAKE_ENGINE))
    dock = WeightsWidget(ViewerModel(), engine=bridge)
    qtbot.addWidget(dock)
    dock.view.confirm = lambda words: dock.asked.append(words) or True
    dock.asked = []
    qtbot.waitUntil(lambda: dock.view.model.row_total() > 0, timeout=30_000)
    choose(dock, "medsam2")
    yield dock
    dock.close_all()
    bridge.close()


def choose(dock, weights_id):
    rows = range(dock.view.model.row_total())
    dock.view.table.selectRow(next(row for row in rows if dock.view.model.weights(row).id == weights_id))


def test_weights_are_listed_with_licence_and_what_is_here(dock):
    assert dock.view.weights.state == "missing"
    assert "MedSAM2" in dock.view.details.text()
    assert dock.view.download_button.isEnabled()
    assert not dock.view.verify_button.isEnabled()


def test_download_asks_first_and_ends_with_usable_weights(dock, qtbot):
    dock.view.download_button.click()
    qtbot.waitUntil(lambda: dock.view.weights.usable, timeout=30_000)
    assert "Licence" in dock.asked[0]
    assert store.folder("medsam2").read_bytes() == CONTENT
    assert not dock.view.download_button.isEnabled()
    dock.view.verify_button.click()
    qtbot.waitUntil(lambda: "1 file," in dock.view.status.text(), timeout=30_000)


def test_a_download_that_the_user_declines_never_starts(dock, hub):
    dock.view.confirm = lambda _words: False
    dock.view.download_button.click()
    assert hub.downloads() == []


def test_cancel_keeps_what_came_and_says_so(dock, hub, qtbot):
    hub.pause = threading.Event()
    dock.view.download_button.click()
    qtbot.waitUntil(lambda: "MedSAM2_latest.pt" in dock.view.status.text(), timeout=30_000)
    dock.view.cancel_button.click()
    qtbot.waitUntil(lambda: "Cancelled" in dock.view.status.text(), timeout=10_000)
    hub.pause.set()
    qtbot.waitUntil(lambda: dock._request is None, timeout=30_000)
    dock.view.download_button.click()
    qtbot.waitUntil(lambda: dock.view.weights.usable, timeout=30_000)


def test_an_own_file_is_used_and_forgotten_again(dock, qtbot, tmp_path, notices):
    own = tmp_path / "MedSAM2_latest.pt"
    own.write_bytes(CONTENT)
    dock.view.folder_wanted.emit(str(own))
    qtbot.waitUntil(lambda: dock._request is None, timeout=30_000)
    assert dock.view.weights.state == "own"
    dock.view.forget_button.click()
    qtbot.waitUntil(lambda: dock.view.weights.state == "missing", timeout=30_000)
    assert own.exists()
    dock.view.folder_wanted.emit(str(tmp_path / "nothing-here.pt"))
    qtbot.waitUntil(lambda: bool(notices), timeout=30_000)
    assert dock.view.weights.state == "missing"


def test_the_ask_dock_leads_to_the_weights_that_a_model_lacks(
    hub, make_napari_viewer, bridge, qtbot, monkeypatch
):
    from napari_medreason._qt import settings as remembered
    from napari_medreason._qt.ask_widget import AskWidget

    monkeypatch.setattr(remembered, "save_model", lambda _model: None)
    monkeypatch.setattr(remembered, "saved_model", lambda: "")

    viewer = make_napari_viewer()
    ask = AskWidget(viewer, engine=bridge)
    choice = ask.view.model_choice
    assert choice.row.id == "embedded"
    choice.setCurrentIndex(choice.findData("lingshu-7b"))
    choice.activated.emit(choice.currentIndex())
    assert "not here yet" in choice.currentText()
    assert "Models…" in ask.view.status.text()
    ask.view.models_button.click()
    (models,) = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, WeightsWidget)]
    qtbot.waitUntil(lambda: models.view.weights is not None, timeout=60_000)
    assert models.view.weights.id == "lingshu-7b"
    ask.close_all()
