"""What the embedded model gets right on one image after the other, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import is_known, leaves, structures
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.models.embedded.answering import answer, look
from napari_medreason.models.embedded.looking import presence
from napari_medreason.models.embedded.perception import Perceiver, Perception
from napari_medreason.models.embedded.segmenter import EmbeddedSegmenter

from .baselines import ShapePrior
from .evaluation_cases import Case
from .losses import PRESENT_PIXELS
from .measures import box_iou, circle_overlap
from .questions import HELD_OUT, TRAINED, one_wording

GROUPS = ("brain", "cerebellum", "ventricles", "basal_ganglia")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Pixels of one mask against the truth: in both, predicted, true."""

    both: int
    predicted: int
    true: int


@dataclass(frozen=True)
class SliceScore:
    """One structure on one slice.

    there: enough of it is in the slice; None where only a few pixels are. told: the model said so.
    chance: its calibrated presence, None for groups. masks: way to a mask to its overlap: "direct",
    "pair" (box and key points of the answer to the prompt decoder), "prompted" (those of the truth),
    "prior" (the baseline without learning), and "trained" and "held_out" wordings where asked.
    box_iou, circle_iou, circle_dice: of the direct answer, None unless there and told.
    """

    case: Case
    axis: str
    structure: str
    there: bool | None
    told: bool
    chance: float | None
    masks: dict[str, Overlap]
    box_iou: float | None = None
    circle_iou: float | None = None
    circle_dice: float | None = None


def overlap(mask: Mask | None, truth: Mask) -> Overlap:
    """Counts of a (rows, columns) mask, None for an empty one, against the truth."""
    if mask is None:
        return Overlap(0, 0, int(truth.sum()))
    return Overlap(int((mask & truth).sum()), int(mask.sum()), int(truth.sum()))


def case_scores(case: Case, perceiver: Perceiver, prior: ShapePrior | None) -> Iterator[SliceScore]:
    """Scores of every labelled structure, and of groups whose parts are all labelled."""
    expert = next(expert for expert in perceiver.experts if expert.id == case.expert)
    names = [name for name in case.members if name in expert.structures]
    names += [group for group in GROUPS if group in structures() and is_known(group, names)]
    segmenter = EmbeddedSegmenter(perceiver)
    for number, (plane, labels) in enumerate(case.planes()):
        seen = perceiver.perceive(plane, expert)
        guesses = prior.masks(seen, plane) if prior else {}
        for name in names:
            values = [value for member in leaves(name) for value in case.members[member]]
            truth = np.isin(labels, values)
            scored = _SliceOf(case, plane, seen, truth, name)
            masks = {"prior": overlap(guesses.get(name), truth)} if name in guesses else {}
            if truth.any():
                masks |= _asked(scored, perceiver, number)
            yield scored.score(segmenter, masks)


def _asked(scored: _SliceOf, perceiver: Perceiver, number: int) -> dict[str, Overlap]:
    """Masks of whole questions: in a wording of the generator, and in one that was kept apart."""
    result: dict[str, Overlap] = {}
    for kind in (TRAINED, HELD_OUT):
        text = one_wording(scored.name, kind, seed=number)
        if text:
            mask = answer(Question(text, scored.plane), perceiver).mask
            result[kind] = overlap(mask, scored.truth)
    return result


@dataclass(frozen=True, eq=False)
class _SliceOf:
    """A slice, and one structure that is looked for on it."""

    case: Case
    plane: Plane
    seen: Perception
    truth: Mask
    name: str

    def score(self, segmenter: EmbeddedSegmenter, masks: dict[str, Overlap]) -> SliceScore:
        found = look(self.seen, self.plane, self.name, "").mask
        there = self._there()
        masks["direct"] = overlap(found, self.truth)
        masks["pair"] = overlap(self._from_prompts_of(found, segmenter), self.truth)
        if there:
            masks["prompted"] = overlap(self._from_prompts_of(self.truth, segmenter), self.truth)
        chance = presence(self.seen, self.name) if self.name in self.seen.expert.structures else None
        score = SliceScore(
            self.case, self.plane.grid.axis, self.name, there, found is not None, chance, masks
        )
        return self._with_place(score, found) if there and found is not None else score

    def _there(self) -> bool | None:
        """None where the slice holds only a few pixels of the structure, too few to be called seen."""
        pixels, scale = int(self.truth.sum()), self.seen.frame.scale
        if 0 < pixels < PRESENT_PIXELS / (scale[0] * scale[1]):
            return None
        return pixels > 0

    def _with_place(self, score: SliceScore, found: Mask) -> SliceScore:
        boxes, circles = (mask_box(found), mask_box(self.truth)), (key_points(found), key_points(self.truth))
        if boxes[0] is None or boxes[1] is None:
            return score
        circle = circle_overlap(*circles)
        place = {"box_iou": box_iou(boxes[0], boxes[1]), "circle_iou": circle.iou, "circle_dice": circle.dice}
        return SliceScore(**{**score.__dict__, **place})

    def _from_prompts_of(self, mask: Mask | None, segmenter: EmbeddedSegmenter) -> Mask | None:
        if mask is None:
            return None
        drawn = segmenter.segment(self.seen, box=mask_box(mask), points=key_points(mask)).best
        return drawn if drawn.any() else None
