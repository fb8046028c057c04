"""From what was seen to one structure: its mask, where it lies, how sure that is, and in which words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log1p

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import leaves
from napari_medreason.core.answer_words import absent_answer, found_answer, noun_phrase, outside_answer
from napari_medreason.core.grounding import Status
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import Plane
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.masks import (
    SMALLEST_AREA,
    margin,
    sagittal_side,
    side_share,
    without_specks,
)
from napari_medreason.models.embedded.perception import Perception
from napari_medreason.models.embedded.together import doubts_about, is_that_region

NEAR_MIDLINE = "this sagittal slice is near the middle of the study, so left and right can't be told"
HIDDEN = "the structure is hidden under the display window; widen the window to see it"
NO_EVIDENCE = "not measured on a patient that was kept out of training"
FROM_HINTS = "the mask was drawn from the box or points that the user gave"
HINTS_EMPTY = "nothing could be drawn from the box or points; this is what was found without them"
UNSURE = 0.45
"""What a doubt about the whole image leaves of the confidence: never half of it."""
NOT_THERE = -10.0
"""Margin of a pixel that surely isn't part of the structure."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the embedded model says about one question.

    mask: (rows, columns) bool in the plane's own pixels, None unless the status is "found".
    side: the patient's side that was looked on, "" for any. told_side: the one that the words tell,
    "both" or "". understood: how the question was taken.
    doubts: what is doubtful about the mask. The other fields are as in core.grounding.Grounding.
    """

    status: Status
    words: str
    structure: str = ""
    mask: NDArray[np.bool_] | None = None
    confidence: float | None = None
    evidence: str = ""
    understood: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    side: str = ""
    told_side: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """How the question was taken, then the doubts."""
        return *self.understood, *self.doubts


@dataclass(frozen=True, eq=False)
class Target:
    """One structure or group that is looked for on a plane.

    side: the patient's side that was asked for, "" for any and for what has no sides. values: (rows,
    columns) plane pixels, above 0 where the structure is seen. presence: chance that it is in the slice.
    """

    structure: str
    paired: bool
    side: str
    values: NDArray[np.float32]
    presence: float
    doubts: tuple[str, ...]


def look(seen: Perception, plane: Plane, structure: str, side: str) -> Answer:
    """Look for one structure or group; side: the patient's "left" or "right", or "" for any."""
    if seen.fitness.refused:
        return Answer("outside", refused_words(seen), structure)
    target = _target(seen, plane, structure, side)
    if not shows_region(seen):
        return Answer("outside", outside_answer(structure, side=target.side), structure, doubts=target.doubts)
    mask = _clean_mask(seen, target.values)
    if mask is None or target.presence < 0.5:
        return _not_found(seen, plane, target)
    return _found(seen, plane, target, mask, told_side=target.side, drawn=False)


def redrawn(seen: Perception, plane: Plane, found: Answer, mask: NDArray[np.bool_]) -> Answer:
    """The answer for a mask that was drawn from the user's box or points; `found` if nothing was drawn.

    Words, place and side are those of the drawn mask; the confidence says how far the model takes it
    for the structure.
    """
    if not mask.any():
        return replace(found, doubts=(*found.doubts, HINTS_EMPTY))
    target = _target(seen, plane, found.structure, found.side)
    drawn = _found(seen, plane, target, mask, told_side="", drawn=True)
    doubts = (FROM_HINTS, *drawn.doubts)
    if _mean_probability(target.values[mask]) < 0.5:
        words, _ = noun_phrase(found.structure, target.side)
        doubts = (*doubts, f"the model does not take what is in the box or at the points for {words}")
    return replace(drawn, understood=found.understood, doubts=doubts)


def refused_words(seen: Perception) -> str:
    """Why nothing was looked for on a plane that does not look like the expert's kind of image."""
    return f"Nothing was looked for on this image: {seen.fitness.refused}."


def shows_region(seen: Perception) -> bool:
    """Whether what is seen makes the slice one of the expert's body part."""
    return is_that_region(seen.expert.region, areas_seen(seen), seen.fitness.body_mm2)


def areas_seen(seen: Perception) -> dict[str, float]:
    """Structures that are in the slice, with the area of each in mm2."""
    pixel, known = seen.expert.pixel_mm**2, seen.expert.structures
    return {name: float(seen.areas[known.index(name)]) * pixel for name in structures_seen(seen)}


def structures_seen(seen: Perception) -> tuple[str, ...]:
    """Ids of the structures that are in the slice, in the order of the expert."""
    return tuple(name for name in seen.expert.structures if presence(seen, name) >= 0.5)


def presence(seen: Perception, structure: str) -> float:
    """Chance that the structure is in the slice, 0 to 1; calibrated (see the model card)."""
    index = seen.expert.structures.index(structure)
    bias, per_logit, per_area = seen.expert.presence[structure]
    odds = bias + per_logit * float(seen.presence[index]) + per_area * log1p(float(seen.areas[index]))
    return 1 / (1 + exp(-odds))


