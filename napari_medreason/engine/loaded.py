"""One model that is loaded, what was told while it was loaded, and the memory it was planned to take."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Plane
from napari_medreason.engine.frames import Map
from napari_medreason.errors import NotEnoughMemoryError
from napari_medreason.models.base import Segmenter
from napari_medreason.models.fit import FitPlan, Host, loading_for
from napari_medreason.models.memory import give_memory_back, is_out_of_memory

Told = Callable[[str], None]
"""Receives in words what happens to models."""


@dataclass(eq=False)
class Loaded:
    """A model or segmenter.

    planned: bytes it was planned to need, 0 for models that plan nothing. adapter: key of the one that it has
    on, "" for none.
    """

    id: str
    model: Any
    options: Map
    notes: tuple[str, ...] = ()
    planned: int = 0
    adapter: str = ""
    used: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, eq=False)
class LoadedSegmenter:
    """A segmenter, how to embed a plane for it, the id it is shown by, and the seconds of loading it now."""

    segmenter: Segmenter
    embed: Callable[[Plane], Any]
    id: str
    load_seconds: float = 0.0


def make_loaded(
    name: str,
    options: Map,
    create: Callable[[], Any],
    *,
    told: Told,
    make_room: Callable[[bool], str] = lambda planned_only: "",
    held: Callable[[], int] = lambda: 0,
) -> Loaded:
    """Make a model with room made for it; what loaders plan and change is told and kept as notes.

    make_room: closes the model used longest ago and gives its id, "" when there is none; its argument says
    whether only models whose size was planned help. held: the bytes that those were planned to need.
    Errors as from `create`.
    """
    notes: list[str] = []
    plans: list[FitPlan] = []

    def note(words: str) -> None:
        notes.append(words)
        told(words)

    def planned(plan: FitPlan) -> None:
        plans.append(plan)
        note(plan.words)

    def room(planned_only: bool) -> bool:
        if closed := make_room(planned_only):
            note(f"{closed} was closed to make room; it loads again at its next question")
        return bool(closed)

    with loading_for(Host(planned, note, lambda: room(True), held)):
        # Our own loaders had others closed already; an error of other kinds comes from one that does not ask.
        model = with_room(create, what=name, make_room=lambda: room(False), final=(NotEnoughMemoryError,))
    return Loaded(name, model, options, tuple(notes), plans[-1].needed if plans else 0)


def with_notes(grounding: Grounding, notes: tuple[str, ...]) -> Grounding:
    """The answer with more notes in its provenance."""
    provenance = grounding.provenance
    return replace(grounding, provenance=replace(provenance, notes=(*provenance.notes, *notes)))


def with_room(
    work: Callable[[], Any],
    *,
    what: str,
    make_room: Callable[[], bool],
    final: tuple[type[Exception], ...] = (),
) -> Any:
    """What `work` gives; when memory runs out it is done again as long as `make_room` closes something.

    NotEnoughMemoryError at last, `final` errors at once. After any error nothing half made holds memory.
    """
    while True:
        try:
            return work()
        except Exception as error:
            _let_go(error)
            ran_out = isinstance(error, NotEnoughMemoryError) or is_out_of_memory(error)
            if not ran_out or isinstance(error, final):
                raise
            fault = str(error) if isinstance(error, NotEnoughMemoryError) else ""
        give_memory_back()
        if not make_room():
            raise NotEnoughMemoryError(
                fault
                or f"{what} needs more memory than is free; close other programs, or choose another model"
            )


def _let_go(error: BaseException) -> None:
    """Empty the ended calls that an exception remembers: they may hold networks that were half made."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
