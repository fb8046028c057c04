"""Tools that correct one label of a label map: grow, shrink, smooth, remove specks, copy, fill.

Every tool returns a new array and changes the given label only: it writes to background and clears to
background, never to or from another label. Lengths are in mm, from voxel centre to voxel centre. The
border of the volume is no boundary of a structure: an organ cut off by the field of view is not
shrunk there. With `where`, a tool works on that one slice, in two dimensions; the others stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

from napari_medreason.core.reach import within
from napari_medreason.core.slice_filling import slices_between
from napari_medreason.errors import LabelMapError

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

_TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels that share a corner belong together, as in core.regions."""
_ROUNDING_MM = 1e-6
_GAUSS_REACH = 3.0


@dataclass(frozen=True)
class SliceAt:
    """One slice of a (k, j, i) array: `index` along array axis `axis` (0 = k, 1 = j, 2 = i)."""

    axis: int
    index: int


@dataclass(frozen=True)
class Change:
    """What a tool did: voxels added to and removed from labels, and where.

    box_kji: half-open (start, stop) along k, j and i around all changed voxels, None when none changed.
    slices: ascending indices along k, j and i of the slices with a changed voxel.
    """

    added: int
    removed: int
    box_kji: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None
    slices: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def count(self) -> int:
        """Number of changed voxels."""
        return self.added + self.removed


