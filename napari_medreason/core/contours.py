"""Masks as closed contours in the plane, and back, without loss.

A contour follows the edges of the pixels, drawn in by a twentieth of a pixel towards the mask. So the
centres of its pixels lie inside and all others outside (for readers that test centres), and rounding its
corners gives the outermost pixels themselves (for readers that fill polygons of whole pixels, the border
included). A region with holes is one contour: a cut of no width leads to each hole and back.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.plane import Point

INSET = 0.05
"""How far inside of the pixel edges the contours run, in pixels."""
_CUT = 0.25
"""Cuts to holes run this far from the centres of a row of pixels, never through them."""
_RIGHT, _DOWN, _LEFT, _UP = (1, 0), (0, 1), (-1, 0), (0, -1)
_TURN_RIGHT = {_RIGHT: _DOWN, _DOWN: _LEFT, _LEFT: _UP, _UP: _RIGHT}
_PIXEL_OF = {_RIGHT: (0, 0), _DOWN: (-1, 0), _LEFT: (-1, -1), _UP: (0, -1)}
"""From the start of an edge to the pixel of the mask at its right hand, in (x, y) of pixel corners."""

_Step = tuple[int, int]
_Loop = list[tuple[int, int]]


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The contours of a (rows, columns) mask: (n, 2) points (x, y), pixel centres at integers.

    One per region of pixels that touch by their sides; the last point is not the first again.
    """
    regions, count = scipy.ndimage.label(mask)
    outer: dict[int, list[Point]] = {}
    holes: dict[int, list[list[Point]]] = {number: [] for number in range(1, count + 1)}
    for loop, region in _loops(mask, regions):
        points = _drawn_in(loop)
        if _area(loop) > 0:
            outer[region] = points
        else:
            holes[region].append(points)
    return [np.array(_with_holes(points, holes[region])) for region, points in sorted(outer.items())]


def filled(contours: Iterable[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The (rows, columns) mask of pixels whose centres lie inside of an odd number of contours.

    contours: (n, 2) points (x, y), closed by a line from the last to the first. A centre on a contour
    counts as inside at its left and upper side.
    """
    crossings = np.zeros((shape[0], shape[1] + 1), np.uint8)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        rows, columns = _crossings(start, end)
        inside = (rows >= 0) & (rows < shape[0])
        columns = np.clip(columns[inside], 0, shape[1])
        np.bitwise_xor.at(crossings, (rows[inside], columns), 1)
    return np.bitwise_xor.accumulate(crossings[:, :-1], axis=1).astype(np.bool_)


def _crossings(
    start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where edges cross the centre lines of rows: the row, and the first pixel centre not left of it."""
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first, last = np.ceil(low).astype(np.int64), np.ceil(high).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(start)), count)
    rows = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    delta = end[edge] - start[edge]
    x = start[edge, 0] + (rows - start[edge, 1]) / delta[:, 1] * delta[:, 0]
    return rows, np.ceil(x).astype(np.int64)


def _loops(mask: NDArray[np.bool_], regions: NDArray[np.integer]) -> list[tuple[_Loop, int]]:
    """Loops along pixel edges with the mask at the right hand, corners only, and the region of each.

    Points are pixel corners: (x, y) is the upper left corner of the pixel in column x and row y.
    """
    steps = _edges(mask)
    loops = []
    while steps:
        start = next(iter(steps))
        step = steps[start][0]
        x, y = start[0] + _PIXEL_OF[step][0], start[1] + _PIXEL_OF[step][1]
        loops.append((_follow(steps, start), int(regions[y, x])))
    return loops


