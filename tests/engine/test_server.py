"""The engine process seen through raw frames, as another program would speak to it."""

import io
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason import __version__
from napari_medreason.engine.frames import pack_frame, read_frame
from napari_medreason.engine.protocol import PROTOCOL_VERSION, plane_hash
from napari_medreason.engine.server import Engine, leave_a_core_to_the_viewer
from napari_medreason.engine.shelf import Registry
from napari_medreason.engine.values import plane_to_map
from napari_medreason.models import available


class Raw:
    """A process and its pipes."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def send(self, request_id: int, method: str, **arguments: object) -> None:
        frame = pack_frame({"id": request_id, "method": method, "arguments": arguments})
        self.process.stdin.write(frame)

    def receive(self) -> dict:
        message = read_frame(self.process.stdout)
        assert message is not None, "the engine closed its output"
        return message

    def ending_of(self, request_id: int) -> dict:
        """The result or error of a request; what comes before is passed over."""
        while True:
            message = self.receive()
            if message["id"] == request_id and message["kind"] in ("result", "error"):
                return message

    def send_plane(self, plane) -> str:
        key = plane_hash(plane)
        self.send(1000, "plane", hash=key, plane=plane_to_map(plane))
        return key

    def ask(self, request_id: int, key: str, text: str, model: str = "fake") -> None:
        self.send(request_id, "ask", model=model, plane=key, text=text, box=None, points=[])


@contextmanager
def started(command):
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0) as process:
        try:
            yield Raw(process)
        finally:
            process.kill()


@pytest.fixture
def raw(fake_engine):
    with started(fake_engine) as raw:
        yield raw


def test_hello_tells_protocol_version_and_pid(raw):
    raw.send(7, "hello")
    expected = {"protocol": PROTOCOL_VERSION, "version": __version__, "pid": raw.process.pid}
    assert raw.receive() == {"id": 7, "kind": "result", "value": expected}


def test_faulty_requests_get_an_error_each_and_the_engine_lives_on(raw, plane):
    faulty = [
        ({"id": 1, "method": "format_disk", "arguments": {}}, "format_disk"),
        ({"id": 2, "method": "ask"}, "arguments"),
        ({"id": 3, "method": "ask", "arguments": {}, "extra": 1}, "extra"),
        ({"id": 4, "method": "ask", "arguments": []}, "map"),
        ({"id": 5, "method": "ask", "arguments": {"model": "fake"}}, "plane"),
        ({"id": 6, "method": "unload", "arguments": {"model": "fake", "really": True}}, "really"),
        ({"id": 7, "method": "plane", "arguments": {"hash": "0", "plane": plane_to_map(plane)}}, "hash"),
        ({"id": 8, "method": "cancel", "arguments": {}}, "id"),
    ]
    for message, words in faulty:
        raw.process.stdin.write(pack_frame(message))
        reply = raw.ending_of(message["id"])
        assert reply["value"]["kind"] == "EngineError"
        assert words in reply["value"]["message"]
    raw.send(9, "models")
    assert raw.ending_of(9)["kind"] == "result"


def test_an_unknown_plane_has_its_own_kind(raw):
    raw.ask(1, "0" * 64, "where?")
    assert raw.ending_of(1)["value"]["kind"] == "unknown_plane"


def test_an_id_that_is_still_open_is_refused(raw, plane):
    key = raw.send_plane(plane)
    raw.ask(1, key, "slow")
    while raw.receive()["kind"] != "text":
        pass
    raw.ask(1, key, "again")
    reply = raw.ending_of(1)
    assert "still open" in reply["value"]["message"]


def test_a_waiting_request_is_cancelled_while_another_runs(raw, plane):
    key = raw.send_plane(plane)
    raw.ask(1, key, "slow")
    raw.ask(2, key, "waits")
    raw.send(3, "cancel", id=2)
    assert raw.ending_of(2)["value"]["kind"] == "CancelledError"
    raw.send(4, "cancel", id=1)
    assert raw.ending_of(1)["value"]["kind"] == "CancelledError"
    raw.send(5, "cancel", id=1)
    assert raw.ending_of(5)["value"] == {"open": False}


def test_the_id_of_a_cancelled_request_may_be_used_again_at_once(raw, plane):
    key = raw.send_plane(plane)
    raw.ask(1, key, "slow")
    raw.ask(2, key, "never begun")
    raw.send(3, "cancel", id=2)
    assert raw.ending_of(2)["value"]["kind"] == "CancelledError"
    raw.ask(2, key, "fresh")
    raw.send(4, "cancel", id=1)
    reply = raw.ending_of(2)
    assert reply["kind"] == "result"
    assert reply["value"]["answer"].startswith("fresh")


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x01\xc1"],
    ids=["oversize", "text", "msgpack"],
)
def test_a_damaged_frame_is_answered_and_ends_the_engine(raw, damage):
    raw.process.stdin.write(damage)
    reply = raw.receive()
    assert (reply["id"], reply["kind"], reply["value"]["kind"]) == (0, "error", "EngineError")
    assert read_frame(raw.process.stdout) is None
    assert raw.process.wait(10) == 1


def test_closing_standard_input_ends_an_idle_engine_at_once(raw):
    raw.send(1, "hello")
    raw.receive()
    began = time.monotonic()
    raw.process.stdin.close()
    assert raw.process.wait(10) == 0
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("words", ["slow", "stuck"])
def test_closing_standard_input_ends_a_busy_engine(raw, plane, words):
    raw.ask(1, raw.send_plane(plane), words)
    while raw.receive()["kind"] != "text":
        pass
    began = time.monotonic()
    raw.process.stdin.close()
    drain = threading.Thread(target=raw.process.stdout.readall)
    drain.start()
    assert raw.process.wait(10) == 0
    assert time.monotonic() - began < 4.0
    drain.join()


def test_the_installed_models_are_served_by_the_module():
    with started([sys.executable, "-P", "-m", "napari_medreason.engine"]) as raw:
        raw.send(1, "hello")
        assert raw.receive()["value"]["version"] == __version__
        raw.send(2, "models")
        reply = raw.ending_of(2)
        assert reply["kind"] == "result"
        assert [model["id"] for model in reply["value"]["models"]] == list(available())


REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-3, 3) | st.none() | st.text(max_size=2),
        "method": st.sampled_from(
            ["hello", "models", "plane", "ask", "segment", "cancel", "unload", "load", "?"]
        ),
        "arguments": st.dictionaries(
            st.sampled_from(
                ["model", "plane", "text", "box", "points", "id", "hash", "options", "mask", "labels"]
            ),
            st.none()
            | st.integers(-9, 9)
            | st.text(max_size=3)
            | st.lists(st.integers(-9, 9), max_size=3)
            | st.just({}),
        )
        | st.integers(-9, 9),
        "surprise": st.booleans(),
    },
)


def _no_models(model_id, **options):
    raise LookupError(model_id)


@given(st.lists(REQUESTS, max_size=5), st.binary(max_size=20))
@settings(max_examples=40, deadline=None)
def test_whatever_comes_in_every_request_is_answered_and_the_engine_ends(requests, rest):
    source = io.BytesIO(b"".join(pack_frame(request) for request in requests) + rest)
    sink = io.BytesIO()
    registry = Registry(dict, _no_models, list, _no_models)
    assert Engine(sink, registry).run(source) in (0, 1)
    sink.seek(0)
    replies = iter(lambda: read_frame(sink), None)
    endings = [reply for reply in replies if reply["kind"] in ("result", "error")]
    assert len(endings) >= len(requests)
    assert all(msgpack.packb(reply) for reply in endings)


def test_one_core_is_left_to_the_viewer_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # so that its value from before comes back after the test
    monkeypatch.delenv("OMP_NUM_THREADS")
    leave_a_core_to_the_viewer()
    assert int(os.environ["OMP_NUM_THREADS"]) == max(1, os.cpu_count() - 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    leave_a_core_to_the_viewer()
    assert os.environ["OMP_NUM_THREADS"] == "7"
