"""From a question and what was seen to an answer: which structure on which side, or why none.

The words come from templates (`core.answer_words`) and are marked as such wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_medreason.core.anatomy import is_known, structures
from napari_medreason.core.answer_words import noun_phrase, unknown_answer
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.core.question_side import side_words, without_false_sides
from napari_medreason.core.question_text import Understood, understand
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.looking import (
    Answer,
    look,
    refused_words,
    shows_region,
    structures_seen,
)
from napari_medreason.models.embedded.perception import Perceiver, Perception

__all__ = ["Answer", "answer", "look"]

SIDE_UNKNOWN = "left and right can't be told on this image, so both sides were looked for"
IMAGE_AS_PATIENT = "the side was taken as the side of the image, the other side of the patient"
SIDE_OF_SAGITTAL = (
    "left and right of a sagittal image are front and back of the patient, so both sides were looked for"
)
_OTHER_SIDE = {"left": "right", "right": "left"}


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
    notes = (*_how_understood(understood), *notes, *_side_not_used(question.text, understood))
    return replace(look(seen, plane, understood.structure, side), understood=notes)


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
            return Answer("unknown", words, structure, understood=_how_understood(understood))
    near = understood.suggestions or tuple(_names(expert.structures))
    asked = structures()[structure].name if structure else ""
    return Answer("unknown", unknown_answer(asked, near), structure, suggestions=near)


def _overview(seen: Perception, plane: Plane) -> Answer:
    """No structure was named: which ones are in the slice, largest first."""
    if seen.fitness.refused:
        return Answer("outside", refused_words(seen))
    order, known = structures_seen(seen), seen.expert.structures
    there = tuple(_names(sorted(order, key=lambda name: -seen.areas[known.index(name)])))
    axis = plane.grid.axis
    if not shows_region(seen):
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
    if understood.side_of == "image" and plane.grid.axis == "sagittal":
        return "", (SIDE_OF_SAGITTAL,)
    if understood.side_of == "image":
        return _OTHER_SIDE[side], (IMAGE_AS_PATIENT,)
    return side, ()


def _side_not_used(text: str, understood: Understood) -> tuple[str, ...]:
    """A note when a side was named for what has no left and right one, such as "the left liver"."""
    item = structures()[understood.structure]
    if item.paired or item.is_finding or understood.located_by or not understood.matched:
        return ()
    plain = without_false_sides(" ".join(text.lower().replace("\u2019", "'").split()))
    start = plain.find(understood.matched)
    name = [(start, start + len(understood.matched))] if start >= 0 else []
    sides = {word.side for word in side_words(plain, name)} & {"left", "right"}
    if len(sides) != 1 or understood.how not in ("name", "synonym", "spelling"):
        return ()
    phrase, _ = noun_phrase(understood.structure)
    return (f"{phrase} has no left and right one here, so “{sides.pop()}” was not used",)