def change_between(before: Labels, after: Labels, label: int) -> Change:
    """What became of one label between two (k, j, i) label maps of the same shape."""
    was, now = before == label, after == label
    different = was != now
    along = [np.flatnonzero(different.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    k, j, i = (tuple(indices.tolist()) for indices in along)
    box = ((k[0], k[-1] + 1), (j[0], j[-1] + 1), (i[0], i[-1] + 1)) if k else None
    added = int(np.count_nonzero(different & now))
    return Change(added, int(np.count_nonzero(different)) - added, box, (k, j, i))


def grown(
    labels: Labels, label: int, *, distance_mm: float, spacing_kji: Spacing, where: SliceAt | None = None
) -> Labels:
    """The label with all background within a distance of it, measured straight through other labels.

    labels: (k, j, i), whole numbers, any memory order. LabelMapError when the label is not there.
    """
    _check_length(distance_mm, "distance")

    def change(mask: Mask) -> Mask:
        return mask | within(~mask, mask, distance_mm + _ROUNDING_MM, spacing_kji)

    return _edited(labels, label, where, margin_mm=distance_mm, spacing_kji=spacing_kji, change=change)


def shrunk(
    labels: Labels, label: int, *, distance_mm: float, spacing_kji: Spacing, where: SliceAt | None = None
) -> Labels:
    """The label without what lies within a distance of background or of another label.

    labels: (k, j, i), whole numbers. LabelMapError when the label is not there or nothing would be left.
    """
    _check_length(distance_mm, "distance")

    def change(mask: Mask) -> Mask:
        return mask & ~within(mask, ~mask, distance_mm + _ROUNDING_MM, spacing_kji)

    return _edited(labels, label, where, margin_mm=0.0, spacing_kji=spacing_kji, change=change)


def without_specks(
    labels: Labels, label: int, *, min_size: float, spacing_kji: Spacing, where: SliceAt | None = None
) -> Labels:
    """The label without its parts smaller than `min_size`: mm³, or mm² on one slice.

    labels: (k, j, i), whole numbers. Voxels that share a corner are one part. LabelMapError when the
    label is not there or every part is smaller.
    """
    _check_length(min_size, "size")
    axes = [axis for axis in range(3) if where is None or axis != where.axis]

    def change(mask: Mask) -> Mask:
        parts, sizes = _parts(mask)
        kept = sizes * math.prod(spacing_kji[axis] for axis in axes) >= min_size - _ROUNDING_MM
        return np.asarray(np.append(False, kept)[parts])

    return _edited(labels, label, where, margin_mm=0.0, spacing_kji=spacing_kji, change=change)


def largest_component(labels: Labels, label: int, *, where: SliceAt | None = None) -> Labels:
    """The label with its part of most voxels only; of equals, the one that comes first in the array.

    labels: (k, j, i), whole numbers. LabelMapError when the label is not there.
    """

    def change(mask: Mask) -> Mask:
        parts, sizes = _parts(mask)
        return np.asarray(parts == int(sizes.argmax()) + 1)

    return _edited(labels, label, where, margin_mm=0.0, spacing_kji=(1.0, 1.0, 1.0), change=change)


def smoothed(
    labels: Labels, label: int, *, sigma_mm: float, spacing_kji: Spacing, where: SliceAt | None = None
) -> Labels:
    """The label with its outline smoothed: blurred with a Gaussian and cut at one half.

    labels: (k, j, i), whole numbers. sigma_mm: standard deviation; bumps and dents smaller than it go.
    What is rounded off at a border with another label becomes background. LabelMapError when the
    label is not there or is so thin that nothing would be left.
    """
    _check_length(sigma_mm, "strength of smoothing")
    _check_spacing(spacing_kji)
    sigma = [sigma_mm / step for step in spacing_kji]

    def change(mask: Mask) -> Mask:
        blurred = scipy.ndimage.gaussian_filter(
            mask.astype(np.float32), sigma, mode="nearest", truncate=_GAUSS_REACH
        )
        return np.asarray(blurred > 0.5)

    return _edited(
        labels, label, where, margin_mm=_GAUSS_REACH * sigma_mm, spacing_kji=spacing_kji, change=change
    )


def copied_from_neighbour(labels: Labels, label: int, *, where: SliceAt, step: Literal[-1, 1]) -> Labels:
    """The label copied onto a slice from the next one: its outline there is added to what is drawn.

    labels: (k, j, i), whole numbers. where: the slice that receives it; step: -1 copies from the slice
    with the lower index, 1 from the higher. LabelMapError when that slice has none of the label.
    """
    _check(labels, label)
    _slab(labels, where)
    source = where.index + step
    count = labels.shape[where.axis]
    if not 0 <= source < count:
        raise LabelMapError(f"slice {where.index} is at the end of the volume; copy from its other side")
    result = labels.copy()
    target, given = (_slab(result, SliceAt(where.axis, index)) for index in (where.index, source))
    outline = given == label
    if not outline.any():
        raise LabelMapError(
            f"label {label} is not on slice {source}; choose the other side, or fill between slices"
        )
    target[outline & (target == 0)] = label
    return result


def filled_between_slices(
    labels: Labels,
    label: int,
    *,
    spacing_kji: Spacing,
    axis: int = 0,
    between: tuple[int, int] | None = None,
) -> Labels:
    """The label drawn on every slice between those on which it is drawn, by shape-based interpolation.

    labels: (k, j, i), whole numbers. axis: the array axis along which the drawn slices follow each
    other. between: first and last slice to look at, all by default. Drawn slices stay as they are. A gap
    is filled whole or not at all: where another label leaves no room on one of its slices, it stays
    open. See core.slice_filling for how. LabelMapError when fewer than two slices show the label.
    """
    _check(labels, label)
    _check_spacing(spacing_kji)
    if axis not in (0, 1, 2):
        raise LabelMapError(f"axis {axis} was asked; 0 (slices), 1 (rows) and 2 (columns) are accepted")
    result = labels.copy()
    first, last = between or (0, labels.shape[axis] - 1)
    stack = np.moveaxis(result, axis, 0)[max(0, first) : last + 1]
    drawn = np.flatnonzero((stack == label).any(axis=(1, 2)))
    if drawn.size < 2:
        raise LabelMapError(
            f"label {label} is drawn on {drawn.size} of these slices; draw it on two at least, with a gap"
        )
    spacing = tuple(step for number, step in enumerate(spacing_kji) if number != axis)
    for lower, upper in zip(drawn[:-1].tolist(), drawn[1:].tolist(), strict=True):
        if upper - lower > 1:
            _fill_gap(stack[lower : upper + 1], label, (spacing[0], spacing[1]))
    return result


def _fill_gap(stack: Labels, label: int, spacing: tuple[float, float]) -> None:
    """Draw the label on the inner slices of a (slice, row, column) stack, in place."""
    shapes = slices_between(stack[0] == label, stack[-1] == label, stack.shape[0] - 2, spacing=spacing)
    shapes = [shape & (target == 0) for shape, target in zip(shapes, stack[1:-1], strict=True)]
    if not all(shape.any() for shape in shapes):
        return
    for shape, target in zip(shapes, stack[1:-1], strict=True):
        target[shape] = label


def _edited(
    labels: Labels,
    label: int,
    where: SliceAt | None,
    *,
    margin_mm: float,
    spacing_kji: Spacing,
    change: Callable[[Mask], Mask],
) -> Labels:
    """A copy in which `change` made a new mask of the label, within its box and a margin around it."""
    _check(labels, label)
    _check_spacing(spacing_kji)
    result = labels.copy()
    slab = _slab(result, where)
    box = _box(slab == label, [math.ceil(margin_mm / step) + 1 for step in spacing_kji])
    if box is None:
        place = "" if where is None else " on this slice"
        raise LabelMapError(f"label {label} is not{place} in the label map; choose a label that is drawn")
    part = slab[box]
    mask = part == label
    changed = change(mask) & (mask | (part == 0))
    if not changed.any():
        raise LabelMapError(
            f"nothing would be left of label {label}; choose a smaller value, or clear the label"
        )
    part[mask] = 0
    part[changed] = label
    return result


def _slab(labels: Labels, where: SliceAt | None) -> Labels:
    """A view of the whole array or, one voxel thick, of one slice."""
    if where is None:
        return labels
    if where.axis not in (0, 1, 2) or not 0 <= where.index < labels.shape[where.axis]:
        raise LabelMapError(
            f"slice {where.index} along axis {where.axis} was asked; the label map has shape {labels.shape}"
        )
    along: list[slice] = [slice(None)] * 3
    along[where.axis] = slice(where.index, where.index + 1)
    return labels[tuple(along)]


def _box(mask: Mask, margin: list[int]) -> tuple[slice, ...] | None:
    along = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if along[0].size == 0:
        return None
    return tuple(
        slice(max(0, int(indices[0]) - more), int(indices[-1]) + 1 + more)
        for indices, more in zip(along, margin, strict=True)
    )


def _parts(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Connected parts, numbered from 1 in array order, and their voxel counts."""
    parts, _ = scipy.ndimage.label(mask, _TOUCHING)
    return parts, np.bincount(parts.ravel())[1:]


def _check(labels: Labels, label: int) -> None:
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise LabelMapError(
            f"the label map is {labels.dtype} of shape {labels.shape}; whole numbers (k, j, i) are accepted"
        )
    if label <= 0:
        raise LabelMapError(f"label {label} was asked; labels are whole numbers from 1, 0 is background")


def _check_length(value: float, what: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise LabelMapError(f"the {what} is {value:g}; a number above 0 is accepted")


def _check_spacing(spacing_kji: Spacing) -> None:
    if len(spacing_kji) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing_kji):
        raise LabelMapError(f"the voxel spacing is {spacing_kji}; three numbers above 0 in mm are accepted")
