"""Answers to and from layer data: masks, boxes and key points on one slice of a study's display array."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import AXES, Box, PlaneGrid, Point
from napari_medreason.layers.study import METADATA_KEY, DisplayedPlane, LayerDataTuple, StudyRef, slice_index

DRAWN_KEY = "drawn_mask"
"""Under which the note in an answer's layers keeps its DrawnMask."""


@dataclass(frozen=True)
class AnswerLabel:
    """How an answer is named and coloured in the viewer; colour is (red, green, blue), 0 to 1."""

    id: str
    question: str
    name: str
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class DrawnMask:
    """A mask as a model drew it on one slice of layer data, to tell whether it was painted on since.

    shape: of the layer data; index: of the slice in it; sha256: of the labels there.
    """

    shape: tuple[int, ...]
    index: tuple[int | slice, ...]
    sha256: str

    def is_still(self, labels: NDArray[Any]) -> bool:
        """Whether layer data hold this mask and nothing else."""
        if labels.shape != self.shape or _labels_sha256(labels[self.index]) != self.sha256:
            return False
        return bool(np.count_nonzero(labels) == np.count_nonzero(labels[self.index]))


def _labels_sha256(labels: NDArray[Any]) -> str:
    return sha256(labels.astype(np.int64).tobytes()).hexdigest()


def to_data(points_plane: NDArray[np.float64], study: StudyRef, displayed: DisplayedPlane) -> NDArray[Any]:
    """Map (n, 2) plane points (x, y) to (n, layer_ndim) points in layer data coordinates."""
    rows_columns = np.asarray(points_plane, dtype=np.float64)[:, ::-1]
    if study.layer_ndim == 2:
        return rows_columns
    fixed = AXES.index(displayed.axis)
    spatial = np.insert(rows_columns, fixed, study.display_index(displayed.axis, displayed.index), axis=1)
    frames = np.full((len(spatial), study.layer_ndim - 3), displayed.frame or 0)
    return np.hstack([frames, spatial])


def to_plane(points_data: NDArray[Any], study: StudyRef, displayed: DisplayedPlane) -> NDArray[np.float64]:
    """Map (n, layer_ndim) points in layer data coordinates to (n, 2) plane points (x, y)."""
    spatial = np.asarray(points_data, dtype=np.float64).reshape(-1, study.layer_ndim)
    if study.layer_ndim > 2:
        spatial = np.delete(spatial[:, -3:], AXES.index(displayed.axis), axis=1)
    return spatial[:, ::-1]


def on_slice(points_data: NDArray[Any], study: StudyRef, displayed: DisplayedPlane) -> NDArray[np.bool_]:
    """Which of (n, layer_ndim) points in layer data coordinates lie on the slice, and frame, of a plane."""
    points = np.asarray(points_data, dtype=np.float64).reshape(-1, study.layer_ndim)
    if study.layer_ndim == 2:
        return np.ones(len(points), dtype=np.bool_)
    wanted = to_data(np.zeros((1, 2)), study, displayed)[0]
    fixed = [*range(study.layer_ndim - 3), study.layer_ndim - 3 + AXES.index(displayed.axis)]
    return np.asarray((np.rint(points[:, fixed]) == wanted[fixed]).all(axis=1))


def rectangle(box: Box, study: StudyRef, displayed: DisplayedPlane) -> NDArray[Any]:
    """The four corners of a half-open box in layer data coordinates, on the outer pixel edges."""
    x0, y0, x1, y1 = (edge - 0.5 for edge in box)
    return to_data(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), study, displayed)


def box_of(
    corners: NDArray[Any], study: StudyRef, displayed: DisplayedPlane, *, shape: tuple[int, int]
) -> Box | None:
    """The half-open box around drawn corners, clipped to the plane of (rows, columns).

    None outside the plane, and for a box drawn on another slice.
    """
    if not on_slice(corners, study, displayed).all():
        return None
    edges = to_plane(corners, study, displayed) + 0.5
    x0, y0 = np.maximum(edges.min(axis=0), 0.0)
    x1, y1 = np.minimum(edges.max(axis=0), (shape[1], shape[0]))
    return (float(x0), float(y0), float(x1), float(y1)) if x1 > x0 and y1 > y0 else None


def points_of(
    points_data: NDArray[Any], study: StudyRef, displayed: DisplayedPlane, *, shape: tuple[int, int]
) -> tuple[Point, ...]:
    """The plane points (x, y) of a points layer, moved onto the plane's pixels where they lie outside.

    Points on other slices are left out.
    """
    points_data = np.asarray(points_data, dtype=np.float64).reshape(-1, study.layer_ndim)
    points_data = points_data[on_slice(points_data, study, displayed)]
    inside = np.clip(to_plane(points_data, study, displayed), 0, (shape[1] - 1, shape[0] - 1))
    return tuple((float(x), float(y)) for x, y in inside)


