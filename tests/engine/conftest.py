"""Real engine processes with fake models, and a listener that records what a viewer would hear."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.core.plane import Plane, cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.engine.client import EngineClient

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
PATIENCE = 20.0


class Listener:
    """Collects the callbacks of one request."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.stages: list[str] = []
        self.endings: list[object] = []
        self.order: list[str] = []
        self.threads: set[str] = set()
        self.ended_at = 0.0
        self._ended = threading.Event()
        self._heard_text = threading.Event()

    def on_text(self, text: str) -> None:
        self.texts.append(text)
        self._note("text")
        self._heard_text.set()

    def on_progress(self, stage: str, fraction: float | None) -> None:
        self.stages.append(stage)
        self._note("progress")

    def on_end(self, ending: object) -> None:
        self.endings.append(ending)
        self._note("end")
        self.ended_at = time.monotonic()
        self._ended.set()

    def wait(self) -> object:
        """The result or the error."""
        assert self._ended.wait(PATIENCE), "the request never ended"
        return self.endings[0]

    def wait_for_text(self) -> None:
        assert self._heard_text.wait(PATIENCE), "no text came"

    def _note(self, what: str) -> None:
        self.order.append(what)
        self.threads.add(threading.current_thread().name)


class Viewer:
    """A client of the fake engine, with short ways to ask."""

    def __init__(self, log: Path) -> None:
        self.states: list[str] = []
        self.log = log
        self.client = EngineClient([sys.executable, str(FAKE_ENGINE), str(log)], on_state=self.states.append)
        self.last_id = -1

    def ask(self, text: str, plane: Plane, *, model: str = "fake", **hints: object) -> Listener:
        listener = Listener()
        self.last_id = self.client.ask(
            Question(text, plane, **hints),
            model=model,
            on_text=listener.on_text,
            on_progress=listener.on_progress,
            on_result=listener.on_end,
            on_error=listener.on_end,
        )
        return listener

    def segment(self, plane: Plane, segmenter: str = "threshold", **prompt: object) -> Listener:
        listener = Listener()
        self.last_id = self.client.segment(
            plane, segmenter=segmenter, **prompt, on_result=listener.on_end, on_error=listener.on_end
        )
        return listener

    def logged(self, line: str) -> int:
        """How often the fake engine noted this line."""
        return self.log.read_text(encoding="utf-8").splitlines().count(line) if self.log.exists() else 0


def make_plane(seed: int = 0, shape: tuple[int, int] = (12, 9), orientation_known: bool = True) -> Plane:
    voxels = np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)
    volume = Volume(voxels, np.diag([0.7, 0.8, 5.0, 1.0]), "CT", orientation_known=orientation_known)
    return cut(volume, "axial", 1, Window(-1.0, 1.0))


@pytest.fixture
def plane() -> Plane:
    return make_plane()


@pytest.fixture(scope="session")
def plane_maker():
    return make_plane


@pytest.fixture
def viewer(tmp_path):
    """A client whose engine process is gone after the test."""
    viewer = Viewer(tmp_path / "engine.log")
    with viewer.client:
        yield viewer


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def listener_maker():
    return Listener


@pytest.fixture(scope="session")
def fake_engine() -> list[str]:
    """Command of the fake engine."""
    return [sys.executable, str(FAKE_ENGINE)]
