"""Downloads through a real engine process, from a hub on this machine."""

import threading
import time

import pytest

from napari_medreason.engine import protocol_weights
from napari_medreason.errors import CancelledError, UnknownModelError, WeightsError
from napari_medreason.models import catalogue, settings, store

from ..models.fake_hub import Hub, start

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
def pull(viewer, listener_maker):
    def pull(weights_id="medsam2"):
        listener = listener_maker()
        viewer.last_id = viewer.client.pull(
            weights_id,
            on_progress=listener.on_progress,
            on_result=listener.on_end,
            on_error=listener.on_end,
        )
        return listener

    return pull


def wait_for_half(tmp_path):
    """Until the half that a pausing hub sends is on disk; progress is told a few times a second only."""
    wait_for(lambda: any(part.stat().st_size > 0 for part in tmp_path.rglob("*.part")))


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_a_pull_reports_and_ends_with_usable_weights(hub, pull):
    listener = pull()
    summary = listener.wait()
    assert (summary.id, summary.state, summary.usable) == ("medsam2", "installed", True)
    assert summary.bytes_total == summary.bytes_here == len(CONTENT)
    assert listener.stages[-1] == "downloading: MedSAM2_latest.pt, 2.1 MB of 2.1 MB"
    assert store.folder("medsam2").read_bytes() == CONTENT


def test_a_question_is_answered_while_a_download_runs(hub, viewer, plane, pull, tmp_path):
    hub.pause = threading.Event()
    listener = pull()
    wait_for_half(tmp_path)
    answer = viewer.ask("where?", plane).wait()
    assert answer.status == "found"
    assert listener.endings == []
    hub.pause.set()
    assert listener.wait().usable


def test_a_cancelled_pull_ends_at_once_and_the_engine_lives(hub, viewer, plane, pull, tmp_path):
    """Even if its server says nothing for longer than a stuck question would be given."""
    hub.pause = threading.Event()
    listener = pull()
    wait_for_half(tmp_path)
    pid, asked = viewer.client.pid, time.monotonic()
    viewer.client.cancel(viewer.last_id)
    assert isinstance(listener.wait(), CancelledError)
    assert listener.ended_at - asked < 0.5
    time.sleep(2.5)
    assert viewer.ask("where?", plane).wait().answer == f"where? by {pid}"
    hub.pause.set()


def test_cancelled_then_pulled_again_goes_on_where_it_stopped(hub, viewer, plane, pull, tmp_path):
    hub.pause = threading.Event()
    listener = pull()
    wait_for_half(tmp_path)
    viewer.client.cancel(viewer.last_id)
    assert isinstance(listener.wait(), CancelledError)
    assert viewer.ask("where?", plane).wait()  # the cancel has come to the engine, which answers in order
    time.sleep(1.0)  # and the download has let go of its lock
    hub.pause.set()
    assert pull().wait().usable
    assert [" bytes=" in asked for asked in hub.downloads()] == [False, True]


def test_a_stuck_question_is_killed_in_time_although_a_download_runs(hub, viewer, plane, pull, tmp_path):
    """The restarted engine goes on with the download, from the byte where the old one stopped."""
    hub.pause = threading.Event()
    listener = pull()
    wait_for_half(tmp_path)
    stuck = viewer.ask("stuck", plane)
    stuck.wait_for_text()
    asked = time.monotonic()
    viewer.client.cancel(viewer.last_id)
    stuck.wait()
    wait_for(lambda: viewer.states.count("starting") == 2)
    assert time.monotonic() - asked < 10
    hub.pause.set()
    assert listener.wait().usable
    assert "bytes=" in hub.downloads()[-1]


@pytest.mark.parametrize(
    ("weights_id", "fault", "words"),
    [
        ("nothing", UnknownModelError, "'nothing' are not known"),
        ("sam-med2d", WeightsError, "only be downloaded by hand"),
        ("lingshu-7b", WeightsError, "Lingshu-7B is not at http://127"),
    ],
)
def test_faults_come_as_the_same_class_in_one_line(hub, pull, weights_id, fault, words):
    ending = pull(weights_id).wait()
    assert type(ending) is fault
    assert words in str(ending)


def test_weights_are_listed_used_and_verified(hub, viewer, listener_maker, tmp_path):
    (tmp_path / "my.pt").write_bytes(CONTENT)

    def call(method, *arguments, **callbacks):
        listener = listener_maker()
        request = getattr(viewer.client, method)
        request(*arguments, on_result=listener.on_end, on_error=listener.on_end, **callbacks)
        return listener.wait()

    used = call("use", "medsam2", str(tmp_path / "my.pt"))
    assert (used.state, used.usable) == ("own", True)
    listed = {one.id: one for one in call("weights")}
    assert list(listed) == list(catalogue.catalogue())
    assert (listed["medsam2"].state, listed["prs-med"].state) == ("own", "missing")
    assert listed["medsam2"].memory == catalogue.weights("medsam2").memory
    verified = call("verify", "medsam2", on_progress=lambda *_: None)
    assert (verified.files, verified.bytes, verified.known) == (1, len(CONTENT), False)
    assert call("use", "medsam2", None).state == "missing"


def test_summaries_survive_the_way_and_back():
    entries = [(entry, store.WeightsStatus(entry.id, "missing")) for entry in catalogue.catalogue().values()]
    listed = protocol_weights.map_to_weights_list(protocol_weights.weights_list_to_map(entries))
    assert [one.title for one in listed] == [entry.title for entry, _ in entries]