def shown_grid(grid: PlaneGrid, frame: int | None) -> DisplayedPlane:
    """The displayed plane of an answer's grid."""
    return DisplayedPlane(grid.axis, grid.index, frame)


def answer_layers(
    grounding: Grounding,
    study: StudyRef,
    label: AnswerLabel,
    *,
    image_shape: tuple[int, ...],
    frame: int | None,
    transform: Mapping[str, Any],
) -> list[LayerDataTuple]:
    """Mask, box and key points of an answer as labels, shapes and points layers; none when not found.

    transform: scale, translate, units and so on of the image layer, used unchanged.
    """
    if grounding.mask is None or grounding.box is None or grounding.points is None:
        return []
    displayed = shown_grid(grounding.grid, frame)
    masks = np.zeros(image_shape, dtype=np.uint8)
    index = slice_index(study, displayed)
    masks[index] = grounding.mask
    features = _features(grounding, label)
    drawn = DrawnMask(masks.shape, index, _labels_sha256(masks[index]))
    common = {**transform, "metadata": _metadata(grounding, study, label, drawn)}
    box = rectangle(grounding.box, study, displayed)
    points = to_data(np.array(grounding.points), study, displayed)
    pixels = max(grounding.grid.shape)
    return [
        (masks, common | _mask_style(label), "labels"),
        ([box], common | _box_style(grounding, label, features, pixels), "shapes"),
        (points, common | _point_style(label, features, pixels), "points"),
    ]


def mask_note(*, segmenter: str, weights_sha256: str, corrected: bool) -> dict[str, Any]:
    """What the metadata of an answer's layers say about the mask as it is now."""
    return {"segmenter": segmenter, "weights_sha256": weights_sha256, "corrected": corrected}


def _metadata(grounding: Grounding, study: StudyRef, label: AnswerLabel, drawn: DrawnMask) -> dict[str, Any]:
    return {
        METADATA_KEY: {
            "study": study,
            "answer_id": label.id,
            "question": label.question,
            "answer": grounding.answer,
            "reasoning": grounding.reasoning,
            "label_names": {1: grounding.structure} if grounding.structure else {},
            "provenance": asdict(grounding.provenance),
            "mask": mask_note(
                segmenter=grounding.provenance.segmenter or grounding.provenance.model,
                weights_sha256=grounding.provenance.weights_sha256,
                corrected=False,
            ),
            DRAWN_KEY: drawn,
        }
    }


def _features(grounding: Grounding, label: AnswerLabel) -> dict[str, Any]:
    confidence = np.nan if grounding.confidence is None else grounding.confidence
    return {
        "answer_id": label.id,
        "structure": grounding.structure,
        "answer": grounding.answer,
        "confidence": confidence,
        "plane": f"{grounding.grid.axis} {grounding.grid.index}",
        "model": grounding.provenance.model,
    }


def _mask_style(label: AnswerLabel) -> dict[str, Any]:
    clear = (0.0, 0.0, 0.0, 0.0)
    return {
        "name": f"{label.name}: mask",
        # None: labels that the user paints beside 1
        "colormap": {None: (*label.colour, 1.0), 0: clear, 1: (*label.colour, 1.0)},
        "opacity": 0.4,
    }


def _box_style(
    grounding: Grounding, label: AnswerLabel, features: dict[str, Any], pixels: int
) -> dict[str, Any]:
    return {
        "name": f"{label.name}: box",
        "shape_type": "rectangle",
        "edge_color": [(*label.colour, 1.0)],
        "face_color": [(0.0, 0.0, 0.0, 0.0)],
        "edge_width": max(0.5, pixels / 300),
        "opacity": 1.0,
        "features": {key: [value] for key, value in {**features, "label": short_answer(grounding)}.items()},
        "text": {
            "string": "{label}",
            "anchor": "upper_left",
            "size": 11,
            "color": (*label.colour, 1.0),
        },
    }


def _point_style(label: AnswerLabel, features: dict[str, Any], pixels: int) -> dict[str, Any]:
    return {
        "name": f"{label.name}: key points",
        "face_color": [(*label.colour, 1.0)] * 2,
        "border_color": "white",
        "border_width": 0.2,
        "size": max(2.0, pixels / 50),
        "features": {key: [value, value] for key, value in features.items()} | {"number": [1, 2]},
    }


def short_answer(grounding: Grounding) -> str:
    """The words drawn beside the box: the first clause of the answer, in at most two short lines.

    "is seen on this axial slice" is left out: the box shows it, and boxes are often close together.
    """
    clause = re.split(r"[.,;:](?:\s|$)", grounding.answer.strip(), maxsplit=1)[0]
    clause = re.sub(r" (?:is|are) seen on this (?:\w+ )?slice$", "", clause)
    return "\n".join(textwrap.wrap(clause, width=26, max_lines=2, placeholder=" …"))
