"""What an engine can be asked about a stack of planes: to carry a mask from one of them to the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Seconds
from napari_medreason.core.plane import Plane
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.loaded import LoadedSegmenter
from napari_medreason.engine.protocol_propagate import CARRYING, Carried, Seed, carried_to_map, take_seed
from napari_medreason.engine.shelf import PLANES_KEPT, Shelf
from napari_medreason.errors import EngineError, QuestionError

if TYPE_CHECKING:
    from napari_medreason.engine.methods import Request

Ready = Callable[["Request", str, Plane], tuple[LoadedSegmenter, float]]
"""Loads a segmenter with what a plane needs, and says how many seconds that took."""


def propagate(shelf: Shelf, ready: Ready, request: Request, fields: Fields) -> object:
    """Carry a mask to neighbouring planes; progress comes for every slice that was reached."""
    segmenter_id, seed = fields.text("segmenter"), take_seed(fields)
    planes = _planes(shelf, fields.texts("planes"), seed)
    loaded, seconds = ready(request, segmenter_id, planes[seed.index])
    segmenter, started = loaded.segmenter, time.perf_counter()

    def carried() -> dict[int, NDArray[np.bool_]]:
        request.progress(CARRYING)
        masks = {}
        steps = segmenter.propagate(planes, seed.index, seed.mask, cancelled=request.cancelled.is_set)
        for index, mask in steps:
            request.check()
            masks[index] = mask
            fraction = min(len(masks) / (len(planes) - 1), 1.0)
            request.reply("progress", {"stage": CARRYING, "fraction": fraction})
        return masks

    masks = shelf.with_room(segmenter_id, carried, repeatable=lambda: True)
    times = Seconds(load=seconds, segment=time.perf_counter() - started)
    return carried_to_map(Carried(masks, loaded.id, times, segmenter.weights_sha256))


def _planes(shelf: Shelf, keys: tuple[str, ...], seed: Seed) -> list[Plane]:
    if not 2 <= len(keys) <= PLANES_KEPT:
        raise QuestionError(
            f"a mask can be carried through 2 to {PLANES_KEPT} slices at a time; {len(keys)} were given"
        )
    if not 0 <= seed.index < len(keys):
        raise EngineError(f"the mask is on plane {seed.index} of {len(keys)}; planes are counted from 0")
    planes = [shelf.plane(key) for key in keys]
    shape = planes[seed.index].image.shape
    if seed.mask.shape != shape:
        raise EngineError(f"the mask is {seed.mask.shape}, its plane is {shape}; give one of its size")
    return planes
