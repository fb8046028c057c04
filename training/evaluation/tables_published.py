"""The tables of the three papers in their layouts: as published, and sound figures in the row below.

Published figures have no intervals, since the papers give none. Numbers stand as shares here, so 0.567 is
what MediSee and MedReasoner print as 56.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum

import numpy as np

from .figures import by_group, mean_of_groups
from .scores import RecordScore
from .tables import Scores, Table, plain

AS_PUBLISHED, SOUND = "as published", "sound"


def published_tables(scores: Scores) -> list[Table]:
    """All tables of the three papers."""
    return [
        prs_med_masks(scores),
        prs_med_words(scores),
        medisee(scores),
        medreasoner(scores),
        medreasoner_categories(scores),
    ]


def prs_med_masks(scores: Scores) -> Table:
    """Means of Dice and IoU for each source and for all: over 256 thresholds as the code, and at 0.5."""
    kinds = {AS_PUBLISHED: ("prs_med_dice", "prs_med_iou"), "sound, at 0.5": ("dice", "iou")}
    note = (
        "mDice / mIoU. As published: means over the 256 thresholds of each image's probabilities, stretched "
        "from 0 to 1; a threshold without a common pixel scores 0. Where a model gives no probabilities, its "
        "mask stands at 255 thresholds and the whole image at the last. The last column is the unweighted "
        "mean over sources."
    )
    columns, rows = _by_group(scores, "source", kinds, _mean_of_sources)
    return Table("prs_med_masks", "PRS-Med: masks", (*columns, "mean"), rows, note)


def prs_med_words(scores: Scores) -> Table:
    """ROUGE-1 and METEOR of each source and of all."""
    kinds = {AS_PUBLISHED: ("prs_med_rouge", "prs_med_meteor"), SOUND: ("rouge_1", "meteor")}
    note = (
        "ROUGE-1 (F-measure, stemmed) / METEOR against the record's answer; the released code compares with "
        "the column `position` of its files, which records don't have. As published: answers without words "
        "are left out; sound: they score 0. The last column is the unweighted mean over sources."
    )
    columns, rows = _by_group(scores, "source", kinds, _mean_of_sources)
    return Table("prs_med_words", "PRS-Med: words", (*columns, "mean"), rows, note)


def medisee(scores: Scores) -> Table:
    """Dice, gIoU, cIoU of masks, IoU and accuracy of boxes, for each split and length of question."""
    rows = []
    for model, own in scores.items():
        groups = {
            f"{split}, {length}": some
            for split, of_split in by_group(own, "split").items()
            for length, some in by_group(of_split, "length").items()
        }
        for name, some in {**groups, "all": own}.items():
            rows.append((model, AS_PUBLISHED, name, *_medisee_published(some)))
            rows.append((model, SOUND, name, *_medisee_sound(some)))
    note = (
        "As published: the constants of the released validation, whose meters divide by the count + "
        "0.00001, and whose true boxes end at the index of their last pixel, one too early. "
        "Boxes are the proposed ones where the model tells them, else those of the mask."
    )
    columns = ("model", "figures", "records", "Dice", "gIoU", "cIoU", "box IoU", "box Acc@0.5")
    return Table("medisee", "MediSee", columns, tuple(rows), note)


def medreasoner(scores: Scores) -> Table:
    """IoU, pDice, Dice and the number of refusals."""
    rows = []
    for model, own in scores.items():
        failed = sum(score.values["medreasoner_refused"] for score in own)
        refused = sum(score.values["refused"] for score in own)
        rows.append((model, AS_PUBLISHED, *map(plain, _medreasoner_published(own)), f"{failed:.0f}"))
        rows.append((model, SOUND, *map(plain, _medreasoner_sound(own)), f"{refused:.0f}"))
    note = (
        "As published: pDice is twice the common area of the circles over their union and reaches 2; "
        "whatever can't be scored counts as refused, also an answer that the structure is not there. Sound: "
        "pDice is a true Dice; refused are texts without a usable answer."
    )
    columns = ("model", "figures", "IoU", "pDice", "Dice", "refused")
    return Table("medreasoner", "MedReasoner", columns, tuple(rows), note)


def medreasoner_categories(scores: Scores) -> Table:
    """IoU, pDice and Dice of each super-category."""
    kinds = {
        AS_PUBLISHED: ("medreasoner_iou", "medreasoner_pdice", "medreasoner_dice"),
        SOUND: ("box_iou", "points_dice", "dice"),
    }
    note = "IoU of boxes / pDice / Dice of masks, as in the table before."
    columns, rows = _by_group(scores, "super_category", kinds, _average)
    return Table("medreasoner_categories", "MedReasoner: super-categories", (*columns, "all"), rows, note)


def _by_group(
    scores: Scores,
    group: str,
    kinds: Mapping[str, tuple[str, ...]],
    overall: Callable[[Sequence[RecordScore], str], float | None],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns but for the last one, and rows: the scores of each kind, of each group and of all records."""
    names = by_group(next(iter(scores.values())), group)
    rows = []
    for model, own in scores.items():
        grouped = by_group(own, group)
        for kind, keys in kinds.items():
            cells = [" / ".join(plain(_average(grouped[name], key)) for key in keys) for name in names]
            rows.append((model, kind, *cells, " / ".join(plain(overall(own, key)) for key in keys)))
    return ("model", "figures", *names), tuple(rows)


def _mean_of_sources(scores: Sequence[RecordScore], key: str) -> float | None:
    return mean_of_groups(scores, key, "source")


def _average(scores: Iterable[RecordScore], key: str) -> float | None:
    values = [score.values[key] for score in scores if key in score.values]
    return float(np.mean(values)) if values else None


def _sum(scores: Iterable[RecordScore], key: str) -> float:
    return fsum(score.values[key] for score in scores)


def _medisee_published(own: Sequence[RecordScore]) -> tuple[str, ...]:
    count = len(own) + 1e-5
    values = (
        _sum(own, "medisee_dice") / count,
        _sum(own, "medisee_iou") / count,
        _sum(own, "common") / (_sum(own, "union") + 1e-10),
        _sum(own, "medisee_box_iou") / count,
        _sum(own, "medisee_box_right") / count,
    )
    return tuple(map(plain, values))


def _medisee_sound(own: Sequence[RecordScore]) -> tuple[str, ...]:
    union = _sum(own, "union")
    values = [_average(own, key) for key in ("dice", "iou", "box_iou", "box_right")]
    values.insert(2, _sum(own, "common") / union if union else 1.0)
    return tuple(map(plain, values))


def _medreasoner_published(own: Sequence[RecordScore]) -> list[float | None]:
    return [_average(own, f"medreasoner_{key}") for key in ("iou", "pdice", "dice")]


def _medreasoner_sound(own: Sequence[RecordScore]) -> list[float | None]:
    return [_average(own, key) for key in ("box_iou", "points_dice", "dice")]
