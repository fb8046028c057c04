"""A mask that is carried through planes, and what comes of it, as maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Seconds
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map, array_to_map
from napari_medreason.engine.values import map_to_seconds, seconds_to_map

CARRYING = "carrying"
"""Stage of a request that carries a mask; one report for every slice."""


@dataclass(frozen=True, eq=False)
class Seed:
    """Where carrying begins. index: which of the planes, from 0. mask: (rows, columns) bool on it."""

    index: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Carried:
    """Masks (rows, columns) bool by the index of their plane; the plane it began on is not among them.

    seconds: load and segment, the second one for all slices together.
    """

    masks: Mapping[int, NDArray[np.bool_]]
    segmenter: str
    seconds: Seconds
    weights_sha256: str = ""


def seed_to_map(seed: Seed) -> Map:
    """A Seed as a map."""
    return {"index": int(seed.index), "mask": array_to_map(seed.mask)}


def take_seed(fields: Fields) -> Seed:
    """A Seed from its fields; EngineError when one is missing or wrong."""
    return Seed(fields.integer("index"), fields.array("mask", np.bool_, 2))


def carried_to_map(carried: Carried) -> Map:
    """A Carried as a map."""
    return {
        "masks": [{"index": int(index), "mask": array_to_map(mask)} for index, mask in carried.masks.items()],
        "segmenter": carried.segmenter,
        "seconds": seconds_to_map(carried.seconds),
        "weights_sha256": carried.weights_sha256,
    }


def map_to_carried(value: object) -> Carried:
    """A Carried from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "carried") as fields:
        return Carried(
            masks=dict(_one_mask(entry) for entry in fields.maps("masks")),
            segmenter=fields.text("segmenter"),
            seconds=map_to_seconds(fields.take("seconds")),
            weights_sha256=fields.text("weights_sha256"),
        )


def _one_mask(value: object) -> tuple[int, NDArray[np.bool_]]:
    with Fields(value, "carried.masks") as fields:
        return fields.integer("index"), fields.array("mask", np.bool_, 2)
