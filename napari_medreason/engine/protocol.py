"""Requests, replies and faults as maps; docs/engine.md describes them for other programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgpack
import numpy as np
from numpy.typing import NDArray

from napari_medreason import errors
from napari_medreason.core.grounding import Seconds
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.question import Question
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map, array_to_map
from napari_medreason.engine.values import (
    map_to_seconds,
    numbers_to_list,
    plane_fields,
    points_to_list,
    seconds_to_map,
)
from napari_medreason.errors import CancelledError, EngineError, MedReasonError
from napari_medreason.models.base import ModelInfo
from napari_medreason.models.catalogue import BYTES_PER_PARAMETER

PROTOCOL_VERSION = 4
"""Goes up with every change; 2: groundings carry `checks`; 3: weights, models name theirs; 4: propagate."""
UNKNOWN_PLANE = "unknown_plane"
INTERNAL = "internal"
PATIENT_STAGES = ("loading", "downloading", "embedding", "carrying")
"""Stages of a request in which an engine may take longer to notice that it was cancelled."""


def is_patient(stage: object) -> bool:
    """Whether a stage, with or without words after a colon, is one of PATIENT_STAGES."""
    return isinstance(stage, str) and stage.partition(":")[0] in PATIENT_STAGES


_ERROR_CLASSES: dict[str, type[Exception]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, (MedReasonError, CancelledError))
}


class UnknownPlaneError(EngineError):
    """The engine does not hold this plane (any more); the client sends it again by itself."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """A mask drawn from prompts.

    mask: (rows, columns) bool in the plane. score: the segmenter's own estimate, 0 to 1.
    seconds: load and segment; the image's embedding counts as segment, 0 when it was kept.
    """

    mask: NDArray[np.bool_]
    score: float
    segmenter: str
    seconds: Seconds
    weights_sha256: str = ""


@dataclass(frozen=True)
class ModelSummary:
    """A model that the engine offers; the fields of models.base.ModelInfo that can travel."""

    id: str
    title: str
    system: str
    summary: str
    licence: str
    needs_download: bool = False
    default: bool = False
    weights: tuple[str, ...] = ()
    consequence: str = ""
    memory: Mapping[str, int] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    remote: bool = False


@dataclass(frozen=True)
class ModelList:
    """What the engine offers: models that answer questions, and ids of segmenters."""

    models: tuple[ModelSummary, ...]
    segmenters: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """What a mask is drawn from, in plane pixels; see models.base.Segmenter.segment."""

    box: Box | None = None
    points: tuple[Point, ...] | None = None
    labels: tuple[bool, ...] | None = None
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.box is None and not self.points and self.mask is None:
            raise ValueError("a mask needs a box, a point or a mask to start from")
        if self.labels is not None and len(self.labels) != len(self.points or ()):
            raise ValueError(f"{len(self.labels)} labels for {len(self.points or ())} points")


def plane_hash(plane: Plane) -> str:
    """SHA-256 (hexadecimal) over everything in a plane: two planes with one hash give one answer."""
    description = plane_fields(plane, list(plane.image.shape))
    digest = hashlib.sha256(msgpack.packb(description))
    digest.update(np.ascontiguousarray(plane.image, dtype="<f4").data)
    return digest.hexdigest()


def question_to_map(question: Question) -> Map:
    """The words and hints of a question; its plane travels apart and is named by its hash."""
    return {
        "text": question.text,
        "box": None if question.box is None else numbers_to_list(question.box),
        "points": points_to_list(question.points),
    }


def take_question(fields: Fields, plane: Plane) -> Question:
    """A Question from the fields of `question_to_map`; the plane's hash was taken before."""
    return Question(
        text=fields.text("text"),
        plane=plane,
        box=fields.maybe("box", lambda field: fields.numbers(field, 4)),
        points=fields.points("points"),
    )


def prompt_to_map(prompt: Prompt) -> Map:
    """A Prompt as a map."""
    return {
        "box": None if prompt.box is None else numbers_to_list(prompt.box),
        "points": points_to_list(prompt.points),
        "labels": None if prompt.labels is None else [bool(label) for label in prompt.labels],
        "mask": None if prompt.mask is None else array_to_map(prompt.mask),
    }


