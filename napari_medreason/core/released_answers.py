"""How the released MedReasoner code reads and scores an answer, so that its tables can be made again.

Differences to `core.answer_text`, which is what answers are read with in use: every apostrophe becomes a
quotation mark (which breaks texts that hold one), NaN, infinite and inverted values are accepted, any
fault at all counts as a refusal, and "pDice" is twice the intersection over the *union* of two circles,
so that 2.0 is perfect.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>\s*(\{.*?\})\s*</answer>", re.DOTALL)
_FAULTS = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class ReleasedScore:
    """What the released evaluation keeps of one sample.

    failed: counted as a refusal ("# Ref." in the paper's tables); a well-formed wrong answer is none.
    think: None when the text has no think block. box, points: as the model wrote them, in pixels of its
    image. iou, pdice: rounded to four decimals; pdice goes up to 2. Refusals stay in every mean as 0.
    """

    failed: bool
    think: str | None = None
    box: Any = None
    points: Any = None
    iou: float = 0.0
    pdice: float = 0.0


def released_score(prediction: str, ground_truth: str, *, think: bool = True) -> ReleasedScore:
    """Score a model's text against `{"bbox_2d": [...], "point_2d": [[...], [...]]}` as released.

    think: False for the direct prompt, whose think block is not looked for. Nothing is raised for any
    prediction; ValueError when the ground truth is no such JSON.
    """
    truth = json.loads(ground_truth)
    if not isinstance(truth, dict):
        raise ValueError("the ground truth is no JSON object with bbox_2d and point_2d")
    try:
        thought, box, points = _read(prediction, think=think)
        iou, pdice = box_iou(box, truth["bbox_2d"]), circle_pdice(points, truth["point_2d"])
        return ReleasedScore(False, thought, box, points, round(iou, 4), round(pdice, 4))
    except _FAULTS:
        return ReleasedScore(failed=True)


def _read(prediction: str, *, think: bool) -> tuple[str | None, Any, list[Any]]:
    thought: str | None = ""
    if think:
        found = _THINK.search(prediction)
        thought = found.group(1).strip() if found else None
    block = _ANSWER.search(prediction)
    if block is None:
        raise ValueError("no answer block")
    fields, _ = json.JSONDecoder().raw_decode(block.group(1).strip().replace("'", '"'))
    return thought, fields.get("bbox"), [fields.get("points_1"), fields.get("points_2")]


def box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two (x0, y0, x1, y1) as released: inverted boxes have negative areas."""
    ax0, ay0, ax1, ay1 = first
    bx0, by0, bx1, by1 = second
    shared = max(0, min(ax1, bx1) - max(ax0, bx0)) * max(0, min(ay1, by1) - max(ay0, by0))
    areas = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0)
    return shared / (areas - shared + 1e-6)


def circle_pdice(first: Any, second: Any) -> float:
    """The released "pDice" of two pairs of points: 2 I / U of the circles that have them as diameters."""
    (centre, radius), (other, other_radius) = _circle(np.array(first)), _circle(np.array(second))
    distance = float(np.linalg.norm([centre[0] - other[0], centre[1] - other[1]]))
    shared = _lens(radius, other_radius, distance)
    union = math.pi * radius**2 + math.pi * other_radius**2 - shared
    return 2 * shared / (union + 1e-5)


def _circle(pair: Any) -> tuple[tuple[float, float], float]:
    first, second = pair[0], pair[1]
    centre = ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)
    return centre, float(np.linalg.norm(first - second)) / 2


def _lens(first: float, second: float, distance: float) -> float:
    """Area that two circles share, from their radii and the distance of their centres."""
    if distance >= first + second:
        return 0.0
    if distance <= abs(first - second):
        return math.pi * min(first, second) ** 2
    sectors = 0.0
    for radius, other in ((first, second), (second, first)):
        sectors += radius**2 * math.acos((distance**2 + radius**2 - other**2) / (2 * distance * radius))
    sides = (first + second - distance, distance + first - second)
    others = (distance - first + second, distance + first + second)
    return sectors - 0.5 * math.sqrt(math.prod(sides) * math.prod(others))
