"""The answer form of MedReasoner: a think block, then an answer block with a box and two points.

    <think>…</think><answer>{"bbox": [x0, y0, x1, y1], "points_1": [x, y], "points_2": [x, y]}</answer>

Seg-Zero's form is the same; models trained for referring expressions give a box only (`parse_boxes`).
Numbers are absolute pixels of the image that the model was shown. The box is inclusive: (x0, y0) is
its first pixel and (x1, y1) its last, unlike the half-open boxes of `core.plane`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from napari_medreason.core.plane import Box, Point
from napari_medreason.errors import AnswerFormatError

_KEYS = ("bbox", "points_1", "points_2")
_TOLERANT_FIELD = re.compile(r"""(["'])(bbox|points_1|points_2)\1\s*:\s*(\[[^\[\]{}]*\])""")
_NUMBER_LIST = re.compile(r"\[[^\[\]{}]*\]")
_ACCEPTED = (
    'accepted is <answer>{"bbox": [x0, y0, x1, y1], "points_1": [x, y], "points_2": [x, y]}</answer>; '
    "ask again in other words, or choose another model"
)
_ACCEPTED_BOX = (
    'accepted is <answer>[{"bbox_2d": [x0, y0, x1, y1]}]</answer>; ask again in other words, or choose '
    "another model"
)


@dataclass(frozen=True)
class ParsedAnswer:
    """What a model wrote, in pixels of the image it was shown.

    think: its reasoning, "" when it gave none. box: inclusive (x0, y0, x1, y1), ordered. points: two
    (x, y). At least one of box and points is given. notes: what was missing or put right.
    """

    think: str
    box: Box | None
    points: tuple[Point, Point] | None
    notes: tuple[str, ...] = ()


def parse_answer(text: str) -> ParsedAnswer:
    """Read the first usable answer block; blocks after the think block come before those inside it.

    Keys and texts may be in single or double quotes. AnswerFormatError when no block is usable: none
    there, no braces, neither box nor points, or values that are not finite numbers.
    """
    return _first_usable(text, _fields, _ACCEPTED)


def parse_boxes(text: str) -> ParsedAnswer:
    """Read the first box of an answer block that holds boxes only, whatever their keys and nesting.

    Such as `[{"bbox_2d": [x0, y0, x1, y1], "label": "…"}]`, the form of VLM-R1 and of Qwen2.5-VL's own
    detection training. AnswerFormatError as for `parse_answer`.
    """
    return _first_usable(text, _box_fields, _ACCEPTED_BOX)


def _first_usable(text: str, read: Callable[[str], dict[str, Any]], accepted: str) -> ParsedAnswer:
    think, rest, earlier = _split_think(text)
    reason = "no <answer> block"
    for block in (*_blocks(rest), *_blocks(earlier)):
        try:
            fields = read(block)
            parsed = _checked(think, fields)
            return replace(parsed, notes=(*fields.get("notes", ()), *parsed.notes))
        except ValueError as error:
            reason = str(error)
    raise AnswerFormatError(f"the model's text has no usable answer ({reason}); {accepted}")


def fit_to_image(parsed: ParsedAnswer, width: int, height: int) -> ParsedAnswer:
    """Clip box and points to the pixels of a width x height image, with a note when that moved them.

    AnswerFormatError when the box lies wholly outside the image.
    """
    box, points, notes = parsed.box, parsed.points, list(parsed.notes)
    if box is not None:
        if box[2] < 0 or box[3] < 0 or box[0] > width - 1 or box[1] > height - 1:
            raise AnswerFormatError(
                f"the model's box {_numbers(box)} lies outside its {width} x {height} image; {_ACCEPTED}"
            )
        box = (*_clipped(box[:2], width, height), *_clipped(box[2:], width, height))
    if points is not None:
        points = _clipped(points[0], width, height), _clipped(points[1], width, height)
    if box != parsed.box:
        notes.append(f"the box reached outside the image and was cut from {_numbers(parsed.box or ())}")
    if points != parsed.points:
        notes.append("a key point outside the image was moved to its border")
    return replace(parsed, box=box, points=points, notes=tuple(notes))


def format_answer(think: str, box: Box, points: tuple[Point, Point]) -> str:
    """Write a reasoning, an inclusive box and two points in the form that `parse_answer` reads.

    ValueError when the reasoning holds one of the four tags or a number is not finite.
    """
    if re.search(r"</?(think|answer)>", think, re.IGNORECASE):
        raise ValueError("the reasoning may not hold think or answer tags")
    fields = dict(zip(_KEYS, (box, *points), strict=True))
    whole = {key: [_short(value) for value in values] for key, values in fields.items()}
    return f"<think>{think}</think><answer>{json.dumps(whole, allow_nan=False)}</answer>"


def _split_think(text: str) -> tuple[str, str, str]:
    """The reasoning, the text after its block, and the text before that end."""
    lower = _folded(text)
    start = lower.find("<think>")
    if start < 0:
        return "", text, ""
    content = start + len("<think>")
    end = lower.find("</think>", content)
    if end < 0:
        return "", text, ""
    return text[content:end].strip(), text[end:], text[:end]


def _blocks(text: str) -> Iterator[str]:
    """Contents of the answer blocks, in order; a missing end tag ends at the text's end."""
    lower = _folded(text)
    start = lower.find("<answer>")
    while start >= 0:
        content = start + len("<answer>")
        following = lower.find("<answer>", content)
        until = following if following >= 0 else len(text)
        end = lower.find("</answer>", content, until)
        yield text[content : end if end >= 0 else until]
        start = following


def _folded(text: str) -> str:
    """Lower case for ASCII only, so that every character keeps its place."""
    return re.sub("[A-Z]+", lambda letters: letters[0].lower(), text)


def _fields(block: str) -> dict[str, Any]:
    """The block's three keys; strict JSON first, then lists behind quoted keys, whatever the rest is."""
    start = block.find("{")
    if start < 0 or "}" not in block[start:]:
        raise ValueError("an answer block without braces")
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(block, start)
    except (json.JSONDecodeError, RecursionError):
        value = _tolerant_fields(block[start:])
    return {key: value.get(key) for key in _KEYS}


def _box_fields(block: str) -> dict[str, Any]:
    """The first list of four numbers in the block as its box."""
    boxes = [values for values in map(_number_list, _NUMBER_LIST.findall(block)) if len(values) == 4]
    if not boxes:
        raise ValueError("no list of four numbers")
    several = [f"the model gave {len(boxes)} boxes, of which the first is used"] if len(boxes) > 1 else []
    return {"bbox": boxes[0], "points_1": None, "points_2": None, "notes": several}


def _number_list(text: str) -> list[Any]:
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        return []
    return values if isinstance(values, list) else []


def _tolerant_fields(block: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for _, key, content in _TOLERANT_FIELD.findall(block):
        try:
            numbers = json.loads(content, parse_constant=_no_constant)
        except json.JSONDecodeError:
            raise ValueError(f"{key} is not a list of numbers") from None
        if fields.setdefault(key, numbers) != numbers:
            raise ValueError(f"an answer block that gives {key} twice")
    return fields


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} among the coordinates")


def _checked(think: str, fields: dict[str, Any]) -> ParsedAnswer:
    box, box_notes = _ordered(_coordinates("bbox", fields["bbox"], 4))
    points = _pair(*(_coordinates(key, fields[key], 2) for key in _KEYS[1:]))
    if box is None and points is None:
        raise ValueError("an answer block without a box and without two points")
    return ParsedAnswer(think, box, points, (*box_notes, *_notes(box, points)))


def _ordered(corners: tuple[float, ...] | None) -> tuple[Box | None, tuple[str, ...]]:
    if corners is None:
        return None, ()
    x0, y0, x1, y1 = corners
    box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if box == corners:
        return box, ()
    return box, (f"the corners of the box were given in another order, {_numbers(corners)}",)


def _pair(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> tuple[Point, Point] | None:
    if first is None or second is None:
        return None
    return (first[0], first[1]), (second[0], second[1])


def _notes(box: Box | None, points: tuple[Point, Point] | None) -> Iterator[str]:
    if box is None:
        yield "the model gave no box"
    if points is None:
        yield "the model gave no pair of key points"
        return
    if box is not None and not all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in points):
        yield "a key point lies outside the box"
    if points[0] == points[1]:
        yield "both key points are the same"


def _coordinates(key: str, values: Any, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, None when the key is missing or null; ValueError for anything else."""
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{key} is not a list of {count} numbers")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ValueError(f"{key} holds something else than numbers")
    try:
        numbers = tuple(float(value) for value in values)
    except OverflowError:
        raise ValueError(f"{key} holds a number that is too large") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{key} holds a number that is not finite")
    return numbers


def _clipped(point: tuple[float, ...], width: int, height: int) -> Point:
    return min(max(point[0], 0.0), width - 1.0), min(max(point[1], 0.0), height - 1.0)


def _short(value: float) -> float | int:
    return int(value) if math.isfinite(value) and value == int(value) else value


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
