"""What one answer scores against its record: plain numbers by name, sound and as the papers publish them.

A name begins with the paper where a score is made as its released code makes it ("prs_med", "medisee",
"medreasoner"); the others are sound. A score that does not apply is left out; an answer without a mask, box
or points scores 0 there, but for prs_med_dice and prs_med_iou, whose last threshold takes the whole image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.answer_text import format_answer
from napari_medreason.core.metrics import MaskOverlap, mask_overlap, stretched, threshold_curves
from napari_medreason.core.plane import Box
from napari_medreason.core.record import Record
from napari_medreason.core.released_answers import ReleasedScore, released_score

from ..data.released_u_mrg import SIZE, ground_truth, written_box
from ..measures import box_iou, circle_overlap
from ..metrics_medisee import ACCURATE_IOU, released_dice, released_iou
from ..metrics_text import text_scores
from .predictions import Answer
from .words import meteor, place_named

Values = dict[str, float]
_ROUNDING = 1e-4
"""Grey values that were whole numbers stay so, although 32-bit fractions of 255 are not exact."""


@dataclass(frozen=True)
class RecordScore:
    """One model's answer to one record, scored. groups: what the record belongs to, by kind of group."""

    model: str
    record: str
    patient: str
    status: str
    values: Mapping[str, float]
    groups: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def record_score(model: str, record: Record, answer: Answer, *, words: bool = True) -> RecordScore:
    """All scores of an answer; without those of its words unless `words`."""
    true = record.mask
    overlap = mask_overlap(answer.mask, true)
    values = _mask_scores(overlap) | _curve_scores(answer, true) | _place_scores(record, answer)
    values |= _medreasoner_scores(record, answer, overlap)
    if words:
        values |= _word_scores(record, answer)
    status = answer.prediction.status
    values |= {"refused": float(status == "refused"), "not_found": float(status not in ("found", "refused"))}
    if answer.prediction.seconds is not None:
        values["seconds"] = answer.prediction.seconds
    clean = {name: value if isfinite(value) else 0.0 for name, value in values.items()}
    return RecordScore(
        model, record.id, record.patient, status, clean, groups_of(record), answer.prediction.reason
    )


def groups_of(record: Record) -> dict[str, str]:
    """What a record is counted under."""
    return {
        "source": record.source,
        "super_category": record.super_category or "(none)",
        "modality": record.image.modality or "(unknown)",
        "structure": record.structure or record.label,
        "split": record.split,
        "length": record.length or "any",
    }


def score_line(score: RecordScore) -> str:
    """One JSON line without its end, numbers with six digits."""
    table: dict[str, Any] = {
        "model": score.model,
        "record": score.record,
        "patient": score.patient,
        "status": score.status,
        **score.groups,
        "values": {name: round(value, 6) for name, value in score.values.items()},
    }
    if score.reason:
        table["reason"] = score.reason
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _mask_scores(overlap: MaskOverlap) -> Values:
    return {
        "dice": overlap.dice,
        "iou": overlap.iou,
        "common": overlap.common,
        "union": overlap.union,
        "medisee_iou": released_iou(overlap),
        "medisee_dice": released_dice(overlap),
    }


def _curve_scores(answer: Answer, true: NDArray[np.bool_]) -> Values:
    """Dice and IoU over 256 thresholds; a mask without probabilities is 0 outside and 1 inside.

    Without either the sound ones are 0. As released, each image's probabilities are stretched from 0 to 1
    and kept in 8 bits.
    """
    given = answer.probability
    probability = answer.mask.astype(np.float32) if given is None else given
    sound = threshold_curves(probability, true)
    kept = np.floor(stretched(probability) * 255 + _ROUNDING) / 255
    released = threshold_curves(kept, true, empty_as_released=True)
    given_any = given is not None or bool(answer.mask.any())
    return {
        "dice_256": sound.mean_dice if given_any else 0.0,
        "iou_256": sound.mean_iou if given_any else 0.0,
        "prs_med_dice": released.mean_dice,
        "prs_med_iou": released.mean_iou,
    }


def _place_scores(record: Record, answer: Answer) -> Values:
    """Overlap of boxes, and of the circles that have the key points as diameters."""
    values = _box_scores("", answer.box, record.box_plane)
    values |= _box_scores("medisee_", answer.box, _medisee_truth(record.box_plane))
    circles = None if answer.points is None else circle_overlap(answer.points, record.key_points_plane)
    values["points_dice"] = 0.0 if circles is None else circles.dice
    values["points_iou"] = 0.0 if circles is None else circles.iou
    return values


def _box_scores(prefix: str, found: Box | None, true: Box) -> Values:
    overlap = box_iou(found, true) if found is not None else 0.0
    return {f"{prefix}box_iou": overlap, f"{prefix}box_right": float(overlap > ACCURATE_IOU)}


def _medisee_truth(box: Box) -> Box:
    """As released, a true box ends at its last pixel's index (losses_medisee.mask_to_box)."""
    x0, y0, x1, y1 = box
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _medreasoner_scores(record: Record, answer: Answer, overlap: MaskOverlap) -> Values:
    """As `statistic.py` and `utils.py` of the released code: four digits, refusals as 0, pDice up to 2."""
    score = _released_score(record, answer)
    dice = 2 * overlap.common / (overlap.found + overlap.true + 1e-6)
    return {
        "medreasoner_iou": score.iou,
        "medreasoner_pdice": score.pdice,
        "medreasoner_dice": 0.0 if score.failed else round(dice, 4),
        "medreasoner_refused": float(score.failed),
    }


def _released_score(record: Record, answer: Answer) -> ReleasedScore:
    """From the model's own text where it is given, else from box and points, written down as it would."""
    if answer.prediction.written:
        return released_score(answer.prediction.written, ground_truth(record))
    if answer.box is None or answer.points is None:
        return ReleasedScore(failed=True)
    rows, columns = record.image.shape
    (ax, ay), (bx, by) = (
        (int((x + 0.5) * SIZE / columns), int((y + 0.5) * SIZE / rows)) for x, y in answer.points
    )
    box = written_box(answer.box, rows, columns)
    return released_score(format_answer("", box, ((ax, ay), (bx, by))), ground_truth(record))


def _word_scores(record: Record, answer: Answer) -> Values:
    """Against the record's answer. As PRS-Med's code, an answer without words is left out and not 0."""
    words = answer.words
    rouge, similar, place = (
        text_scores(words, record.answer),
        meteor(words, record.answer),
        place_named(words, record),
    )
    values = {
        "rouge_1": rouge.rouge_1,
        "rouge_l": rouge.rouge_l,
        "meteor": similar,
        "place_named": float(place.named),
        "place_right": float(place.right),
    }
    return values | ({"prs_med_rouge": rouge.rouge_1, "prs_med_meteor": similar} if words.strip() else {})
