"""What tuning has changed of what an expert knew before, on images that tuning never used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Plane
from napari_medreason.models.embedded.looking import look
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason.models.embedded.segmenter import EmbeddedSegmenter

from .evaluation_cases import Case, real_cases, synthesised_cases

LEAST_PIXELS = 30
"""A structure with fewer in a plane is not prompted for."""
PROMPTED_EVERY = 4
"""Of the planes, so many times fewer are prompted on, since each of their structures takes a pass."""

Pair = tuple[float, float]


def elsewhere(adapter: Path, expert_id: str, data: Path) -> dict[str, Any]:
    """Dice of what the expert knew before and after, by name and from prompts, on real and made images.

    By name, each structure's pixels are pooled over the slices of a case, then structures are averaged;
    from prompts (box and key points of the label), structures of planes are averaged. `worst` is the
    structure that lost most. Differences are in points (hundredths of Dice).
    """
    before, after = Perceiver(), Perceiver()
    after.put_on(adapter)
    groups: dict[str, list[Case]] = {
        "real": [case for case in real_cases(data, ()) if case.expert == expert_id],
        "made": _some([case for case in synthesised_cases(data) if case.expert == expert_id]),
    }
    figures: dict[str, Any] = {}
    for name, cases in groups.items():
        if cases:
            named = [_named(case, before, after) for case in cases]
            prompted = [_prompted(case, before, after) for case in cases]
            figures |= {name: kept(named), f"{name}, prompted": kept(prompted)}
    return figures


def _some(cases: Sequence[Case]) -> list[Case]:
    """At most three, of different numbers, so that this ends soon."""
    return list(cases[:: max(1, len(cases) // 3)][:3])


def _named(case: Case, before: Perceiver, after: Perceiver) -> dict[str, Pair]:
    """Structure to its Dice before and after."""
    counts: dict[str, NDArray[np.float64]] = {}
    for plane, masks in _planes(case, before, 2 if case.origin == "real" else 1):
        for side, perceiver in enumerate((before, after)):
            expert = next(expert for expert in perceiver.experts if expert.id == case.expert)
            seen = perceiver.perceive(plane, expert)
            for name, truth in masks.items():
                found = look(seen, plane, name, "").mask
                both = 0 if found is None else int((found & truth).sum())
                total = int(truth.sum()) + (0 if found is None else int(found.sum()))
                counts.setdefault(name, np.zeros((2, 2)))[side] += (2 * both, total)
    return {
        name: (own[0, 0] / own[0, 1], own[1, 0] / own[1, 1])
        for name, own in counts.items()
        if own[0, 1] > 0 and own[1, 1] > 0
    }


def _prompted(case: Case, before: Perceiver, after: Perceiver) -> dict[str, Pair]:
    """Structure to its mean Dice before and after, drawn from the box and key points of its label."""
    dice: dict[str, list[Pair]] = {}
    segmenters = [EmbeddedSegmenter(perceiver) for perceiver in (before, after)]
    for plane, masks in _planes(case, before, PROMPTED_EVERY):
        seen = [segmenter.embed(plane) for segmenter in segmenters]
        for name, truth in masks.items():
            box = mask_box(truth)
            if truth.sum() < LEAST_PIXELS or box is None:
                continue
            points = key_points(truth)
            first, second = (
                _dice(segmenter.segment(one, box=box, points=points).best, truth)
                for segmenter, one in zip(segmenters, seen, strict=True)
            )
            dice.setdefault(name, []).append((first, second))
    return {name: _mean(pairs) for name, pairs in dice.items()}


def _planes(
    case: Case, perceiver: Perceiver, every: int
) -> Iterator[tuple[Plane, dict[str, NDArray[np.bool_]]]]:
    """Every so many of the planes, with the mask of each structure that the expert knew."""
    expert = next(expert for expert in perceiver.experts if expert.id == case.expert)
    names = sorted(set(case.members) & set(expert.structures))
    for number, (plane, labels) in enumerate(case.planes()):
        if number % every == 0:
            yield plane, {name: np.isin(labels, list(case.members[name])) for name in names}


def _dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def _mean(pairs: Sequence[Pair]) -> Pair:
    before, after = np.mean(pairs, axis=0)
    return float(before), float(after)


def kept(cases: Sequence[Mapping[str, Pair]]) -> dict[str, Any]:
    """Means over the structures of all cases, their difference, and the structure that lost most."""
    values = np.array([pair for case in cases for pair in case.values()])
    names = [name for case in cases for name in case]
    points = 100 * (values[:, 1] - values[:, 0])
    worst = int(points.argmin())
    return {
        "before": round(float(values[:, 0].mean()), 4),
        "after": round(float(values[:, 1].mean()), 4),
        "points": round(float(points.mean()), 2),
        "worst": {"structure": names[worst], "points": round(float(points[worst]), 2)},
        "structures": len(names),
        "images": len(cases),
    }
