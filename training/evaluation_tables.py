"""From the scores of slices to tables: per structure, kind of image and plane, and in all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from .measures import expected_calibration_error, f1, interval_by_patient, reliability
from .slice_scores import Overlap, SliceScore

WAYS = ("direct", "pair", "prompted", "prior", "generated", "held_out")
Row = dict[str, Any]


def rows(scores: Sequence[SliceScore]) -> list[Row]:
    """Figures per kind of image, structure and plane; axis "all" for the planes together."""
    groups: dict[tuple[str, str, str], list[SliceScore]] = defaultdict(list)
    for score in scores:
        for axis in (score.axis, "all"):
            groups[score.case.name, score.structure, axis].append(score)
    return [figures(group) | {"axis": axis} for (_, _, axis), group in groups.items()]


def figures(scores: Sequence[SliceScore]) -> Row:
    """Figures of one structure: Dice pooled per patient, then the mean over patients.

    Slices without the structure count for Dice (false alarms) and presence; slices with only a few
    pixels of it do not count for presence.
    """
    by_patient = _by_patient(scores)
    row = _title(scores) | _presence(scores) | _places(scores)
    for way in WAYS:
        values = {name: value for name, own in by_patient.items() if (value := _dice(own, way)) is not None}
        row[f"dice_{way}"] = _rounded(np.mean(list(values.values()))) if values else None
        if way == "direct":
            row["interval"] = interval_by_patient({name: [value] for name, value in values.items()})
    return row


def _title(scores: Sequence[SliceScore]) -> Row:
    case = scores[0].case
    return {
        "images": case.name,
        "origin": case.origin,
        "expert": case.expert,
        "kind": case.kind,
        "labels": case.labels_by,
        "structure": scores[0].structure,
        "patients": len({score.case.patient for score in scores if score.there}),
    }


def _presence(scores: Sequence[SliceScore]) -> Row:
    judged = [score for score in scores if score.there is not None]
    there = np.array([bool(score.there) for score in judged], dtype=bool)
    told = np.array([score.told for score in judged], dtype=bool)
    return {
        "slices": int(there.sum()),
        "slices_without": int((~there).sum()),
        "sensitivity": _rounded(told[there].mean()) if there.any() else None,
        "specificity": _rounded(1 - told[~there].mean()) if (~there).any() else None,
        "presence_f1": _rounded(f1(there, told)),
    }


def _places(scores: Sequence[SliceScore]) -> Row:
    """Mean overlap of boxes and key points over the slices where the structure was found."""
    result: Row = {}
    for name in ("box_iou", "circle_iou", "circle_dice"):
        values = [value for score in scores if (value := getattr(score, name)) is not None]
        result[name] = _rounded(np.mean(values)) if values else None
    return result


def _by_patient(scores: Sequence[SliceScore]) -> dict[str, list[SliceScore]]:
    result: dict[str, list[SliceScore]] = defaultdict(list)
    for score in scores:
        result[score.case.patient].append(score)
    return result


def _dice(scores: Sequence[SliceScore], way: str) -> float | None:
    """Dice pooled over slices; None where the structure never is (false alarms have no Dice)."""
    overlaps = [score.masks[way] for score in scores if way in score.masks]
    true = sum(part.true for part in overlaps)
    if not true:
        return None
    return 2 * sum(part.both for part in overlaps) / (true + sum(part.predicted for part in overlaps))


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)


def summary(scores: Sequence[SliceScore]) -> list[Row]:
    """Per kind of image: mean over structures, presence, calibration of the presence."""
    groups: dict[str, list[SliceScore]] = defaultdict(list)
    for score in scores:
        if score.chance is not None:
            groups[score.case.name].append(score)
    return [_summary_of(name, group) for name, group in groups.items()]


def _summary_of(name: str, scores: Sequence[SliceScore]) -> Row:
    by_structure: dict[str, list[SliceScore]] = defaultdict(list)
    for score in scores:
        by_structure[score.structure].append(score)
    table = [figures(group) for group in by_structure.values()]
    judged = [score for score in scores if score.there is not None and score.chance is not None]
    chance = np.array([score.chance for score in judged], dtype=float)
    there = np.array([bool(score.there) for score in judged])
    told = np.array([score.told for score in judged])
    result: Row = {"images": name, "origin": scores[0].case.origin, "structures": len(table)}
    result["presence_f1"] = _rounded(f1(there, told))
    result["calibration_error"] = _rounded(expected_calibration_error(chance, there))
    result["reliability"] = [[row.cases, round(row.confidence, 3), round(row.observed, 3)] for row in
                             reliability(chance, there)]  # fmt: skip
    keys = [*(f"dice_{way}" for way in WAYS), "box_iou", "circle_iou", "circle_dice"]
    for key in keys:
        values = [row[key] for row in table if row[key] is not None]
        result[key] = _rounded(np.mean(values)) if values else None
    return result


def pooled_dice(overlaps: Sequence[Overlap]) -> float | None:
    """Dice of all pixels together, rounded; None where there are none."""
    total = sum(part.predicted + part.true for part in overlaps)
    return _rounded(2 * sum(part.both for part in overlaps) / total) if total else None