def evidence_line(expert: Expert, structure: str) -> str:
    """What was measured about a structure, or that nothing was."""
    return expert.evidence.get(structure, f"{structure.replace('_', ' ')}: {NO_EVIDENCE}")


def _target(seen: Perception, plane: Plane, structure: str, side: str) -> Target:
    members = leaves(structure)
    values = margin(seen, members)
    paired = all(member in seen.expert.paired for member in members)
    doubts: tuple[str, ...] = ()
    if side and paired:
        values, doubts = _on_side(seen, plane, values, side)
    native = seen.frame.map_to_plane(values, fill=NOT_THERE)
    chance = max(presence(seen, member) for member in members)
    return Target(structure, paired, side if paired else "", native, chance, doubts)


def _on_side(
    seen: Perception, plane: Plane, values: NDArray[np.float32], side: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Margins lowered where a pixel lies on the other side of the patient."""
    if plane.grid.axis != "sagittal":
        return np.minimum(values, side_share(seen, side)), ()
    here = sagittal_side(plane)
    if not here:
        return values, (NEAR_MIDLINE,)
    return (values if here == side else np.full_like(values, NOT_THERE)), ()


def _clean_mask(seen: Perception, values: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Where the values are above 0, without specks; None when there is too little of it."""
    smallest = SMALLEST_AREA / (seen.frame.scale[0] * seen.frame.scale[1])
    mask = without_specks(values > 0, smallest)
    return mask if mask.sum() >= smallest and mask.any() else None


def _found(
    seen: Perception,
    plane: Plane,
    target: Target,
    mask: NDArray[np.bool_],
    *,
    told_side: str,
    drawn: bool,
) -> Answer:
    """told_side: the side that is said without asking the mask, "" to read it from the mask.

    The confidence is the calibrated chance that the structure is in the slice; for a mask that the
    user's hints gave, times the chance that its pixels are of the structure.
    """
    unsure = _doubts_about_image(seen, plane)
    confidence = target.presence * (UNSURE if unsure else 1.0)
    if drawn:
        confidence *= _mean_probability(target.values[mask])
    position = locate(mask)
    side = _told_side(seen, plane, mask, told_side) if target.paired else ""
    words = found_answer(
        target.structure,
        axis=plane.grid.axis,
        side=side,
        position=_position_words(position.label) if position else "",
        confidence=confidence,
        experimental=seen.expert.is_experimental(target.structure),
    )
    return Answer(
        "found",
        words,
        target.structure,
        mask,
        round(confidence, 3),
        evidence_line(seen.expert, target.structure),
        doubts=(*unsure, *target.doubts, *((HIDDEN,) if _hidden(plane, mask) else ())),
        side=target.side,
        told_side=side,
    )


def _doubts_about_image(seen: Perception, plane: Plane) -> tuple[str, ...]:
    together = doubts_about(seen.expert.region, plane.grid.axis, structures_seen(seen))
    return (*seen.fitness.doubts, *together)


def _mean_probability(values: NDArray[np.float32]) -> float:
    """Mean over pixels of the chance against the next best structure."""
    return float((1 / (1 + np.exp(-values.astype(np.float64)))).mean())


def _told_side(seen: Perception, plane: Plane, mask: NDArray[np.bool_], asked: str) -> str:
    """Which side the mask is of: the one asked for, one, "both", or "" when it can't be told."""
    if plane.grid.orientation is None:
        return ""
    if plane.grid.axis == "sagittal":
        return sagittal_side(plane)
    if asked:
        return asked
    left = seen.frame.map_to_plane(side_share(seen, "left"), fill=0.0)[mask] > 0
    share = float(left.mean())
    return "both" if 0.1 <= share <= 0.9 else "left" if share > 0.5 else "right"


def _position_words(label: str) -> str:
    """Words such as "near the center" or "top left", as they follow a comma."""
    return f"{label} of the image" if label.startswith("near") else f"at the {label} of the image"


def _hidden(plane: Plane, mask: NDArray[np.bool_]) -> bool:
    """Whether nine tenths of the mask are shown as plain black or plain white."""
    inside = plane.image[mask]
    return bool(((inside <= plane.window.low) | (inside >= plane.window.high)).mean() > 0.9)


def _not_found(seen: Perception, plane: Plane, target: Target) -> Answer:
    structure, side = target.structure, target.side
    experimental = seen.expert.is_experimental(structure)
    return Answer(
        "absent",
        absent_answer(structure, axis=plane.grid.axis, side=side, experimental=experimental),
        structure,
        evidence=evidence_line(seen.expert, structure),
        doubts=target.doubts,
        side=side,
    )
