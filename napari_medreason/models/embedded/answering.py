"""From a question and what was seen to an answer: status, mask, words and doubts.

The words come from templates (`core.answer_words`) and are marked as such wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log1p

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import is_known, leaves, structures
from napari_medreason.core.answer_words import (
    absent_answer,
    found_answer,
    noun_phrase,
    outside_answer,
    unknown_answer,
)
from napari_medreason.core.grounding import Status
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.core.question_text import Understood, understand
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.masks import (
    SMALLEST_AREA,
    margin,
    sagittal_side,
    side_share,
    without_specks,
)
from napari_medreason.models.embedded.perception import Perceiver, Perception

SIDE_UNKNOWN = "left and right can't be told on this image, so both sides were looked for"
NEAR_MIDLINE = "this sagittal slice is near the middle of the study, so left and right can't be told"
IMAGE_AS_PATIENT = "the side was taken as the side of the image, the other side of the patient"
HIDDEN = "the structure is hidden under the display window; widen the window to see it"
NO_EVIDENCE = "not measured on a patient that was kept out of training"
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the embedded model says about one question.

    mask: (rows, columns) bool in the plane's own pixels, None unless the status is "found".
    The other fields are as in core.grounding.Grounding.
    """

    status: Status
    words: str
    structure: str = ""
    mask: NDArray[np.bool_] | None = None
    confidence: float | None = None
    evidence: str = ""
    notes: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()


def answer(question: Question, perceiver: Perceiver) -> Answer:
    """Look for what the question asks on its plane."""
    plane = question.plane
    expert = perceiver.expert_for(plane)
    if expert is None:
        return _unreadable(question, perceiver.experts)
    understood = understand(question.text, expert.structures)
    if not understood.structure and understood.kind == "describe":
        return _overview(perceiver.perceive(plane, expert), plane)
    if not understood.known:
        return _unknown(understood, expert, perceiver)
    seen = perceiver.perceive(plane, expert)
    side, notes = _patient_side(understood, plane)
    found = look(seen, plane, understood.structure, side)
    return replace(found, notes=(*_how_understood(understood), *notes, *found.notes))


def _unreadable(question: Question, experts: Sequence[Expert]) -> Answer:
    plane = question.plane
    known = [name for expert in experts for name in expert.structures]
    structure = understand(question.text, known).structure
    accepted = " and ".join(f"{expert.modality} of the {expert.region}" for expert in experts)
    what = f"its modality is {plane.modality or 'not known'}"
    if not plane.calibrated:
        what = "it is a picture without calibrated grey values and pixel size"
    words = f"Nothing was looked for on this image: {what}. This model reads {accepted}."
    return Answer("outside", words, structure)


def _unknown(understood: Understood, expert: Expert, perceiver: Perceiver) -> Answer:
    """Not a structure of this expert; says so when another expert knows it."""
    structure = understood.structure
    for other in perceiver.experts:
        if other is not expert and structure and is_known(structure, other.structures):
            phrase, plural = noun_phrase(structure)
            words = (
                f"{phrase[:1].upper()}{phrase[1:]} {'are' if plural else 'is'} known to this model on "
                f"{other.modality} of the {other.region} only; this image is {expert.modality}."
            )
            return Answer("unknown", words, structure, notes=_how_understood(understood))
    near = understood.suggestions or tuple(_names(expert.structures))
    asked = structures()[structure].name if structure else ""
    return Answer("unknown", unknown_answer(asked, near), structure, suggestions=near)


def _overview(seen: Perception, plane: Plane) -> Answer:
    """No structure was named: which ones are in the slice, largest first."""
    order = sorted(seen.expert.structures, key=lambda name: -seen.areas[seen.expert.structures.index(name)])
    there = tuple(_names([name for name in order if _presence(seen, name) >= 0.5]))
    axis = plane.grid.axis
    if not there:
        return Answer("outside", f"Nothing that this model knows is seen on this {axis} slice.")
    words = f"Which structure is meant? On this {axis} slice there may be: {', '.join(there)}."
    return Answer("unknown", words, suggestions=there)


def _names(ids: Sequence[str]) -> list[str]:
    return [structures()[id_].name for id_ in ids]


