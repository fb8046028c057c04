"""Rewards of MedReasoner's reinforcement learning, with every constant (med_grounding.py).

A prediction is the text `<think>…</think><answer>{"bbox": …, "points_1": …, "points_2": …}</answer>` with
inclusive pixels of the image that the model was shown (840 x 840); the truth is the JSON text
`{"bbox_2d": […], "point_2d": [[…], […]]}`. Each overlap is multiplied by how plausible the answer is: do
the true points lie inside the box, is the box of about the right size, do the points lie inside the true
box and apart from each other.

`sound=True` corrects what is wrong in the released rewards: numbers that are not finite, booleans and
boxes without area are malformed (released: NaN makes the whole reward NaN, and a box without area is
still paid); pDice is a true Dice of the two circles (released: twice the intersection over the union,
which reaches 2); an answer with apostrophes in its texts is read; a truth without points loses only
the terms of the points.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .rewards_base import UNREADABLE, score_base

Variant = Literal["soft", "hard", "base", "base_as_released"]
KEYS = ("bbox", "points_1", "points_2")
LEAST_SPREAD = 10.0
"""Two points that are this far apart, in pixels of the model's image, or nearer, count as one place."""

_NOTHING = (0.0,) * 5
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def score(
    prediction: str, ground_truth: str, variant: Variant = "soft", *, sound: bool = False
) -> dict[str, float]:
    """All terms of the reward, and their plain sum as "score".

    "soft": format, box IoU, circles (at most 4). "hard": also alignment, scale and angle (at most 8).
    "base": five terms of 0 or 1; "base_as_released": the same with the released fault that the two box
    terms are always 0. `sound` changes "soft" and "hard" only. ValueError for another variant or a
    truth that is not JSON.
    """
    if variant not in get_args(Variant):
        raise ValueError(f"variant {variant!r} is not known; use {', '.join(get_args(Variant))}")
    if variant in ("base", "base_as_released"):
        return score_base(prediction, ground_truth, as_released=variant == "base_as_released")
    return _grounding(prediction, json.loads(ground_truth), _Rules(variant == "hard", sound))


@dataclass(frozen=True)
class _Rules:
    hard: bool
    sound: bool


def _grounding(prediction: str, truth: Any, rules: _Rules) -> dict[str, float]:
    think, block = _THINK.search(prediction), _ANSWER.search(prediction)
    fields = None if block is None else _json(block[1].strip(), sound=rules.sound)
    box = _box_terms(fields, truth, rules)
    points = _points_terms(fields, truth, rules)
    terms = {
        "format_think": 0.0 if think is None else 1.0 if think[1].strip() else 0.2,
        "format_seg": 0.0 if block is None else _format_of_answer(fields, rules),
        "bbox_iou": box[0],
        "points_dice": points[0],
        "bbox_align": box[1],
        "bbox_scale": box[2],
        "points_align": points[1],
        "points_angle": points[2],
    }
    plausible = dict(zip(("bbox_position_valid", "bbox_area_valid"), box[3:], strict=True))
    plausible |= dict(zip(("points_position_valid", "points_spread_valid"), points[3:], strict=True))
    return {"score": sum(terms.values()), **terms, **plausible}


def _json(text: str, *, sound: bool) -> Any:
    """The JSON value, None for none; the prompt's own example has single quotes."""
    for attempt in (text, text.replace("'", '"')) if sound else (text.replace("'", '"'),):
        try:
            return json.loads(attempt)
        except (ValueError, RecursionError):
            continue
    return None


def _format_of_answer(fields: Any, rules: _Rules) -> float:
    if not isinstance(fields, dict):
        return 0.2
    if not all(key in fields for key in KEYS):
        return 0.4
    box = _is_box(fields["bbox"], rules)
    points = all(_are_numbers(fields[key], 2, rules) for key in KEYS[1:])
    return {0: 0.4, 1: 0.6, 2: 1.0}[box + points]


def _are_numbers(values: Any, count: int, rules: _Rules) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    if not all(isinstance(value, int | float) for value in values):
        return False
    return not rules.sound or all(
        not isinstance(value, bool) and abs(value) < math.inf for value in values
    )  # NaN compares false


def _is_box(values: Any, rules: _Rules) -> bool:
    if not _are_numbers(values, 4, rules):
        return False
    return not rules.sound or (values[0] < values[2] and values[1] < values[3])


def _box_terms(fields: Any, truth: Any, rules: _Rules) -> tuple[float, ...]:
    """IoU, alignment, scale, and the two plausibilities (position, area); all 0 for a malformed box."""
    try:
        box, true_box, true_points = fields.get("bbox"), truth["bbox_2d"], truth.get("point_2d", [])
        if not _is_box(box, rules):
            return _NOTHING
        if rules.sound and len(true_points) < 2:
            position = 1.0
        else:
            position = _inside(true_points[0], box) * _inside(true_points[1], box)
        area = _area(box)
        plausible = (position, 1.0 if 0.5 * _area(true_box) < area < 2 * _area(true_box) else 0.5)
        overlap = _weighed(_logarithmic(_box_iou(box, true_box)), plausible)
        if not rules.hard:
            return overlap, 0.0, 0.0, *plausible
        away = sum(abs(one - other) for one, other in zip(box, true_box, strict=False)) / 4
        align = _weighed(_exponential(_share_of_diagonal(away, true_box), 1.0), plausible)
        scale = _weighed(_exponential(min(_scale_distance(box, true_box), 1.0), 0.5), plausible)
        return overlap, align, scale, *plausible
    except UNREADABLE:
        return _NOTHING


