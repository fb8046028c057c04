"""The plain reward of MedReasoner's ablation: five terms of 0 or 1 (med_base.py, after Seg-Zero).

As released, the two terms of the box are 0 whatever is predicted: the code strips a parsed truth as if it
were a text and swallows the fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

LEAST_IOU = 0.5
MOST_BOX_DISTANCE = 10.0
MOST_POINT_DISTANCE = 100.0
"""Distances in pixels of the model's image; IoU must be above, distances below these."""
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What arithmetic on values of a foreign JSON text can raise; the released code swallows all of it."""

_WHOLE_ANSWER = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
_BRACES = re.compile(r"\{[^}]+\}")


def score_base(prediction: str, ground_truth: str, *, as_released: bool = False) -> dict[str, float]:
    """The five terms and their sum, "score"; texts as in `rewards.score`.

    thinking: one think and one answer block, nothing around them. segment: the first braces are JSON with
    the three keys in double quotes and lists of 4, 2 and 2. iou, bbox_l1: of the boxes, pixels counted
    inclusively. points_l1: whole-numbered points inside the predicted box and near the true ones.
    """
    truth = json.loads(ground_truth)
    fields = _first_braces(prediction)
    terms = {
        "thinking": float(_WHOLE_ANSWER.fullmatch(prediction) is not None),
        "segment": _told(_has_form, fields, truth),
        "iou": 0.0 if as_released else _told(_overlaps, fields, truth),
        "bbox_l1": 0.0 if as_released else _told(_is_near, fields, truth),
        "points_l1": _told(_points_are_near, fields, truth),
    }
    return {**terms, "score": sum(terms.values())}


def _first_braces(prediction: str) -> Any:
    found = _BRACES.search(prediction)
    try:
        return json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        return None


def _told(condition: Callable[[Any, Any], bool], fields: Any, truth: Any) -> float:
    """1.0 where the condition holds; values of another kind than expected don't hold it."""
    try:
        return float(condition(fields, truth))
    except UNREADABLE:
        return 0.0


def _has_form(fields: Any, truth: Any) -> bool:
    lengths = {"bbox": 4, "points_1": 2, "points_2": 2}
    return all(isinstance(fields[key], list) and len(fields[key]) == n for key, n in lengths.items())


def _overlaps(fields: Any, truth: Any) -> bool:
    box, true_box = _box(fields), truth["bbox_2d"]
    x0, y0 = max(box[0], true_box[0]), max(box[1], true_box[1])
    x1, y1 = min(box[2], true_box[2]), min(box[3], true_box[3])
    common = (x1 - x0 + 1) * (y1 - y0 + 1) if x0 < x1 and y0 < y1 else 0
    return bool(common / (_pixels(box) + _pixels(true_box) - common) > LEAST_IOU)


def _pixels(box: Sequence[float]) -> float:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def _is_near(fields: Any, truth: Any) -> bool:
    box, true_box = _box(fields), truth["bbox_2d"]
    return bool(sum(abs(box[place] - true_box[place]) for place in range(4)) / 4 < MOST_BOX_DISTANCE)


def _points_are_near(fields: Any, truth: Any) -> bool:
    box, true_pair = _box(fields), truth.get("point_2d", [])
    pair = [(int(fields[key][0]), int(fields[key][1])) for key in ("points_1", "points_2")]
    if not all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in pair):
        return False
    straight = _distance(pair[0], true_pair[0]) + _distance(pair[1], true_pair[1])
    crossed = _distance(pair[0], true_pair[1]) + _distance(pair[1], true_pair[0])
    return bool(min(straight, crossed) / 2 < MOST_POINT_DISTANCE)


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    return math.hypot(first[0] - second[0], first[1] - second[1])


def _box(fields: Any) -> Any:
    if len(fields["bbox"]) != 4:
        raise ValueError("a box has four numbers")
    return fields["bbox"]
