"""Labels drawn by a model before a reader begins, from whatever answers questions about planes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.mask_tools import filled_between_slices
from napari_medreason.core.plane import Axis, cut, plane_axes, slice_count
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.errors import CancelledError, WorkListError
from napari_medreason.worklist.items import LabelConfidence, LabelDefinition, SliceConfidence

Ask = Callable[[Question], Grounding]
"""One answer to one question: a model of this process, or the engine waited for."""
Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]

_SHOWN_SLICES = 5


@dataclass(frozen=True, eq=False)
class PreLabels:
    """What a model drew on a study: labels (k, j, i) of one frame, and how sure it was of each."""

    labels: NDArray[np.integer]
    confidences: tuple[LabelConfidence, ...]
    model: str
    weights_sha256: str = ""
    notes: tuple[str, ...] = ()


PreLabeller = Callable[[Volume, Progress, Cancelled], PreLabels]
"""Draws labels on a study; told of progress as (done, total), asks whether it was cancelled."""


def prelabeller(
    definitions: Sequence[LabelDefinition],
    ask: Ask,
    *,
    axis: Axis = "axial",
    step: int = 1,
    window: Window | None = None,
) -> PreLabeller:
    """A pre-labeller that asks each label's question on every `step`-th slice.

    Slices between two on which a label was found are filled by shape-based interpolation. Where two
    labels claim a pixel, the surer one has it. WorkListError when no label has a question.
    """
    asked = [definition for definition in definitions if definition.question]
    if not asked or step < 1:
        raise WorkListError("no label has a question for the model (or the step is below 1); add a question")

    def draw(volume: Volume, progress: Progress, cancelled: Cancelled) -> PreLabels:
        frame = volume.frame(0) if volume.voxels.ndim == 4 else volume
        indices = list(range(0, slice_count(frame, axis), step))
        shown = window or default_window(frame)
        labels = np.zeros(frame.shape_kji, np.min_scalar_type(max(one.value for one in asked)))
        answers: dict[int, dict[int, Grounding]] = {one.value: {} for one in asked}
        for done, index in enumerate(indices):
            progress(done, len(indices))
            if cancelled():
                raise CancelledError("pre-labelling was cancelled")
            plane = cut(frame, axis, index, shown)
            found = {one.value: ask(Question(one.question, plane)) for one in asked}
            _draw_slice(labels, found)
            for value, answer in found.items():
                answers[value][index] = answer
        if step > 1:
            labels = _filled(labels, answers, indices, frame, axis)
        progress(len(indices), len(indices))
        return _result(labels, answers, four_d=volume.voxels.ndim == 4)

    return draw


def _draw_slice(labels: NDArray[np.integer], found: dict[int, Grounding]) -> None:
    """Draw the masks of one slice in place, the least certain first, so that surer ones lie on top."""
    for value, answer in sorted(found.items(), key=lambda entry: _confidence(entry[1])):
        if answer.mask is not None:
            drawn = answer.grid.take(labels).copy()
            drawn[answer.mask] = value
            answer.grid.put(drawn, labels)


def _filled(
    labels: NDArray[np.integer], values: Iterable[int], indices: Sequence[int], frame: Volume, axis: Axis
) -> NDArray[np.integer]:
    """Labels drawn between neighbouring asked slices that both show them."""
    array_axis = 2 - plane_axes(frame, axis)[2]
    for value in values:
        shown = [bool((np.take(labels, index, array_axis) == value).any()) for index in indices]
        for first, last in _stretches(indices, shown):
            labels = filled_between_slices(
                labels, value, spacing_kji=frame.spacing_kji, axis=array_axis, between=(first, last)
            )
    return labels


def _stretches(indices: Sequence[int], shown: Sequence[bool]) -> list[tuple[int, int]]:
    """(first, last) of every stretch of two or more asked slices that all show a label."""
    groups = [
        [index for index, _ in group]
        for is_shown, group in groupby(zip(indices, shown, strict=True), key=lambda entry: entry[1])
        if is_shown
    ]
    return [(group[0], group[-1]) for group in groups if len(group) > 1]


def _result(
    labels: NDArray[np.integer], answers: dict[int, dict[int, Grounding]], *, four_d: bool
) -> PreLabels:
    some = next(iter(next(iter(answers.values())).values())).provenance
    confidences = tuple(_label_confidence(value, by_index.values()) for value, by_index in answers.items())
    notes = ("Only the first frame of the 4D study was labelled.",) if four_d else ()
    return PreLabels(labels, confidences, some.model, some.weights_sha256, notes)


def _label_confidence(value: int, answers: Iterable[Grounding]) -> LabelConfidence:
    """Mean confidence over the slices that show the label, weighted by area; doubts from failed checks."""
    found = [answer for answer in answers if answer.mask is not None]
    if not found:
        return LabelConfidence(value, None, doubts=("The model did not find it on any slice.",))
    known = [answer for answer in found if answer.confidence is not None]
    doubts = dict.fromkeys(check.words for answer in found for check in answer.checks if not check.passed)
    if not known:
        return LabelConfidence(value, None, doubts=tuple(doubts)[:_SHOWN_SLICES])
    areas = [np.count_nonzero(answer.mask) for answer in known]  # type: ignore[arg-type]
    mean = float(np.average([_confidence(answer) for answer in known], weights=areas))
    least = sorted(known, key=lambda answer: (_confidence(answer), answer.grid.index))[:_SHOWN_SLICES]
    slices = tuple(
        SliceConfidence(one.grid.axis, one.grid.index, _rounded(_confidence(one))) for one in least
    )
    return LabelConfidence(value, _rounded(mean), slices, tuple(doubts)[:_SHOWN_SLICES])


def _confidence(answer: Grounding) -> float:
    return 0.0 if answer.confidence is None else answer.confidence


def _rounded(value: float) -> float:
    return round(float(value), 4)
