"""An engine with small made-up models, run as a child process: `python fake_engine.py [LOG]`.

The question's words steer the fake model: "slow" streams pieces until it is cancelled, "stuck"
ignores a cancel, "print" writes to standard output, "die" ends the process, "broken" fails.
LOG gets one line for every plane that was embedded and every model that was made or closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from napari_medreason.core.grounding import Grounding, Provenance, Seconds
from napari_medreason.engine.server import serve
from napari_medreason.engine.shelf import Registry
from napari_medreason.errors import CancelledError, UnknownModelError, WeightsError
from napari_medreason.models.base import ModelInfo, ScoredMasks
from napari_medreason.models.fit import FitPlan, host

LOG = Path(sys.argv[1]) if len(sys.argv) > 1 else None


def note(line: str) -> None:
    if LOG is not None:
        with LOG.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Threshold:
    """Draws pixels above the window's middle inside the box, without the rows of points outside."""

    id = "threshold"
    weights_sha256 = "0" * 64

    def embed(self, plane):
        note("embed")
        middle = (plane.window.low + plane.window.high) / 2
        return plane.image - middle

    def segment(self, embedding, *, box=None, points=None, labels=None, mask=None):
        inside = np.zeros(embedding.shape, bool)
        x0, y0, x1, y1 = (int(v) for v in box or (0, 0, *embedding.shape[::-1]))
        inside[y0:y1, x0:x1] = True
        if mask is not None:
            inside &= mask
        for (_, y), wanted in zip(points or (), labels or (), strict=True):
            inside[int(y)] &= wanted
        logits = np.where(inside, embedding, -1.0).astype(np.float32)
        return ScoredMasks(logits[None], np.array([0.75], np.float32))

    def propagate(self, planes, seed_index, seed_mask, *, cancelled):
        others = [index for index in range(len(planes)) if index != seed_index]
        for index in sorted(others, key=lambda index: abs(index - seed_index)):
            if cancelled():
                raise CancelledError
            if planes[index].modality == "slow":
                time.sleep(0.1)
            yield index, seed_mask & (planes[index].image > 0)


class Fake:
    def __init__(self, name: str = "fake") -> None:
        self.id = name
        self.segmenter = None if name == "third" else Threshold()
        note(f"create {name}")

    def ask(self, question, *, on_text, cancelled):
        behave(question.text, on_text, cancelled)
        for word in ("Here", " it", " is."):
            on_text(word)
        plane = question.plane
        middle = (plane.window.low + plane.window.high) / 2
        mask = Threshold().segment(plane.image - middle, box=question.box).best
        return Grounding(
            status="found",
            answer=f"{question.text} by {os.getpid()}",
            grid=plane.grid,
            provenance=Provenance(self.id, "f" * 64, Seconds(reason=0.25), segmenter="threshold"),
            mask=mask,
            box=(0.0, 0.0, 1.0, 1.0),
            points=((0.0, 0.0), (1.0, 0.0)),
        )

    def close(self):
        note(f"close {self.id}")

    def load_adapter(self, folder):
        raise NotImplementedError


def behave(words: str, on_text, cancelled) -> None:
    if "slow" in words:
        stream_until_cancelled(on_text, cancelled)
    if "stuck" in words:
        on_text("stuck")
        time.sleep(60)
    if "print" in words:
        print("a library says hello\n" * 1000)  # noqa: T201 - what a careless library does
        os.write(1, b"\x00\x00\x00\x05junk!")
        subprocess.run([sys.executable, "-c", "print('so does its child')"], check=True)
        assert sys.stdin.read() == ""
    if "die" in words:
        sys.stderr.write("the memory is gone\n")
        sys.stderr.flush()
        os._exit(3)
    if "broken" in words:
        raise RuntimeError("tensor sizes differ\nsecond line")
    if "weights" in words:
        raise WeightsError("the weights are damaged; pull them again")


def stream_until_cancelled(on_text, cancelled) -> None:
    for step in range(10_000):
        on_text(f"{step} ")
        time.sleep(0.01)
        if cancelled():
            raise CancelledError
    raise AssertionError("nobody cancelled")


class SlowThreshold(Threshold):
    """Loads its weights only when it sees the first plane."""

    prepared = False

    def prepare(self, plane):
        if not self.prepared:
            time.sleep(4.0)
            note("prepare")
        self.prepared = True


class SlowToPrepare(Fake):
    """A model whose only weights are those of its segmenter."""

    def __init__(self) -> None:
        super().__init__("slow-prepare")
        self.segmenter = SlowThreshold()

    def prepare(self, plane):
        self.segmenter.prepare(plane)


def slow_to_load() -> Fake:
    time.sleep(4.0)
    return Fake("slow-load")


def planned() -> Fake:
    host().planned(
        FitPlan("cpu", (), 7 * 10**9, 11 * 10**9, True, 0, "planned in 4-bit: needs 7 GB of 11 GB")
    )
    return Fake("planned")


def info(model_id: str, create) -> ModelInfo:
    return ModelInfo(model_id, model_id.title(), "none", "For tests.", "BSD-3-Clause", create)


MODELS = {
    "fake": info("fake", lambda **options: Fake(**options)),
    "other": info("other", lambda: Fake("other")),
    "third": info("third", lambda: Fake("third")),
    "slow-load": info("slow-load", slow_to_load),
    "slow-prepare": info("slow-prepare", SlowToPrepare),
    "both": info("both", lambda: Fake("both")),
    "planned": info("planned", planned),
}


def create(model_id: str, **options):
    if model_id not in MODELS:
        raise UnknownModelError(f"no model {model_id!r}; known: {', '.join(MODELS)}")
    return MODELS[model_id].create(**options)


def create_segmenter(segmenter_id: str):
    note(f"create {segmenter_id} apart")
    return Threshold()


if __name__ == "__main__":
    registry = Registry(lambda: MODELS, create, lambda: ["threshold", "both"], create_segmenter)
    sys.exit(serve(registry))
