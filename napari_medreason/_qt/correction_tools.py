"""The mask tools as the correction dock offers them, and how their result gets into a Labels layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_medreason import layers
from napari_medreason.core import mask_tools
from napari_medreason.core.mask_tools import SliceAt
from napari_medreason.layers import StudyRef

LabelArray = NDArray[np.integer]


@dataclass(frozen=True)
class ToolCall:
    """What a tool is to work on.

    labels: (k, j, i), not changed. shown: the slice on screen. only_shown: in two dimensions, on it only.
    up: array step from the shown slice to the next one on the slider. value: in the tool's unit.
    """

    labels: LabelArray
    label: int
    spacing_kji: tuple[float, float, float]
    shown: SliceAt
    up: int
    only_shown: bool
    value: float

    @property
    def where(self) -> SliceAt | None:
        """The slice to work on, None for the whole volume."""
        return self.shown if self.only_shown else None


@dataclass(frozen=True)
class Tool:
    """One tool. unit: of its number, "" when it takes none. value: at first; least, most: its bounds."""

    id: str
    title: str
    tip: str
    run: Callable[[ToolCall], LabelArray]
    unit: str = ""
    value: float = 0.0
    least: float = 0.1
    most: float = 100.0


def _grown(call: ToolCall) -> LabelArray:
    return mask_tools.grown(
        call.labels, call.label, distance_mm=call.value, spacing_kji=call.spacing_kji, where=call.where
    )


def _shrunk(call: ToolCall) -> LabelArray:
    return mask_tools.shrunk(
        call.labels, call.label, distance_mm=call.value, spacing_kji=call.spacing_kji, where=call.where
    )


def _smoothed(call: ToolCall) -> LabelArray:
    return mask_tools.smoothed(
        call.labels, call.label, sigma_mm=call.value, spacing_kji=call.spacing_kji, where=call.where
    )


def _without_specks(call: ToolCall) -> LabelArray:
    return mask_tools.without_specks(
        call.labels, call.label, min_size=call.value, spacing_kji=call.spacing_kji, where=call.where
    )


def _largest(call: ToolCall) -> LabelArray:
    return mask_tools.largest_component(call.labels, call.label, where=call.where)


def _filled(call: ToolCall) -> LabelArray:
    return mask_tools.filled_between_slices(
        call.labels, call.label, spacing_kji=call.spacing_kji, axis=call.shown.axis
    )


def _copied(call: ToolCall, direction: int) -> LabelArray:
    return mask_tools.copied_from_neighbour(
        call.labels, call.label, where=call.shown, step=1 if direction * call.up > 0 else -1
    )


TOOLS = (
    Tool("grow", "Grow", "Add the background within this distance of the label", _grown, "mm", 2.0),
    Tool("shrink", "Shrink", "Take away what lies within this distance of its edge", _shrunk, "mm", 2.0),
    Tool("smooth", "Smooth", "Round off bumps and dents smaller than this", _smoothed, "mm", 1.5),
    Tool(
        "specks",
        "Remove specks",
        "Remove parts that are smaller than this: mm³, or mm² on one slice",
        _without_specks,
        "mm³",
        100.0,
        1.0,
        1e6,
    ),
    Tool("largest", "Largest part only", "Keep the largest connected part of the label", _largest),
    Tool(
        "fill",
        "Fill between slices",
        "Draw the label on all slices between those where you drew it, along the axis on screen",
        _filled,
    ),
    Tool(
        "copy-before",
        "◀ Copy from slice",
        "Add the label's outline of the slice before (one step down on the slider) to this slice",
        lambda call: _copied(call, -1),
    ),
    Tool(
        "copy-after",
        "Copy from slice ▶",
        "Add the label's outline of the slice after (one step up on the slider) to this slice",
        lambda call: _copied(call, 1),
    ),
)


@dataclass(frozen=True, eq=False)
class Edit:
    """Changed voxels of a Labels layer: places in its data, what was there and what is to be there."""

    places: tuple[NDArray[np.intp], ...]
    before: LabelArray
    after: LabelArray

    @property
    def count(self) -> int:
        """Number of changed voxels."""
        return int(self.before.size)


def edit_between(before: LabelArray, after: LabelArray, study: StudyRef) -> Edit:
    """What differs between two (k, j, i) label maps, in the data of a layer on the study."""
    one, two = layers.display_array(before, study), layers.display_array(after, study)
    places = np.nonzero(one != two)
    return Edit(places, _of(one, places), _of(two, places))


def _of(array: Any, places: tuple[NDArray[np.intp], ...]) -> LabelArray:
    values: LabelArray = array[places]
    return values


def apply_edit(layer: Labels, edit: Edit) -> int:
    """Draw an edit as one step of the layer's own undo history; the number of changed voxels.

    What the user painted since the tool began stays.
    """
    data: Any = layer.data
    untouched = data[edit.places] == edit.before
    places = tuple(index[untouched] for index in edit.places)
    layer.data_setitem(places, edit.after[untouched].astype(data.dtype))
    return int(np.count_nonzero(untouched))
