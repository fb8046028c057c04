"""Ways in which models write places in a picture, and the pixels of the picture that they mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal, get_args

from napari_medreason.core.answer_text import ParsedAnswer
from napari_medreason.core.plane import Box, Point
from napari_medreason.errors import ModelUnavailableError

Coordinates = Literal["pixels", "thousandths", "fractions"]
"""pixels: of the square that is shown, boxes inclusive. thousandths, fractions: of its sides, from edge to
edge, 0 to 1000 and 0 to 1."""

_EXAMPLE_BOX, _EXAMPLE_POINTS = (212, 388, 301, 506), ((246, 421), (268, 472))
_EXAMPLE_SIZE = 840


def checked_coordinates(value: str) -> Coordinates:
    """The value if it is known; ModelUnavailableError lists the known ones."""
    for known in get_args(Coordinates):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ModelUnavailableError(
        f"coordinates {value!r} are not known; accepted: {', '.join(get_args(Coordinates))}"
    )


def unit(coordinates: Coordinates, size: int) -> int:
    """The number that stands for the far edge of a square of `size` pixels."""
    return {"pixels": size, "thousandths": 1000, "fractions": 1}[coordinates]


def in_words(coordinates: Coordinates, size: int, *, sized: bool) -> str:
    """For a prompt: what the numbers mean. sized: say how large the square is."""
    if coordinates == "pixels":
        return "in pixels of the image" + (f", which is {size} x {size} pixels" if sized else "")
    if coordinates == "thousandths":
        return "in thousandths of the image's width and height, whole numbers from 0 to 1000"
    return "as fractions of the image's width and height, from 0 to 1"


def example(coordinates: Coordinates, size: int, *, keys: tuple[str, ...]) -> str:
    """For a prompt: an answer's JSON with these keys, the first for the box, the others for the points."""

    def numbers(values: tuple[int, ...]) -> list[float]:
        scaled = [value / _EXAMPLE_SIZE * unit(coordinates, size) for value in values]
        return [round(value, 3) if coordinates == "fractions" else round(value) for value in scaled]

    places = (_EXAMPLE_BOX, *_EXAMPLE_POINTS)
    return json.dumps({key: numbers(place) for key, place in zip(keys, places, strict=False)})


def to_pixels(parsed: ParsedAnswer, coordinates: Coordinates, size: int) -> ParsedAnswer:
    """An answer with its box in inclusive pixels and its points in pixels of a square of `size`."""
    if coordinates == "pixels":
        return parsed
    scale = size / unit(coordinates, size)
    box, points = None, None
    if parsed.box is not None:
        box = _inclusive(parsed.box, scale)
    if parsed.points is not None:
        first, second = parsed.points
        points = _centre(first, scale), _centre(second, scale)
    return replace(parsed, box=box, points=points)


def _inclusive(box: Box, scale: float) -> Box:
    """Edges as the first and the last pixel; a box without extent stays one pixel."""
    x0, y0, x1, y1 = (value * scale for value in box)
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _centre(point: Point, scale: float) -> Point:
    return point[0] * scale - 0.5, point[1] * scale - 0.5
