"""An answer as plain JSON values: what `medreason ask --json` prints and exports hold.

Every box and point is in the frame of the result plane (see core.plane); `box_lps` and
`points_lps` repeat them in patient LPS mm when the orientation is known.
"""

from __future__ import annotations

from typing import Any

from napari_medreason.core.geometry import Affine, index_to_lps
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import Box, PlaneGrid, Point

Json = dict[str, Any]


def plane_json(grid: PlaneGrid) -> Json:
    """Axis, 0-based index, shape (rows, columns), directions of x and y, spacing (rows, columns) in mm."""
    return {
        "axis": grid.axis,
        "index": grid.index,
        "shape": list(grid.shape),
        "orientation": list(grid.orientation) if grid.orientation else None,
        "spacing": [round(value, 6) for value in grid.spacing],
    }


def position_json(grounding: Grounding) -> Json | None:
    """MedPos position of the mask by the paper's rule, with its area; None without a mask."""
    if grounding.mask is None:
        return None
    position = locate(grounding.mask)
    if position is None:
        return None
    area = int(grounding.mask.sum())
    row_mm, column_mm = grounding.grid.spacing
    return {
        "label": position.label,
        "near_center": position.near_center,
        "center": [float(value) for value in position.center],
        "area_px": area,
        "area_mm2": round(area * row_mm * column_mm, 2),
    }


def grounding_json(grounding: Grounding, affine: Affine) -> Json:
    """Everything about one answer but its mask array, as JSON values."""
    grid, provenance = grounding.grid, grounding.provenance
    return {
        "status": grounding.status,
        "answer": grounding.answer,
        "reasoning": grounding.reasoning,
        "present": grounding.present,
        "confidence": grounding.confidence,
        "box": [_tidy(value) for value in grounding.box] if grounding.box else None,
        "points": [[_tidy(x), _tidy(y)] for x, y in grounding.points] if grounding.points else None,
        "box_lps": _box_lps(grounding.box, grid, affine),
        "points_lps": _points_lps(grounding.points, grid, affine),
        "mask": None,
        "overlay": None,
        "position": position_json(grounding),
        "plane": plane_json(grid),
        "structure": grounding.structure or None,
        "suggestions": list(grounding.suggestions),
        "model": provenance.model,
        "weights_sha256": provenance.weights_sha256,
        "seconds": {
            "load": round(provenance.seconds.load, 4),
            "reason": round(provenance.seconds.reason, 4),
            "segment": round(provenance.seconds.segment, 4),
        },
        "templated": provenance.templated,
        "evidence": provenance.evidence,
        "window": list(provenance.window) if provenance.window else None,
        "notes": list(provenance.notes),
        "checks": [
            {"name": check.name, "passed": check.passed, "words": check.words} for check in grounding.checks
        ],
    }


def _tidy(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(float(value), 3)


def _points_lps(
    points: tuple[Point, ...] | None, grid: PlaneGrid, affine: Affine
) -> list[list[float]] | None:
    if points is None or grid.orientation is None:
        return None
    lps = index_to_lps([grid.index_ijk(point) for point in points], affine)
    return [[round(float(value), 3) for value in point] for point in lps]


def _box_lps(box: Box | None, grid: PlaneGrid, affine: Affine) -> list[list[float]] | None:
    """The two outer corners of the box, at pixel edges."""
    if box is None:
        return None
    corners = ((box[0] - 0.5, box[1] - 0.5), (box[2] - 0.5, box[3] - 0.5))
    return _points_lps(corners, grid, affine)
