"""Core objects as maps and back, field by field, so that an unknown or missing field never passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from napari_medreason.core.geometry import checked_affine
from napari_medreason.core.grounding import Check, Grounding, Provenance, Seconds, Status
from napari_medreason.core.plane import AXES, Plane, PlaneGrid, Point
from napari_medreason.core.volume import Window
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map, array_to_map
from napari_medreason.errors import EngineError


def plane_to_map(plane: Plane) -> Map:
    """A Plane as a map."""
    return plane_fields(plane, array_to_map(plane.image))


def plane_fields(plane: Plane, image: object) -> Map:
    """The fields of a plane's map in their order, with `image` for its pixels."""
    return {
        "image": image,
        "grid": grid_to_map(plane.grid),
        "affine": array_to_map(plane.affine),
        "window": [float(plane.window.low), float(plane.window.high)],
        "modality": plane.modality,
        "calibrated": bool(plane.calibrated),
    }


def map_to_plane(value: object) -> Plane:
    """A Plane from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "plane") as fields:
        low, high = fields.numbers("window", 2)
        plane = Plane(
            image=fields.array("image", np.float32, 2),
            grid=map_to_grid(fields.take("grid")),
            affine=fields.build(checked_affine, affine=fields.array("affine", np.float64, 2)),
            window=fields.build(Window, low=low, high=high),
            modality=fields.text("modality"),
            calibrated=fields.flag("calibrated"),
        )
    if plane.image.shape != plane.grid.shape:
        raise EngineError(f"plane.image is {plane.image.shape}, its grid is {plane.grid.shape}")
    return plane


def grid_to_map(grid: PlaneGrid) -> Map:
    """A PlaneGrid as a map."""
    return {
        "axis": grid.axis,
        "index": int(grid.index),
        "origin_ijk": _ints(grid.origin_ijk),
        "step_x_ijk": _ints(grid.step_x_ijk),
        "step_y_ijk": _ints(grid.step_y_ijk),
        "shape": _ints(grid.shape),
        "spacing": numbers_to_list(grid.spacing),
        "orientation": None if grid.orientation is None else list(grid.orientation),
        "slice_count": int(grid.slice_count),
        "slice_spacing": float(grid.slice_spacing),
    }


def map_to_grid(value: object) -> PlaneGrid:
    """A PlaneGrid from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "grid") as fields:
        orientation = fields.maybe("orientation", fields.texts)
        grid = PlaneGrid(
            axis=fields.choice("axis", AXES),
            index=fields.integer("index"),
            origin_ijk=fields.integers("origin_ijk", 3),
            step_x_ijk=fields.integers("step_x_ijk", 3),
            step_y_ijk=fields.integers("step_y_ijk", 3),
            shape=fields.integers("shape", 2),
            spacing=fields.numbers("spacing", 2),
            orientation=_checked_orientation(orientation),
            slice_count=fields.integer("slice_count"),
            slice_spacing=fields.number("slice_spacing"),
        )
    for step in (grid.step_x_ijk, grid.step_y_ijk):
        if sorted(map(abs, step)) != [0, 0, 1]:
            raise EngineError(f"a grid step is {step}; one entry of +1 or -1 is accepted")
    return grid


def grounding_to_map(grounding: Grounding) -> Map:
    """A Grounding as a map."""
    return {
        "status": grounding.status,
        "answer": grounding.answer,
        "grid": grid_to_map(grounding.grid),
        "provenance": provenance_to_map(grounding.provenance),
        "reasoning": grounding.reasoning,
        "mask": None if grounding.mask is None else array_to_map(grounding.mask),
        "box": None if grounding.box is None else numbers_to_list(grounding.box),
        "points": points_to_list(grounding.points),
        "confidence": None if grounding.confidence is None else float(grounding.confidence),
        "structure": grounding.structure,
        "suggestions": list(grounding.suggestions),
        "checks": [check_to_map(check) for check in grounding.checks],
    }


def map_to_grounding(value: object) -> Grounding:
    """A Grounding from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "grounding") as fields:
        return fields.build(
            Grounding,
            status=fields.choice("status", get_args(Status)),
            answer=fields.text("answer"),
            grid=map_to_grid(fields.take("grid")),
            provenance=map_to_provenance(fields.take("provenance")),
            reasoning=fields.text("reasoning"),
            mask=fields.maybe("mask", lambda field: fields.array(field, np.bool_, 2)),
            box=fields.maybe("box", lambda field: fields.numbers(field, 4)),
            points=fields.maybe("points", lambda field: fields.points(field, 2)),
            confidence=fields.maybe("confidence", fields.number),
            structure=fields.text("structure"),
            suggestions=fields.texts("suggestions"),
            checks=tuple(map_to_check(item) for item in fields.maps("checks")),
        )


def check_to_map(check: Check) -> Map:
    """A Check as a map."""
    return {"name": check.name, "passed": bool(check.passed), "words": check.words}


def map_to_check(value: object) -> Check:
    """A Check from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "check") as fields:
        return Check(name=fields.text("name"), passed=fields.flag("passed"), words=fields.text("words"))


def provenance_to_map(provenance: Provenance) -> Map:
    """A Provenance as a map."""
    return {
        "model": provenance.model,
        "weights_sha256": provenance.weights_sha256,
        "seconds": seconds_to_map(provenance.seconds),
        "templated": bool(provenance.templated),
        "evidence": provenance.evidence,
        "segmenter": provenance.segmenter,
        "window": None if provenance.window is None else numbers_to_list(provenance.window),
        "notes": list(provenance.notes),
    }


def map_to_provenance(value: object) -> Provenance:
    """A Provenance from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "provenance") as fields:
        return Provenance(
            model=fields.text("model"),
            weights_sha256=fields.text("weights_sha256"),
            seconds=map_to_seconds(fields.take("seconds")),
            templated=fields.flag("templated"),
            evidence=fields.text("evidence"),
            segmenter=fields.text("segmenter"),
            window=fields.maybe("window", lambda field: fields.numbers(field, 2)),
            notes=fields.texts("notes"),
        )


def seconds_to_map(seconds: Seconds) -> Map:
    """Seconds as a map."""
    return {
        "load": float(seconds.load),
        "reason": float(seconds.reason),
        "segment": float(seconds.segment),
    }


def map_to_seconds(value: object) -> Seconds:
    """Seconds from their map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "seconds") as fields:
        return Seconds(
            load=fields.number("load"), reason=fields.number("reason"), segment=fields.number("segment")
        )


def points_to_list(points: Sequence[Point] | None) -> list[list[float]] | None:
    """Points (x, y) as a list of lists, None as None."""
    return None if points is None else [numbers_to_list(point) for point in points]


def numbers_to_list(values: Sequence[float]) -> list[float]:
    """Plain floats, whatever number type came in."""
    return [float(value) for value in values]


def _ints(values: Sequence[int]) -> list[int]:
    return [int(value) for value in values]


def _checked_orientation(letters: tuple[str, ...] | None) -> tuple[str, str] | None:
    if letters is None:
        return None
    if len(letters) != 2 or not set(letters) <= set("LRAPSI"):
        raise EngineError(f"grid.orientation is {letters!r:.40}; two of L, R, A, P, S, I are accepted")
    return letters[0], letters[1]
