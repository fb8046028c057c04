"""What an engine can be asked to do; these run on the engine's main thread, one at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from napari_medreason.core.grounding import Grounding, Seconds
from napari_medreason.core.plane import Plane
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.loaded import LoadedSegmenter, Told, with_notes
from napari_medreason.engine.methods_propagate import propagate
from napari_medreason.engine.protocol import (
    Prompt,
    Segmented,
    model_list_to_map,
    plane_hash,
    segmented_to_map,
    take_prompt,
    take_question,
)
from napari_medreason.engine.shelf import Shelf
from napari_medreason.engine.values import grounding_to_map, map_to_plane
from napari_medreason.errors import CancelledError, EngineError
from napari_medreason.models.base import Segmenter, prepare

_BEAT_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Request:
    """One request that waits or runs; `reply(kind, value)` sends a frame about it."""

    id: int
    method: str
    arguments: object
    reply: Callable[[str, object], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """CancelledError when the request was cancelled."""
        if self.cancelled.is_set():
            raise CancelledError("the request was cancelled")

    def progress(self, stage: str) -> None:
        """Say what happens now; words for the user may follow the stage after a colon."""
        self.reply("progress", {"stage": stage, "fraction": None})


class Methods:
    """The methods, by name in `table`; each takes a request and its arguments and gives a map."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def table(self) -> dict[str, Callable[[Request, Fields], object]]:
        """All methods that models or planes are needed for."""
        return {
            "models": self._models,
            "load": self._load,
            "unload": self._unload,
            "plane": self._plane,
            "ask": self._ask,
            "segment": self._segment,
            "propagate": partial(propagate, self._shelf, self._ready_segmenter),
        }

    def _models(self, request: Request, fields: Fields) -> object:
        registry = self._shelf.registry
        return model_list_to_map(registry.available().values(), registry.segmenters())

    def _load(self, request: Request, fields: Fields) -> object:
        model_id, options = fields.text("model"), fields.map("options")
        plane = fields.maybe("plane", lambda field: self._shelf.plane(fields.text(field)))
        with _loading(request, at_once=not self._shelf.holds_model(model_id, options)) as told:
            model, seconds = self._shelf.model(model_id, options, told=told)
            if plane is not None:
                seconds += prepare(model, plane)
        return {"seconds": seconds}

    def _unload(self, request: Request, fields: Fields) -> object:
        self._shelf.unload(fields.text("model"))
        return {}

    def _plane(self, request: Request, fields: Fields) -> object:
        key, plane = fields.text("hash"), map_to_plane(fields.take("plane"))
        if plane_hash(plane) != key:
            raise EngineError("the plane does not have the hash that it was sent with; send it again")
        self._shelf.keep_plane(key, plane)
        return {}

    def _ask(self, request: Request, fields: Fields) -> object:
        model_id, plane = fields.text("model"), self._shelf.plane(fields.text("plane"))
        question = take_question(fields, plane)
        with _loading(request, at_once=not self._shelf.holds_model(model_id)) as told:
            model, seconds = self._shelf.model(model_id, told=told)
            seconds += prepare(model, plane)
        request.progress("reasoning")
        heard = threading.Event()

        def on_text(text: str) -> None:
            request.check()
            heard.set()
            request.reply("text", str(text))

        grounding = self._shelf.with_room(
            model_id,
            lambda: model.ask(question, on_text=on_text, cancelled=request.cancelled.is_set),
            repeatable=lambda: not heard.is_set(),
        )
        return grounding_to_map(_completed(grounding, seconds, self._shelf.notes(model_id)))

    def _segment(self, request: Request, fields: Fields) -> object:
        segmenter_id, key = fields.text("segmenter"), fields.text("plane")
        plane, prompt = self._shelf.plane(key), take_prompt(fields)
        if prompt.mask is not None and prompt.mask.shape != plane.image.shape:
            raise EngineError(f"the mask is {prompt.mask.shape}, its plane is {plane.image.shape}")
        loaded, seconds = self._ready_segmenter(request, segmenter_id, plane)
        segmenter = loaded.segmenter
        started = time.perf_counter()

        def drawn() -> tuple[Any, float]:
            embedding = self._shelf.embedding(segmenter_id, key)
            if embedding is None:
                request.progress("embedding")
                embedding = loaded.embed(plane)
                self._shelf.keep_embedding(segmenter_id, key, embedding)
            request.check()
            request.progress("segmenting")
            return _best_mask(segmenter, embedding, prompt)

        mask, score = self._shelf.with_room(segmenter_id, drawn, repeatable=lambda: True)
        times = Seconds(load=seconds, segment=time.perf_counter() - started)
        return segmented_to_map(Segmented(mask, score, loaded.id, times, segmenter.weights_sha256))

    def _ready_segmenter(
        self, request: Request, segmenter_id: str, plane: Plane
    ) -> tuple[LoadedSegmenter, float]:
        """A segmenter that has loaded what the plane needs, and the seconds that this took now."""
        with _loading(request, at_once=not self._shelf.holds_segmenter(segmenter_id)) as told:
            loaded = self._shelf.segmenter(segmenter_id, told=told)
            return loaded, loaded.load_seconds + prepare(loaded.segmenter, plane)


@contextlib.contextmanager
def _loading(request: Request, *, at_once: bool) -> Iterator[Told]:
    """Report the stage "loading" every half second until the block ends; also at once if it will be long.

    The block gets a function for words about the loading; the last ones stay in the reports.
    """
    ended, words = threading.Event(), [""]

    def report() -> None:
        request.progress(f"loading: {words[0]}" if words[0] else "loading")

    def told(latest: str) -> None:
        words[0] = latest
        report()

    def beat() -> None:
        while not ended.wait(_BEAT_SECONDS):
            report()

    if at_once:
        report()
    thread = threading.Thread(target=beat, name="loading", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()
    request.check()


def _best_mask(segmenter: Segmenter, embedding: Any, prompt: Prompt) -> tuple[Any, float]:
    scored = segmenter.segment(
        embedding, box=prompt.box, points=prompt.points, labels=prompt.labels, mask=prompt.mask
    )
    return scored.best, float(np.asarray(scored.scores)[0])


def _completed(grounding: Grounding, seconds: float, notes: tuple[str, ...]) -> Grounding:
    """Add what loading took here, unless the model counted it itself, and how the model was made to fit."""
    provenance = grounding.provenance
    times = replace(provenance.seconds, load=max(provenance.seconds.load, seconds))
    return with_notes(replace(grounding, provenance=replace(provenance, seconds=times)), notes)
