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


def branches(
    rng: np.random.Generator,
    start: Sequence[float],
    direction: Sequence[float],
    *,
    radius: float,
    generations: int,
) -> list[list[list[float]]]:
    """A random tree of short tubes, each a list of two (x, y, z, radius) points, thinner at every fork."""
    heading = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    length = radius * rng.uniform(4.0, 7.0) + 6.0
    end = np.asarray(start, dtype=np.float64) + heading * length
    tree = [[[*start, radius], [*end, radius * 0.85]]]
    if generations <= 0:
        return tree
    for turn in (-1.0, 1.0):
        sideways = np.cross(heading, rng.standard_normal(3))
        sideways *= turn * rng.uniform(0.35, 0.75) / max(float(np.linalg.norm(sideways)), 1e-6)
        narrower = radius * rng.uniform(0.68, 0.84)
        tree += branches(rng, end.tolist(), heading + sideways, radius=narrower, generations=generations - 1)
    return tree
