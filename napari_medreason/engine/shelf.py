"""What an engine process keeps between requests: models, planes and embeddings, each a bounded number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_medreason.core.plane import Plane
from napari_medreason.core.recent import Recent
from napari_medreason.engine.frames import Map
from napari_medreason.engine.loaded import Loaded, LoadedSegmenter, Told, make_loaded, with_room
from napari_medreason.engine.protocol import UnknownPlaneError
from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.adapted import AdaptedModel, named_adapter, put_on, take_off
from napari_medreason.models.adapter_store import AT, Adapter
from napari_medreason.models.base import GroundingModel, ModelInfo, Segmenter
from napari_medreason.models.memory import give_memory_back

MODELS_KEPT = 2
PLANES_KEPT = 32
EMBEDDINGS_KEPT = 8


@dataclass(frozen=True)
class Registry:
    """Where models come from; the functions of napari_medreason.models, or others in tests.

    adapter: base id and adapter of a model id such as `embedded@our-lesions`, None for a plain one.
    """

    available: Callable[[], Mapping[str, ModelInfo]]
    create: Callable[..., GroundingModel]
    segmenters: Callable[[], Iterable[str]]
    create_segmenter: Callable[[str], Segmenter]
    adapter: Callable[[str], tuple[str, Adapter] | None] = lambda model_id: None


def installed_registry() -> Registry:
    """The models of this package and of installed third parties."""
    from napari_medreason import models

    return Registry(
        models.available, models.create, models.segmenters, models.create_segmenter, named_adapter
    )


def _ignore(_words: str) -> None:
    """For callers that tell nobody."""


class Shelf:
    """Loads models when they are first needed and keeps the last few; closes others to make room.

    A model that was closed for others loads again with the options it had, until it is unloaded. A base and
    all its adapters are one model here: which of them is on changes with who is asked.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._options: dict[str, Map] = {}
        self._models: Recent[Loaded] = Recent(MODELS_KEPT, self._close)
        self._segmenters: Recent[Loaded] = Recent(MODELS_KEPT, self._close)
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

    def model(
        self, model_id: str, options: Map | None = None, *, told: Told = _ignore
    ) -> tuple[GroundingModel, float]:
        """A model and the seconds that loading took now; None as options keeps it as it is, or was, loaded.

        told: hears the plan of what fits and what is closed for it. When loading fails, what was loaded
        under this id before loads again as it was. An adapter that is refused leaves the one before on.
        """
        adapted = self.registry.adapter(model_id)
        if adapted is None:
            return self._with_adapter(model_id, None, options, told)
        base_id, adapter = adapted
        model, seconds = self._with_adapter(base_id, adapter, options, told)
        return AdaptedModel(model, adapter, base_id), seconds

    def _with_adapter(
        self, base_id: str, adapter: Adapter | None, options: Map | None, told: Told
    ) -> tuple[GroundingModel, float]:
        loaded, seconds = self._loaded(base_id, options, told)
        key = _key(adapter)
        if loaded.adapter == key:
            return loaded.model, seconds
        started = time.perf_counter()
        if adapter is not None:
            put_on(loaded.model, adapter)
        elif not take_off(loaded.model):
            self._models.drop(base_id)
            loaded, _ = self._loaded(base_id, None, told)
        loaded.adapter = key
        return loaded.model, seconds + time.perf_counter() - started

    def _loaded(self, model_id: str, options: Map | None, told: Told) -> tuple[Loaded, float]:
        """A model as it was loaded, with whatever adapter it has on, and the seconds that loading took."""
        held = self._models.get(model_id)
        if held is not None and options in (None, held.options):
            held.used = time.monotonic()
            return held, 0.0
        wanted = self._options.get(model_id, {}) if options is None else options
        if held is None and (model_id in self.registry.available() or "+" in model_id):
            self._models.make_room()  # before the next one is made: a GPU may not hold one more
        self._models.drop(model_id)  # with other options it is another model, of the same size
        started = time.perf_counter()
        made = self._make(model_id, wanted, lambda: self.registry.create(model_id, **wanted), told)
        self._models.put(model_id, made)
        self._options[model_id] = wanted
        return made, time.perf_counter() - started

    def notes(self, model_id: str) -> tuple[str, ...]:
        """What was told while this model was loaded: how it was made to fit."""
        held = self._models.get(_base(model_id))
        return () if held is None else held.notes

    def with_room(self, model_id: str, work: Callable[[], Any], *, repeatable: Callable[[], bool]) -> Any:
        """Let a loaded model work; if memory runs out, again with others closed if `repeatable` says so."""
        return with_room(
            work,
            what=model_id,
            make_room=lambda: repeatable() and bool(self._make_room(keep=_base(model_id))),
        )

    def segmenter(self, segmenter_id: str, *, told: Told = _ignore) -> LoadedSegmenter:
        """A segmenter by its own id or by that of a model that has one; where both exist, the model's.

        UnknownModelError (from the registry) when nothing has this id, ModelUnavailableError when
        the model has no segmenter.
        """
        if (held := self._segmenters.get(segmenter_id)) is not None:
            held.used = time.monotonic()
            return LoadedSegmenter(held.model, held.model.embed, held.model.id)
        separate = segmenter_id in set(self.registry.segmenters())
        if separate and not self._is_model(segmenter_id):
            return self._separate_segmenter(segmenter_id, told)
        model, seconds = self.model(segmenter_id, told=told)
        if (own := _segmenter_of(model)) is not None:
            return replace(own, load_seconds=seconds)
        if separate:
            return self._separate_segmenter(segmenter_id, told)
        raise ModelUnavailableError(
            f"model {segmenter_id!r} draws no masks from prompts; use one of "
            f"{', '.join(sorted(self.registry.segmenters()))}"
        )

    def _is_model(self, model_id: str) -> bool:
        return _base(model_id) in self._models or model_id in self.registry.available()

    def _separate_segmenter(self, segmenter_id: str, told: Told) -> LoadedSegmenter:
        self._segmenters.make_room()
        started = time.perf_counter()
        made = self._make(segmenter_id, {}, lambda: self.registry.create_segmenter(segmenter_id), told)
        self._segmenters.put(segmenter_id, made)
        seconds = time.perf_counter() - started
        return LoadedSegmenter(made.model, made.model.embed, made.model.id, seconds)

    def _make(self, name: str, options: Map, create: Callable[[], Any], told: Told) -> Loaded:
        def room(planned_only: bool) -> str:
            return self._make_room(planned_only=planned_only)

        return make_loaded(name, options, create, told=told, make_room=room, held=self._planned_bytes)

    def _planned_bytes(self) -> int:
        return sum(one.planned for kept in (self._models, self._segmenters) for one in kept)

    def _make_room(self, *, planned_only: bool = False, keep: str = "") -> str:
        """Close the model used longest ago and give its id; "" when there is none."""
        held = [(one, kept) for kept in (self._models, self._segmenters) for one in kept]
        closable = [pair for pair in held if pair[0].id != keep and (pair[0].planned or not planned_only)]
        if not closable:
            return ""
        oldest, kept = min(closable, key=lambda pair: pair[0].used)
        kept.drop(oldest.id)
        return oldest.id

    def embedding(self, segmenter_id: str, plane_key: str) -> Any | None:
        """The embedding that was kept for this segmenter and plane, or None."""
        return self._embeddings.get((segmenter_id, self._adapter_on(segmenter_id), plane_key))

    def keep_embedding(self, segmenter_id: str, plane_key: str, embedding: Any) -> None:
        """Keep an embedding for the next prompt on this plane."""
        self._embeddings.put((segmenter_id, self._adapter_on(segmenter_id), plane_key), embedding)

    def _adapter_on(self, model_id: str) -> str:
        held = self._models.get(_base(model_id))
        return "" if held is None else held.adapter

    def holds_model(self, model_id: str, options: Map | None = None) -> bool:
        """Whether `model` with the same arguments loads nothing."""
        held = self._models.get(_base(model_id))
        return held is not None and options in (None, held.options)

    def holds_segmenter(self, segmenter_id: str) -> bool:
        """Whether `segmenter` loads nothing."""
        if segmenter_id in self._segmenters:
            return True
        held = self._models.get(_base(segmenter_id))
        return held is not None and _segmenter_of(held.model) is not None

    def unload(self, model_id: str) -> None:
        """Close the model and the segmenter with this id, give their memory back and forget the options.

        A base is closed with its adapters.
        """
        self._options.pop(_base(model_id), None)
        self._models.drop(_base(model_id))
        self._segmenters.drop(model_id)

    def _close(self, loaded: Loaded) -> None:
        self._embeddings.clear()  # they may belong to this model
        close = getattr(loaded.model, "close", None)
        if close is not None:
            close()
        give_memory_back()


def _base(model_id: str) -> str:
    return model_id.partition(AT)[0]


def _key(adapter: Adapter | None) -> str:
    """What tells adapters apart, also when another one has taken an id."""
    return "" if adapter is None else f"{adapter.id} {adapter.sha256}"


def _segmenter_of(model: Any) -> LoadedSegmenter | None:
    """The model itself, or its part; a composed model may know the embedding from its last answer."""
    for candidate in (model, getattr(model, "segmenter", None)):
        if isinstance(candidate, Segmenter):
            shown = getattr(model, "segmenter_id", candidate.id)
            return LoadedSegmenter(candidate, getattr(model, "embedding", candidate.embed), shown)
    return None