def _how_understood(understood: Understood) -> tuple[str, ...]:
    notes = []
    if understood.how not in ("name", "synonym", ""):
        name = structures()[understood.structure].name
        notes.append(f"“{understood.matched}” was understood as {name}, by its {understood.how}")
    if understood.others:
        also = ", ".join(_names(understood.others))
        notes.append(f"one structure is answered at a time; please ask again for: {also}")
    return tuple(notes)


def _patient_side(understood: Understood, plane: Plane) -> tuple[str, tuple[str, ...]]:
    """The patient's side that was asked for ("" for any), and notes about doubts."""
    side = understood.side if understood.side in _OTHER_SIDE else ""
    if not side:
        return "", ()
    if plane.grid.orientation is None:
        return "", (SIDE_UNKNOWN,)
    if understood.side_of == "image" and plane.grid.axis != "sagittal":
        return _OTHER_SIDE[side], (IMAGE_AS_PATIENT,)
    return side, ()


def look(seen: Perception, plane: Plane, structure: str, side: str) -> Answer:
    """Look for one structure or group; side: the patient's "left" or "right", or "" for any."""
    members = leaves(structure)
    values = margin(seen, members)
    notes: tuple[str, ...] = ()
    paired = all(member in seen.expert.paired for member in members)
    if side and paired:
        values, notes = _on_side(seen, plane, values, side)
    mask = _native_mask(seen, values)
    presence = max(_presence(seen, member) for member in members)
    if mask is None or presence < 0.5:
        return replace(_not_found(seen, plane, structure, side if paired else ""), notes=notes)
    told = _told_side(seen, plane, mask, side) if paired else ""
    confidence = presence * _mean_probability(values)
    position = locate(mask)
    words = found_answer(
        structure,
        axis=plane.grid.axis,
        side=told,
        position=_position_words(position.label) if position else "",
        confidence=confidence,
    )
    if _hidden(plane, mask):
        notes = (*notes, HIDDEN)
    evidence = seen.expert.evidence.get(structure, f"{structure.replace('_', ' ')}: {NO_EVIDENCE}")
    return Answer("found", words, structure, mask, round(confidence, 3), evidence, notes)


def _on_side(
    seen: Perception, plane: Plane, values: NDArray[np.float32], side: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Margins lowered where a pixel lies on the other side of the patient."""
    if plane.grid.axis != "sagittal":
        return np.minimum(values, side_share(seen, side)), ()
    here = sagittal_side(plane)
    if not here:
        return values, (NEAR_MIDLINE,)
    return (values if here == side else np.full_like(values, -10.0)), ()


def _native_mask(seen: Perception, values: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """The clean mask in the plane's own pixels; None when there is too little of it."""
    if without_specks(values > 0, SMALLEST_AREA).sum() < SMALLEST_AREA:
        return None
    native = seen.frame.map_to_plane(values, fill=-10.0) > 0
    smallest = SMALLEST_AREA / (seen.frame.scale[0] * seen.frame.scale[1])
    mask = without_specks(native, smallest)
    return mask if mask.any() else None


def _presence(seen: Perception, structure: str) -> float:
    """0 to 1, as if the structure were in every second slice; calibrated (see the model card)."""
    index = seen.expert.structures.index(structure)
    bias, per_logit, per_area = seen.expert.presence[structure]
    odds = bias + per_logit * float(seen.presence[index]) + per_area * log1p(float(seen.areas[index]))
    return 1 / (1 + exp(-odds))


def _mean_probability(values: NDArray[np.float32]) -> float:
    """Mean over the mask of the chance against the next best structure."""
    inside = values[values > 0].astype(np.float64)
    return float((1 / (1 + np.exp(-inside))).mean()) if inside.size else 0.0


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


def _not_found(seen: Perception, plane: Plane, structure: str, side: str) -> Answer:
    expert = seen.expert
    if not any(_presence(seen, name) >= 0.5 for name in expert.structures):
        return Answer("outside", outside_answer(structure, side=side), structure)
    words = absent_answer(structure, axis=plane.grid.axis, side=side)
    return Answer("absent", words, structure, evidence=expert.evidence.get(structure, ""))
