"""The tuned model beside its base on records that neither has learnt from, region by region."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.models.embedded.looking import look
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason.models.embedded.segmenter import EmbeddedSegmenter

from .measures import interval_by_patient
from .run_data import LabelledPlane, Region

WAYS = ("named", "prompted")


@dataclass(frozen=True)
class Pair:
    """One region before and after. way: "named", by its name; "prompted", from its box and key points.

    before, after: Dice in the plane's own pixels; 0 where nothing was found or the structure is unknown.
    """

    record: str
    patient: str
    structure: str
    way: str
    before: float
    after: float


def pairs(before: Perceiver, after: Perceiver, planes: Iterable[LabelledPlane]) -> list[Pair]:
    """Every region of the planes, found by both models in both ways."""
    result = []
    for labelled in planes:
        for region in labelled.regions:
            for way in WAYS:
                first, second = (_dice(perceiver, labelled, region, way) for perceiver in (before, after))
                result.append(Pair(region.record.id, labelled.patient, region.structure, way, first, second))
    return result


def _dice(perceiver: Perceiver, labelled: LabelledPlane, region: Region, way: str) -> float:
    mask = _named(perceiver, labelled, region) if way == "named" else _prompted(perceiver, labelled, region)
    if mask is None:
        return 0.0
    return float(2 * (mask & region.mask).sum() / (mask.sum() + region.mask.sum()))


def _named(perceiver: Perceiver, labelled: LabelledPlane, region: Region) -> NDArray[np.bool_] | None:
    plane = labelled.plane
    expert = perceiver.expert_for(plane)
    if expert is None or region.structure not in expert.structures:
        return None
    return look(perceiver.perceive(plane, expert), plane, region.structure, region.side).mask


def _prompted(perceiver: Perceiver, labelled: LabelledPlane, region: Region) -> NDArray[np.bool_]:
    segmenter = EmbeddedSegmenter(perceiver)
    seen = segmenter.embed(labelled.plane)
    return segmenter.segment(seen, box=mask_box(region.mask), points=key_points(region.mask)).best


def summary(found: Sequence[Pair]) -> dict[str, Any]:
    """Means of each way, and of each structure by name: patients first, then their mean.

    interval: 95 % bootstrap of the gain over patients; with one patient over slices, which is too narrow
    to speak for other patients, and `resampled` says so.
    """
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in found:
        groups[pair.way].append(pair)
        if pair.way == "named":
            groups[f"named {pair.structure}"].append(pair)
    return {name: _figures(own) for name, own in groups.items()}


def _figures(own: Sequence[Pair]) -> dict[str, Any]:
    gains: dict[str, list[float]] = defaultdict(list)
    sides: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for pair in own:
        gains[pair.patient].append(pair.after - pair.before)
        sides[pair.patient].append((pair.before, pair.after))
    before, after = np.mean([np.mean(values, axis=0) for values in sides.values()], axis=0)
    one = len(gains) == 1
    resampled = {str(n): [v] for n, v in enumerate(next(iter(gains.values())))} if one else gains
    interval = interval_by_patient(resampled)
    return {
        "before": round(float(before), 4),
        "after": round(float(after), 4),
        "gain": round(float(after - before), 4),
        "interval": None if interval is None else [round(value, 4) for value in interval],
        "resampled": "slices of one patient" if one else "patients",
        "better": sum(pair.after > pair.before for pair in own),
        "regions": len(own),
        "patients": len(gains),
    }


def plain(found: Sequence[Pair]) -> list[dict[str, Any]]:
    """The pairs as plain values."""
    return [asdict(pair) for pair in found]
