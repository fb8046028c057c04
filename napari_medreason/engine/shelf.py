"""What an engine process keeps between requests: models, planes and embeddings, each a bounded number."""

from __future__ import annotations

import gc
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from napari_medreason.core.plane import Plane
from napari_medreason.engine.frames import Map
from napari_medreason.engine.protocol import UnknownPlaneError
from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.base import GroundingModel, ModelInfo, Segmenter

MODELS_KEPT = 2
PLANES_KEPT = 32
EMBEDDINGS_KEPT = 8

Value = TypeVar("Value")


@dataclass(frozen=True)
class Registry:
    """Where models come from; the functions of napari_medreason.models, or others in tests."""

    available: Callable[[], Mapping[str, ModelInfo]]
    create: Callable[..., GroundingModel]
    segmenters: Callable[[], Iterable[str]]
    create_segmenter: Callable[[str], Segmenter]


def installed_registry() -> Registry:
    """The models of this package and of installed third parties."""
    from napari_medreason import models

    return Registry(models.available, models.create, models.segmenters, models.create_segmenter)


class Recent(Generic[Value]):
    """The most recently used values, at most `limit`; `dropped` is told which one had to go."""

    def __init__(self, limit: int, dropped: Callable[[Value], None] | None = None) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._limit, self._dropped = limit, dropped

    def get(self, key: Hashable) -> Value | None:
        """The value, now the most recent one, or None."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value and drop the oldest beyond the limit."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._limit:
            self.drop(next(iter(self._values)))
        return value

    def drop(self, key: Hashable) -> None:
        """Forget a value if it is there."""
        value = self._values.pop(key, None)
        if value is not None and self._dropped is not None:
            self._dropped(value)

    def clear(self) -> None:
        """Forget all values."""
        for key in list(self._values):
            self.drop(key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values


@dataclass(frozen=True, eq=False)
class LoadedSegmenter:
    """A segmenter, how to embed a plane for it, and the seconds that loading took now."""

    segmenter: Segmenter
    embed: Callable[[Plane], Any]
    load_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class _Loaded:
    id: str
    model: Any
    options: Map


class Shelf:
    """Loads models when they are first needed and keeps the last few."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._models: Recent[_Loaded] = Recent(MODELS_KEPT, self._close)
        self._segmenters: Recent[_Loaded] = Recent(MODELS_KEPT, self._close)
        self._planes: Recent[Plane] = Recent(PLANES_KEPT)
        self._embeddings: Recent[Any] = Recent(EMBEDDINGS_KEPT)

    def keep_plane(self, key: str, plane: Plane) -> None:
        """Keep a plane under its hash."""
        self._planes.put(key, plane)

    def plane(self, key: str) -> Plane:
        """The plane with this hash; UnknownPlaneError when it is not (any more) here."""
        plane = self._planes.get(key)
        if plane is None:
            raise UnknownPlaneError(f"no plane with the hash {key:.64} is known; send the plane first")
        return plane

    def model(self, model_id: str, options: Map | None = None) -> tuple[GroundingModel, float]:
        """A model and the seconds that loading took now; None as options keeps it as it is loaded."""
        held = self._models.get(model_id)
        if held is not None and options in (None, held.options):
            return held.model, 0.0
        self._models.drop(model_id)
        started = time.perf_counter()
        model = self.registry.create(model_id, **(options or {}))
        self._models.put(model_id, _Loaded(model_id, model, options or {}))
        return model, time.perf_counter() - started

    def segmenter(self, segmenter_id: str) -> LoadedSegmenter:
        """A segmenter by its own id or by that of a model that has one.

        UnknownModelError (from the registry) when nothing has this id, ModelUnavailableError when
        the model has no segmenter.
        """
        if (held := self._segmenters.get(segmenter_id)) is not None:
            return LoadedSegmenter(held.model, held.model.embed)
        if (loaded := self._models.get(segmenter_id)) is not None and (own := _segmenter_of(loaded.model)):
            return own
        if segmenter_id in set(self.registry.segmenters()):
            return self._separate_segmenter(segmenter_id)
        model, seconds = self.model(segmenter_id)
        own = _segmenter_of(model)
        if own is None:
            raise ModelUnavailableError(
                f"model {segmenter_id!r} draws no masks from prompts; use one of "
                f"{', '.join(sorted(self.registry.segmenters()))}"
            )
        return replace(own, load_seconds=seconds)

    def _separate_segmenter(self, segmenter_id: str) -> LoadedSegmenter:
        started = time.perf_counter()
        segmenter = self.registry.create_segmenter(segmenter_id)
        self._segmenters.put(segmenter_id, _Loaded(segmenter_id, segmenter, {}))
        return LoadedSegmenter(segmenter, segmenter.embed, time.perf_counter() - started)

    def embedding(self, segmenter_id: str, plane_key: str) -> Any | None:
        """The embedding that was kept for this segmenter and plane, or None."""
        return self._embeddings.get((segmenter_id, plane_key))

    def keep_embedding(self, segmenter_id: str, plane_key: str, embedding: Any) -> None:
        """Keep an embedding for the next prompt on this plane."""
        self._embeddings.put((segmenter_id, plane_key), embedding)

    def holds(self, model_id: str) -> bool:
        """Whether asking for this model or segmenter loads nothing."""
        return model_id in self._models or model_id in self._segmenters

    def unload(self, model_id: str) -> None:
        """Close the model and the segmenter with this id and give their memory back."""
        self._models.drop(model_id)
        self._segmenters.drop(model_id)

    def _close(self, loaded: _Loaded) -> None:
        self._embeddings.clear()  # they may belong to this model
        close = getattr(loaded.model, "close", None)
        if close is not None:
            close()
        _give_memory_back()


def _segmenter_of(model: Any) -> LoadedSegmenter | None:
    """The model itself, or its part; a composed model may know the embedding from its last answer."""
    for candidate in (model, getattr(model, "segmenter", None)):
        if isinstance(candidate, Segmenter):
            return LoadedSegmenter(candidate, getattr(model, "embedding", candidate.embed))
    return None


def _give_memory_back() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
