"""An engine process with a made-up model: answers at once, or as the question's words steer it.

"slow" streams words until it is cancelled, "die" ends the process, "broken" fails, "absent" finds
nothing, "quote" answers with braces and quotes. Any model and segmenter id is accepted. The mask of
a box is the ellipse inside it.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from napari_medreason.core.grounding import Grounding, Provenance, Seconds, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.engine.server import serve
from napari_medreason.engine.shelf import Registry
from napari_medreason.errors import CancelledError, UnknownModelError, WeightsError
from napari_medreason.models.base import ModelInfo, ScoredMasks


def ellipse(shape, box):
    x0, y0, x1, y1 = box
    rows, columns = np.indices(shape)
    across = (columns - (x0 + x1 - 1) / 2) / max((x1 - x0) / 2, 0.5)
    down = (rows - (y0 + y1 - 1) / 2) / max((y1 - y0) / 2, 0.5)
    return across**2 + down**2 <= 1


class Ellipse:
    """Draws the ellipse inside a box, or a disc around the points."""

    id = "embedded"
    weights_sha256 = "e" * 64

    def embed(self, plane):
        return plane.image.shape

    def segment(self, embedding, *, box=None, points=None, labels=None, mask=None):
        if box is None:
            (x, y), *_ = points
            box = (x - 3, y - 3, x + 4, y + 4)
        drawn = ellipse(embedding, box)
        if os.environ.get("MEDREASON_FAKE_SLOW_SEGMENTS"):
            time.sleep(0.3)
        return ScoredMasks(np.where(drawn, 1.0, -1.0).astype(np.float32)[None], np.full(1, 0.9, np.float32))


class Fake:
    def __init__(self, model_id):
        self.id = model_id

    def ask(self, question, *, on_text, cancelled):
        words, grid = question.text, question.plane.grid
        steer(words, on_text, cancelled)
        for word in ("The ", "liver ", "is ", "seen."):
            on_text(word)
        provenance = Provenance(
            self.id,
            "f" * 64,
            Seconds(load=0.1, reason=0.25, segment=0.05),
            templated=True,
            evidence="Dice 0.91 on 2 patients (preliminary).",
            window=(question.plane.window.low, question.plane.window.high),
        )
        if "absent" in words:
            return Grounding("absent", "The liver is not seen on this slice.", grid, provenance)
        rows, columns = grid.shape
        mask = ellipse(grid.shape, (columns * 0.2, rows * 0.3, columns * 0.5, rows * 0.7))
        answer = (
            "A {liver} “100%” is seen."
            if "quote" in words
            else "The liver is seen on this slice. It is whole."
        )
        return Grounding(
            "found",
            answer,
            grid,
            provenance,
            mask=mask,
            box=mask_box(mask),
            points=key_points(mask),
            confidence=0.87,
            structure="liver",
        )

    def close(self):
        pass


def steer(words, on_text, cancelled):
    if "slow" in words:
        for step in range(3000):
            on_text(f"{step} ")
            time.sleep(0.01)
            if cancelled():
                raise CancelledError
    if "die" in words:
        sys.stderr.write("the memory is gone\n")
        sys.stderr.flush()
        os._exit(3)
    if "weights" in words:
        raise WeightsError("the weights are damaged;\npull them again")
    if "broken" in words:
        raise RuntimeError("tensor sizes differ")


def info(model_id):
    return ModelInfo(model_id, model_id.title(), "none", "For tests.", "BSD-3-Clause", lambda: Fake(model_id))


def create(model_id):
    if model_id == "nope":
        raise UnknownModelError("model 'nope' is not known; known: embedded. Choose one of these")
    return Fake(model_id)


if __name__ == "__main__":
    models = {"embedded": info("embedded")}
    sys.exit(serve(Registry(lambda: models, create, lambda: ["embedded"], lambda _: Ellipse())))
