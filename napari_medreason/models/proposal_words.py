"""What is said about a Reasoner's proposal and about the mask that a Segmenter drew from it."""

from __future__ import annotations

from napari_medreason.core.answer_words import noun_phrase
from napari_medreason.core.plane import Box
from napari_medreason.core.question import Question
from napari_medreason.models.base import Reasoning

LOW_AGREEMENT = 0.3
"""Overlap (intersection over union) of proposed box and mask's box under which a note says so."""
NOT_A_FINDING = "This says nothing about whether {structure} is on this slice."


def answer_words(question: Question, reasoning: Reasoning, *, emptied: bool) -> str:
    """The short answer, true of the mask that is shown; emptied: the Segmenter drew no pixel."""
    drawn = has_hints(question)
    if emptied:
        place = "from your box or points" if drawn else "at the place that the model proposed"
        structure = noun_phrase(reasoning.structure)[0] or "what was asked for"
        doubt = NOT_A_FINDING.format(structure=structure)
        return f"No mask could be drawn {place}. {doubt} Draw another box, or ask in other words."
    if drawn and reasoning.status == "found":
        return (
            "The mask is drawn from your box or points. "
            f"The model's own words are about the place that it proposed: {reasoning.answer}"
        )
    return reasoning.answer


def proposal_notes(question: Question, reasoning: Reasoning, mask_box: Box | None) -> tuple[str, ...]:
    """The proposal, and how the mask came from it; mask_box: None when there is no mask."""
    notes = []
    if reasoning.box is not None:
        notes.append(f"proposed box: {_rounded(reasoning.box)}")
    if reasoning.points is not None:
        notes.append("proposed points: " + ", ".join(_rounded(point) for point in reasoning.points))
    drawing = _hints_note(question, reasoning, mask_box) or _agreement_note(reasoning, mask_box)
    return (*notes, drawing) if drawing else tuple(notes)


def has_hints(question: Question) -> bool:
    """Whether the user drew a box or points."""
    return question.box is not None or bool(question.points)


def _hints_note(question: Question, reasoning: Reasoning, mask_box: Box | None) -> str:
    if not has_hints(question):
        return ""
    if reasoning.status != "found":
        return "the box or points that the user drew were not used, since the reasoner found nothing"
    if mask_box is None:
        return "the segmenter found no pixel from the box or points that the user drew"
    return "segmented from the box or points that the user drew"


def _agreement_note(reasoning: Reasoning, mask_box: Box | None) -> str:
    if reasoning.status != "found":
        return ""
    if mask_box is None:
        return "the segmenter found no pixel at the proposed place"
    if reasoning.box is not None and _overlap(mask_box, reasoning.box) < LOW_AGREEMENT:
        return "low agreement: the mask and the proposed box overlap little, please check"
    return ""


def _overlap(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def _rounded(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.1f}" for value in values) + "]"
