"""What a model wrote about its square, as Reasoning about the plane."""

from __future__ import annotations

import re

from napari_medreason.core.answer_text import ParsedAnswer, fit_to_image
from napari_medreason.core.plane import Box, Point
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import AnswerFormatError
from napari_medreason.models.base import Reasoning
from napari_medreason.models.reasoners.coordinates import Coordinates, to_pixels
from napari_medreason.models.reasoners.forms import AnswerForm


def read_text(
    text: str, frame: ModelFrame, *, form: AnswerForm, coordinates: Coordinates, cut_at: int | None = None
) -> Reasoning:
    """A model's whole text as Reasoning in the plane; AnswerFormatError when it holds no usable answer.

    cut_at: the number of tokens at which the text was cut off, None when it came to its own end.
    """
    size = frame.model_shape[0]
    try:
        parsed = to_pixels(form.parse(text), coordinates, size)
    except AnswerFormatError as error:
        if cut_at is None:
            raise
        raise AnswerFormatError(
            f"the model's text has no usable answer, it was cut at {cut_at} tokens; raise max_new_tokens, or "
            "ask for a direct answer"
        ) from error
    return reasoning_in_plane(fit_to_image(parsed, size, size), frame)


def reasoning_in_plane(parsed: ParsedAnswer, frame: ModelFrame) -> Reasoning:
    """An answer in inclusive pixels of the model's square as Reasoning in the plane.

    AnswerFormatError when the box lies in the black margin beside the plane.
    """
    notes = list(parsed.notes)
    box, points = None, None
    if parsed.box is not None:
        x0, y0, x1, y1 = parsed.box
        box = _cut_box(frame.box_to_plane((x0, y0, x1 + 1, y1 + 1)), frame.plane_shape)
    if parsed.points is not None:
        first, second = (frame.point_to_plane(point) for point in parsed.points)
        points = _into_plane(first, frame.plane_shape), _into_plane(second, frame.plane_shape)
        if any(_is_beside(point, frame.plane_shape) for point in (first, second)):
            notes.append("a key point beside the image was moved to its border")
    return Reasoning(
        "found", _last_sentence(parsed.think), parsed.think, box=box, points=points, notes=tuple(notes)
    )


def _cut_box(box: Box, shape: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], shape[1]), min(box[3], shape[0])
    if x0 >= x1 or y0 >= y1:
        raise AnswerFormatError(
            "the model's box lies beside the image, in the margin that made it square; ask again in "
            "other words, or choose another model"
        )
    return x0, y0, x1, y1


def _is_beside(point: Point, shape: tuple[int, int]) -> bool:
    """Whether a point lies beyond the outer edges of the outermost pixels."""
    return not (-0.5 <= point[0] <= shape[1] - 0.5 and -0.5 <= point[1] <= shape[0] - 0.5)


def _into_plane(point: Point, shape: tuple[int, int]) -> Point:
    return min(max(point[0], 0.0), shape[1] - 1.0), min(max(point[1], 0.0), shape[0] - 1.0)


def _last_sentence(think: str) -> str:
    """MedReasoner's reasoning ends by naming what was found (U-MRG, question and answer prompt)."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", think.strip()) if part]
    return sentences[-1][:300] if sentences else "Here is the region that fits the question."