def take_prompt(fields: Fields) -> Prompt:
    """A Prompt from its fields; EngineError when a field is missing or wrong."""
    return fields.build(
        Prompt,
        box=fields.maybe("box", lambda field: fields.numbers(field, 4)),
        points=fields.maybe("points", fields.points),
        labels=fields.maybe("labels", fields.flags),
        mask=fields.maybe("mask", lambda field: fields.array(field, np.bool_, 2)),
    )


def segmented_to_map(segmented: Segmented) -> Map:
    """A Segmented as a map."""
    return {
        "mask": array_to_map(segmented.mask),
        "score": float(segmented.score),
        "segmenter": segmented.segmenter,
        "seconds": seconds_to_map(segmented.seconds),
        "weights_sha256": segmented.weights_sha256,
    }


def map_to_segmented(value: object) -> Segmented:
    """A Segmented from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "segmented") as fields:
        return Segmented(
            mask=fields.array("mask", np.bool_, 2),
            score=fields.number("score"),
            segmenter=fields.text("segmenter"),
            seconds=map_to_seconds(fields.take("seconds")),
            weights_sha256=fields.text("weights_sha256"),
        )


def model_list_to_map(models: Iterable[ModelInfo], segmenters: Iterable[str]) -> Map:
    """What an engine offers, as a map."""
    return {
        "models": [
            {
                "id": info.id,
                "title": info.title,
                "system": info.system,
                "summary": info.summary,
                "licence": info.licence,
                "needs_download": bool(info.needs_download),
                "default": bool(info.default),
                "weights": list(info.weights),
                "consequence": info.consequence,
                "memory": dict(info.memory),
                "modalities": list(info.modalities),
                "remote": bool(info.remote),
            }
            for info in models
        ],
        "segmenters": list(segmenters),
    }


def map_to_model_list(value: object) -> ModelList:
    """A ModelList from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "models") as fields:
        rows = fields.maps("models")
        return ModelList(tuple(map_to_model_summary(row) for row in rows), fields.texts("segmenters"))


def map_to_model_summary(value: object) -> ModelSummary:
    """A ModelSummary from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "model") as fields:
        return ModelSummary(
            id=fields.text("id"),
            title=fields.text("title"),
            system=fields.text("system"),
            summary=fields.text("summary"),
            licence=fields.text("licence"),
            needs_download=fields.flag("needs_download"),
            default=fields.flag("default"),
            weights=fields.texts("weights"),
            consequence=fields.text("consequence"),
            memory=take_sizes(fields, "memory"),
            modalities=fields.texts("modalities"),
            remote=fields.flag("remote"),
        )


def take_sizes(fields: Fields, field: str) -> dict[str, int]:
    """Bytes by precision; precisions may be missing."""
    sizes = fields.map(field)
    with Fields(sizes, field) as numbers:
        return {name: numbers.integer(name) for name in BYTES_PER_PARAMETER if name in sizes}


def error_to_map(error: Exception) -> Map:
    """The kind and message of a fault; kinds are the class names of napari_medreason.errors.

    A class that is not from there travels as its closest ancestor from there, or as "internal".
    """
    if isinstance(error, UnknownPlaneError):
        return {"kind": UNKNOWN_PLANE, "message": str(error)}
    for parent in type(error).__mro__:
        if _ERROR_CLASSES.get(parent.__name__) is parent:
            return {"kind": parent.__name__, "message": str(error)}
    first_line = next(iter(str(error).splitlines()), "")
    message = f"the model failed ({type(error).__name__}: {first_line:.200}); details are in the engine's log"
    return {"kind": INTERNAL, "message": message}


def map_to_error(value: object) -> Exception:
    """The exception that an error reply stands for; unknown kinds become EngineError."""
    with Fields(value, "error") as fields:
        kind, message = fields.text("kind"), fields.text("message")
    return _ERROR_CLASSES.get(kind, EngineError)(message)