def _points_terms(fields: Any, truth: Any, rules: _Rules) -> tuple[float, ...]:
    """Circles, alignment, angle, and the two plausibilities (position, spread); 0 for malformed points."""
    try:
        pair, true_pair, true_box = (
            (fields.get("points_1"), fields.get("points_2")),
            truth.get("point_2d", []),
            truth["bbox_2d"],
        )
        if not all(_are_numbers(point, 2, rules) for point in pair):
            return _NOTHING
        apart = math.dist(*pair) > LEAST_SPREAD
        plausible = (_inside(pair[0], true_box) * _inside(pair[1], true_box), 1.0 if apart else 0.5)
        circles = _weighed(_logarithmic(_circles(pair, true_pair, sound=rules.sound)), plausible)
        if not rules.hard:
            return circles, 0.0, 0.0, *plausible
        away = _share_of_diagonal(_pair_distance(pair, true_pair), true_box)
        align = _weighed(_exponential(away, 1.0), plausible)
        angle = _weighed(_logarithmic(_cosine(pair, true_pair)), plausible)
        return circles, align, angle, *plausible
    except UNREADABLE:
        return _NOTHING


def _weighed(reward: float, plausible: tuple[float, float]) -> float:
    """0.7 of a reward for sure, 0.3 as far as it is plausible; 0 to 1, four decimals."""
    reward = 0.7 * reward + (1 - 0.7) * reward * (sum(plausible) / 2)
    return round(min(max(reward, 0.0), 1.0), 4)


def _logarithmic(value: float) -> float:
    """0.1 at 0, 1 at 1, steep at the start."""
    return math.log(3.0 * value + 1) / math.log(4.0) * 0.9 + 0.1


def _exponential(distance: float, center: float) -> float:
    """1 at 0, 0.1 at 2, a falling logistic curve around `center`."""
    near, far, here = (1 / (1 + math.exp(3.0 * (at - center))) for at in (0, 2, distance))
    return (here - far) / (near - far + 1e-8) * 0.9 + 0.1


def _inside(point: Sequence[float], box: Sequence[float]) -> float:
    return 1.0 if box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3] else 0.5


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    wide = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    return wide * high / (_area(first) + _area(second) - wide * high + 1e-5)


def _share_of_diagonal(distance: float, box: Sequence[float]) -> float:
    diagonal = math.sqrt((box[2] - box[0]) ** 2 + (box[3] - box[1]) ** 2)
    return max(min(distance / (diagonal + 1e-5), 2.0), 0.0)


def _scale_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Distance of areas and of aspect ratios, both as logarithms."""
    (wide, high), (true_wide, true_high) = ((b[2] - b[0], b[3] - b[1]) for b in (first, second))
    area = math.log((wide * high + 1e-6) / (true_wide * true_high + 1e-6))
    aspect = math.log((wide / high + 1e-6) / (true_wide / true_high + 1e-6))
    return math.sqrt(area**2 + aspect**2)


def _circles(first: Sequence[Any], second: Sequence[Any], *, sound: bool) -> float:
    """Overlap of the circles that have the pairs as diameters; radii and union are kept from 0."""
    (middle, radius), (true_middle, true_radius) = (
        (
            ((pair[0][0] + pair[1][0]) / 2, (pair[0][1] + pair[1][1]) / 2),
            math.dist(pair[0], pair[1]) / 2 + 1e-5,
        )
        for pair in (first, second)
    )
    common = _common_area(radius, true_radius, math.dist(middle, true_middle))
    areas = math.pi * radius**2 + math.pi * true_radius**2
    return 2 * common / areas if sound else 2 * common / (areas - common + 1e-5)


def _common_area(one: float, other: float, distance: float) -> float:
    """Lens of two circles; touching and enclosing are decided with a margin of 1e-5."""
    if distance >= one + other - 1e-5:
        return 0.0
    if distance <= abs(one - other) + 1e-5:
        return math.pi * min(one, other) ** 2
    cosines = (
        (distance * distance + a * a - b * b) / (2 * distance * a) for a, b in ((one, other), (other, one))
    )
    angles = [math.acos(max(-1.0, min(1.0, cosine))) for cosine in cosines]
    product = (one + other - distance) * (distance + one - other)
    product *= (distance - one + other) * (distance + one + other)
    return one * one * angles[0] + other * other * angles[1] - 0.5 * math.sqrt(max(0.0, product))


def _pair_distance(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Mean of the four absolute differences under the better pairing."""

    def away(one: Sequence[float], other: Sequence[float]) -> float:
        return (abs(one[0] - other[0]) + abs(one[1] - other[1])) / 2

    straight = away(first[0], second[0]) + away(first[1], second[1])
    crossed = away(first[0], second[1]) + away(first[1], second[0])
    return min(straight, crossed) / 2


def _cosine(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Absolute cosine of the angle between the lines through the pairs."""
    one, other = ((pair[1][0] - pair[0][0], pair[1][1] - pair[0][1]) for pair in (first, second))
    lengths = (math.hypot(*one) + 1e-8) * (math.hypot(*other) + 1e-8)
    return float(abs((one[0] * other[0] + one[1] * other[1]) / lengths))
