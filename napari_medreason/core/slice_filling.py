"""Outlines between two drawn slices, from the distances to the outlines on both.

Shape-based interpolation: the signed distance to the outline is interpolated linearly between the two
slices and cut at 0 (Raya and Udupa, IEEE Trans Med Imaging 9(1), 1990). Parts that overlap when
the slices are laid on each other are taken together, so that branches split and merge. A part without
overlap is paired with the nearest such part of the other slice and travels to it in a straight line;
one that finds no partner nearby ends on its slice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = tuple[float, float]
Numbers = NDArray[np.int64]

_TOUCHING = np.ones((3, 3), bool)
_REACH = 2.0
"""Parts without overlap pair up to this many times the sum of their radii, as discs of equal area."""


def slices_between(lower: Mask, upper: Mask, count: int, *, spacing: Spacing) -> list[Mask]:
    """`count` masks evenly between two, none of them empty.

    lower, upper: (rows, columns) bool, each with a pixel. spacing: (between rows, between columns), mm.
    """
    shares = [number / (count + 1) for number in range(1, count + 1)]
    results = [np.zeros(lower.shape, bool) for _ in shares]
    for first, second, travels in _pairs(lower, upper, spacing):
        box = _box(first | second, wide=travels)
        shapes = _between(first[box], second[box], shares, spacing=spacing, travels=travels)
        for result, shape in zip(results, shapes, strict=True):
            result[box] |= shape
    return results


def _between(
    first: Mask, second: Mask, shares: list[float], *, spacing: Spacing, travels: bool
) -> Iterator[Mask]:
    """The masks at each share of the way from the first (0) to the second (1)."""
    start, end = _signed_distance(first, spacing), _signed_distance(second, spacing)
    way = _centroid(second) - _centroid(first) if travels else np.zeros(2)
    for share in shares:
        distance = (1 - share) * _moved(start, share * way) + share * _moved(end, (share - 1) * way)
        inside = distance <= 0
        if not inside.any():
            inside.flat[distance.argmin()] = True
        yield inside


def _moved(distance: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    if not way.any():
        return distance
    return np.asarray(scipy.ndimage.shift(distance, way, order=1, mode="nearest"))


def _signed_distance(mask: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Distance in mm to the outline, negative inside."""
    outside = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)
    if mask.all():
        return np.full(mask.shape, -float(np.hypot(*(np.array(mask.shape) * spacing))))
    return np.asarray(outside - scipy.ndimage.distance_transform_edt(mask, sampling=spacing))


def _pairs(lower: Mask, upper: Mask, spacing: Spacing) -> list[tuple[Mask, Mask, bool]]:
    """(mask below, mask above, whether it travels) for every group of parts that belongs together."""
    below, below_count = scipy.ndimage.label(lower, _TOUCHING)
    above, above_count = scipy.ndimage.label(upper, _TOUCHING)
    both = lower & upper
    links = np.unique(np.stack([below[both], above[both]]), axis=1) - 1
    graph = scipy.sparse.coo_array(
        (np.ones(links.shape[1], bool), (links[0], links[1] + below_count)),
        shape=(below_count + above_count,) * 2,
    )
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    of_below, of_above = group[:below_count], group[below_count:]
    shared = np.intersect1d(of_below, of_above)
    pairs = [
        (_of_group(below, of_below, number), _of_group(above, of_above, number), False) for number in shared
    ]
    alone_below = np.flatnonzero(~np.isin(of_below, shared)) + 1
    alone_above = np.flatnonzero(~np.isin(of_above, shared)) + 1
    parts_below, parts_above = ([below == n for n in alone_below], [above == n for n in alone_above])
    return pairs + _travelling(parts_below, parts_above, spacing, anywhere=not pairs)


def _of_group(parts: NDArray[np.int32], group: Numbers, number: int) -> Mask:
    return np.asarray(np.append(False, group == number)[parts])


def _travelling(
    below: list[Mask], above: list[Mask], spacing: Spacing, *, anywhere: bool
) -> list[tuple[Mask, Mask, bool]]:
    """Parts without overlap, paired so that the ways are short; `anywhere`: however far they are."""
    if not below or not above:
        return []
    scale = np.array(spacing)
    starts, ends = (np.array([_centroid(part) * scale for part in parts]) for parts in (below, above))
    ways = np.linalg.norm(starts[:, None] - ends[None], axis=2)
    radii = [np.sqrt([part.sum() * scale.prod() / np.pi for part in parts]) for parts in (below, above)]
    reach = _REACH * (radii[0][:, None] + radii[1][None])
    rows, columns = scipy.optimize.linear_sum_assignment(ways)
    return [
        (below[row], above[column], True)
        for row, column in zip(rows, columns, strict=True)
        if anywhere or ways[row, column] <= reach[row, column]
    ]


def _centroid(mask: Mask) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0))


def _box(mask: Mask, *, wide: bool) -> tuple[slice, slice]:
    """The box of a mask and a pixel around it; `wide`: its own size around it, where a part may swing."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return _side(rows, wide=wide), _side(columns, wide=wide)


def _side(indices: NDArray[np.intp], *, wide: bool) -> slice:
    first, stop = int(indices[0]), int(indices[-1]) + 1
    more = stop - first if wide else 1
    return slice(max(0, first - more), stop + more)