def _edges(mask: NDArray[np.bool_]) -> dict[tuple[int, int], list[_Step]]:
    """The one or two steps that lead on from each pixel corner on an edge of the mask."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[tuple[int, int], list[_Step]] = {}
    for step, neighbour, (dx, dy) in (
        (_RIGHT, padded[:-2, 1:-1], (0, 0)),
        (_DOWN, padded[1:-1, 2:], (1, 0)),
        (_LEFT, padded[2:, 1:-1], (1, 1)),
        (_UP, padded[1:-1, :-2], (0, 1)),
    ):
        rows, columns = np.nonzero(inside & ~neighbour)
        for corner in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            steps.setdefault(corner, []).append(step)
    return steps


def _follow(steps: dict[tuple[int, int], list[_Step]], start: tuple[int, int]) -> _Loop:
    """Take one loop out of the steps; where two regions touch by a corner, stay with the one."""
    loop: _Loop = []
    place, step = start, steps[start][0]
    before: _Step | None = None
    while place in steps:
        leading = steps[place]
        if before is not None and len(leading) == 2:
            step = _TURN_RIGHT[before] if _TURN_RIGHT[before] in leading else leading[0]
        else:
            step = leading[0]
        leading.remove(step)
        if not leading:
            del steps[place]
        if step != before:
            loop.append(place)
        before, place = step, (place[0] + step[0], place[1] + step[1])
        if place == start and (start not in steps or _closes(before, steps[start])):
            break
    return loop


def _closes(before: _Step, leading: list[_Step]) -> bool:
    """Whether a loop is back at its start, and does not only touch it on its way."""
    return _TURN_RIGHT[before] not in leading


def _area(loop: _Loop) -> float:
    """Above 0 around a region, below 0 around a hole."""
    x, y = np.array(loop, np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _drawn_in(loop: _Loop) -> list[Point]:
    """Corners in pixel centres at integers, moved by INSET towards the mask along both of their edges."""
    corners = np.array(loop, np.float64)
    ahead = np.sign(np.roll(corners, -1, axis=0) - corners)
    behind = np.roll(ahead, 1, axis=0)
    to_right = (ahead + behind) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    return [(float(x), float(y)) for x, y in corners - 0.5 + INSET * to_right]


def _with_holes(outer: list[Point], holes: list[list[Point]]) -> list[Point]:
    """One contour around a region; each hole is reached by a cut to its left, and left by the same way.

    A cut runs along a row of pixels to the next edge on the left: of the outer loop, or of a hole that
    begins further left, so that the cuts make a tree.
    """
    if not holes:
        return outer
    loops = [outer, *holes]
    cuts = _cuts(loops)
    merged: list[Point] = []
    # a stack and no recursion: holes may hang on each other by the thousand
    walks = [_walk(loops, 0, cuts)]
    while walks:
        step = next(walks[-1], None)
        if step is None:
            walks.pop()
        elif isinstance(step, int):
            walks.append(_walk(loops, step, cuts))
        else:
            merged.append(step)
    return merged


def _cuts(loops: list[list[Point]]) -> dict[tuple[int, int], list[tuple[float, int]]]:
    """By loop and edge: the cuts that begin there, as (y, hole)."""
    rows: dict[int, list[tuple[float, int, int]]] = {}
    for number, points in enumerate(loops):
        for edge, (x, y) in enumerate(points):
            below, above = sorted((y, points[(edge + 1) % len(points)][1]))
            for row in range(math.ceil(below), math.ceil(above)):
                rows.setdefault(row, []).append((x, number, edge))
    for edges in rows.values():
        edges.sort()
    cuts: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for number, points in enumerate(loops[1:], 1):
        first = _leftmost_edge(points)
        row = math.ceil(min(points[first][1], points[(first + 1) % len(points)][1]))
        at = bisect.bisect_left(rows[row], (points[first][0], -1, -1)) - 1
        _, loop, edge = rows[row][at]
        cuts.setdefault((loop, edge), []).append((row + _CUT, number))
    return cuts


def _walk(
    loops: list[list[Point]], number: int, cuts: dict[tuple[int, int], list[tuple[float, int]]]
) -> Iterator[Point | int]:
    """The points of a loop, and the holes to go around between them; a hole begins and ends at its cut."""
    points = loops[number]
    first = 0
    entry: Point | None = None
    if number:
        edge = _leftmost_edge(points)
        row = math.ceil(min(points[edge][1], points[(edge + 1) % len(points)][1]))
        entry, first = (points[edge][0], row + _CUT), edge + 1
        yield entry
    for place in range(first, first + len(points)):
        edge = place % len(points)
        x, y = points[edge]
        yield x, y
        rising = points[(edge + 1) % len(points)][1] > y
        for level, hole in sorted(cuts.get((number, edge), ()), reverse=not rising):
            yield x, level
            yield hole
            yield x, level
    if entry is not None:
        yield entry


def _leftmost_edge(hole: list[Point]) -> int:
    """The index of the point that a leftmost vertical edge starts at."""
    left = min(x for x, _ in hole)
    return next(n for n, (x, _) in enumerate(hole) if x == left and hole[(n + 1) % len(hole)][0] == left)
