"""Tubes along smooth curves: bowel, vessels, airways and other long structures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from .phantom_space import Canvas, Field, Region, segment_distance

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Tube:
    """A tube on the canvas.

    shape: signed distance in mm in `region`. along: arc length in mm of the nearest centre point.
    above: how far a voxel lies anterior of the nearest centre point, in mm (gas rises there, supine).
    """

    region: Region
    shape: Field
    along: Field
    above: Field


def smooth_curve(points: Sequence[Sequence[float]], step_mm: float) -> Points:
    """Points about `step_mm` apart on a smooth curve through (n, m) points, of which xyz come first."""
    knots = np.asarray(points, dtype=np.float64)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))])
    count = max(int(np.ceil(chord[-1] / step_mm)), 2)
    return np.asarray(PchipInterpolator(chord, knots)(np.linspace(0, chord[-1], count + 1)))


def tube(
    canvas: Canvas, points: Sequence[Sequence[float]], *, step_mm: float = 12.0, reach_mm: float = 4.0
) -> Tube:
    """The tube through (x, y, z, radius) points in canonical mm; exact up to `reach_mm` outside."""
    curve = smooth_curve(points, step_mm)
    widest = curve[:, 3].max() + reach_mm
    region = canvas.region(curve[:, :3].min(0) - widest, curve[:, :3].max(0) + widest)
    shape = np.full(region.x.shape, reach_mm, np.float32)
    along, above = np.zeros_like(shape), np.zeros_like(shape)
    travelled = 0.0
    for start, end in itertools.pairwise(curve):
        _add_segment(canvas, Tube(region, shape, along, above), start, end, (travelled, reach_mm))
        travelled += float(np.linalg.norm(end[:3] - start[:3]))
    return Tube(region, shape, along, above)


def _add_segment(canvas: Canvas, onto: Tube, start: Points, end: Points, run: tuple[float, float]) -> None:
    travelled, reach_mm = run
    reach = max(start[3], end[3]) + reach_mm
    low, high = np.minimum(start, end)[:3] - reach, np.maximum(start, end)[:3] + reach
    box = canvas.region(low, high)
    here = _within(box, onto.region)
    part, distance = segment_distance(box, start[:3].tolist(), end[:3].tolist())
    shape = distance - (start[3] + (end[3] - start[3]) * part)
    closer = shape < onto.shape[here]
    onto.shape[here][closer] = shape[closer]
    onto.along[here][closer] = travelled + part[closer] * float(np.linalg.norm(end[:3] - start[:3]))
    onto.above[here][closer] = (start[1] + (end[1] - start[1]) * part - box.y)[closer]


def _within(inner: Region, outer: Region) -> tuple[slice, slice, slice]:
    """Where a region that lies inside another one lies in the other's arrays."""
    slices = [
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner.slices, outer.slices, strict=True)
    ]
    return slices[0], slices[1], slices[2]


def vessel_tree(root: Sequence[float], targets: Points, *, tip_radius: float) -> list[tuple[Points, Points]]:
    """Branches of a tree from a root (x, y, z) to every target (n, 3), each two (x, y, z, radius) ends.

    Targets join the tree one by one where wire and way to the root are shortest together (after
    Cuntz et al., PLoS Comput Biol 2010); radii follow Murray's law, cubes add up towards the root.
    """
    places = np.vstack([np.asarray(root, np.float64), targets])
    parent, order = _joined(places)
    cubes = np.zeros(len(places))
    for node in reversed(order):
        cubes[node] = max(cubes[node], tip_radius**3)
        cubes[parent[node]] += cubes[node]
    ends = np.column_stack([places, np.cbrt(cubes)])
    return [(np.append(places[parent[node]], ends[node, 3]), ends[node]) for node in order]


def _joined(places: Points, detour: float = 0.4) -> tuple[NDArray[np.intp], list[int]]:
    """Parent of every place (0 is the root), and the order in which they joined."""
    from_root = np.full(len(places), np.inf)
    parent = np.zeros(len(places), np.intp)
    best, order = np.full(len(places), np.inf), []
    node, from_root[0] = 0, 0.0
    waiting = np.arange(len(places)) > 0
    while waiting.any():
        gap = np.linalg.norm(places - places[node], axis=1)
        better = waiting & (gap + detour * from_root[node] < best)
        best[better], parent[better] = (gap + detour * from_root[node])[better], node
        node = int(np.argmin(np.where(waiting, best, np.inf)))
        from_root[node] = from_root[parent[node]] + np.linalg.norm(places[node] - places[parent[node]])
        waiting[node] = False
        order.append(node)
    return parent, order
