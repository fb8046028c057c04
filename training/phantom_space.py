"""A canvas in patient millimetres on which implicit shapes are painted, with soft borders.

Every shape is an array of approximate signed distances in mm, negative inside. Coordinates are
canonical: the subject's own patient space (x to the left, y to posterior, z to superior) after
size and smooth deformation have been taken out, so the same organ description fits everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""(k, j, i) float32 over a canvas or a region of it."""
Vector = tuple[float, float, float]
Slices = tuple[slice, slice, slice]
Kind = TypeVar("Kind", bound=np.generic)

_SPLINE_SD = 0.33
"""Standard deviation of a cubic B-spline sum of unit-variance nodes in three dimensions."""


@dataclass(frozen=True)
class Region:
    """A box of the canvas: slices into its (k, j, i) arrays, and the coordinates there.

    x, y, z: (k, j, i) float32, canonical mm.
    """

    slices: Slices
    x: Field
    y: Field
    z: Field

    @property
    def mirrored(self) -> Region:
        """The same voxels with left and right exchanged, for describing a paired organ once."""
        return replace(self, x=-self.x)

    def of(self, field: NDArray[Kind]) -> NDArray[Kind]:
        """The part of a whole-canvas array that lies in this region."""
        return field[self.slices]


@dataclass(frozen=True)
class Grid:
    """An axis-aligned voxel grid: sizes (k, j, i), spacing (k, j, i) in mm, first voxel centre in LPS mm."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_lps: Vector

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), voxel (i, j, k) to LPS mm."""
        affine = np.diag([*self.spacing_mm[::-1], 1.0])
        affine[:3, 3] = self.origin_lps
        return affine

    def axes(self) -> tuple[Field, Field, Field]:
        """LPS mm of the voxel centres along k (z), j (y) and i (x), one dimension each."""
        return tuple(  # type: ignore[return-value]
            (origin + step * np.arange(size)).astype(np.float32)
            for size, step, origin in zip(self.shape, self.spacing_mm, self.origin_lps[::-1], strict=True)
        )


@dataclass(frozen=True)
class Canvas:
    """Labels and voxels being painted, with canonical coordinates.

    axes: LPS mm of the voxel centres along k, j, i. labels: (k, j, i) uint8. voxels: (k, j, i)
    float32. x, y, z: canonical mm. scale: canonical mm per patient mm along x, y, z.
    margin_mm: largest deformation. edge_mm: width of a painted border.
    """

    grid: Grid
    axes: tuple[Field, Field, Field]
    labels: NDArray[np.uint8]
    voxels: Field
    x: Field
    y: Field
    z: Field
    scale: Vector
    margin_mm: float
    edge_mm: float

    @property
    def whole(self) -> Region:
        """The region that covers the canvas."""
        everything = slice(None)
        return Region((everything, everything, everything), self.x, self.y, self.z)

    def region(self, low: Sequence[float], high: Sequence[float]) -> Region:
        """The voxels that can lie between two canonical corners (x, y, z) in mm."""
        slices = []
        for axis, coordinates in zip((2, 1, 0), self.axes, strict=True):
            first, last = sorted((low[axis] / self.scale[axis], high[axis] / self.scale[axis]))
            start = np.searchsorted(coordinates, first - self.margin_mm)
            stop = np.searchsorted(coordinates, last + self.margin_mm)
            slices.append(slice(int(start), int(stop)))
        box: Slices = (slices[0], slices[1], slices[2])
        return Region(box, self.x[box], self.y[box], self.z[box])

    def around(self, centre: Vector, reach_mm: float) -> Region:
        """The region within a distance of a canonical point."""
        return self.region([c - reach_mm for c in centre], [c + reach_mm for c in centre])

    def paint(self, region: Region, shape: Field, value: Field | float, *, label: int | None = None) -> None:
        """Blend a value into the voxels inside a shape; set the label there unless it is None."""
        inside = np.clip(0.5 - shape / self.edge_mm, 0.0, 1.0)
        voxels = self.voxels[region.slices]
        voxels += inside * (value - voxels)
        if label is not None:
            self.labels[region.slices][shape < 0] = label


def empty_canvas(
    grid: Grid,
    rng: np.random.Generator,
    *,
    scale: Vector,
    warp_mm: Sequence[tuple[float, float]],
    edge_mm: float,
) -> Canvas:
    """A blank canvas with smoothly deformed coordinates; warp_mm lists (node spacing, sd) in mm."""
    axes = grid.axes()
    coordinates = []
    for axis in range(3):
        moved = sum(sd * smooth_field(grid, rng, spacing) for spacing, sd in warp_mm)
        straight = axes[2 - axis] * np.float32(scale[axis])
        shape = [1, 1, 1]
        shape[2 - axis] = -1
        coordinates.append(np.asarray(straight.reshape(shape) + moved, dtype=np.float32))
    margin = 3.5 * sum(sd for _, sd in warp_mm)
    x, y, z = coordinates
    labels = np.zeros(grid.shape, np.uint8)
    return Canvas(grid, axes, labels, np.zeros(grid.shape, np.float32), x, y, z, scale, margin, edge_mm)


def smooth_field(grid: Grid, rng: np.random.Generator, node_mm: float, *, extent_mm: float = 480.0) -> Field:
    """Smooth random field of about unit variance, the same for a seed whatever the grid.

    A cubic B-spline over normal nodes `node_mm` apart, for points up to `extent_mm` from the origin.
    """
    count = int(2 * extent_mm / node_mm) + 4
    field = rng.standard_normal((count, count, count), dtype=np.float32) / np.float32(_SPLINE_SD)
    for coordinates in grid.axes():
        weights, used = _spline_weights(coordinates + extent_mm, node_mm, count)
        field = np.tensordot(field[used], weights, axes=(0, 1))
    return np.ascontiguousarray(field)


def _spline_weights(distances: Field, node_mm: float, count: int) -> tuple[Field, slice]:
    """Cubic B-spline weights (points, nodes) of the nodes that reach the points, and which those are."""
    position = distances.astype(np.float64) / node_mm
    first = max(int(position.min()) - 2, 0)
    last = min(int(position.max()) + 3, count)
    distance = np.abs(position[:, None] - np.arange(first, last))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32), slice(first, last)


def rotation(degrees_xyz: Vector) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z, in degrees, for points (x, y, z)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees_xyz)):
        first, second = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def ellipsoid(region: Region, centre: Vector, radii: Vector, degrees_xyz: Vector = (0.0, 0.0, 0.0)) -> Field:
    """Approximate signed distance to a turned ellipsoid: k (k - 1) / |grad k|, k the normalised radius."""
    offset = [region.x - centre[0], region.y - centre[1], region.z - centre[2]]
    if any(degrees_xyz):
        back = rotation(degrees_xyz).T.astype(np.float32)
        offset = [row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] for row in back]
    squares = [np.square(o / np.float32(r)) for o, r in zip(offset, radii, strict=True)]
    level = np.sqrt(squares[0] + squares[1] + squares[2]) + np.float32(1e-6)
    slope = np.sqrt(sum(s / np.float32(r * r) for s, r in zip(squares, radii, strict=True))) + np.float32(
        1e-6
    )
    return np.asarray(level * (level - 1) / slope, dtype=np.float32)


def capsule(
    region: Region, start: Sequence[float], end: Sequence[float], radii: tuple[float, float]
) -> Field:
    """Signed distance to a rod with round ends whose radius changes linearly."""
    along, distance = segment_distance(region, start, end)
    return np.asarray(distance - (radii[0] + (radii[1] - radii[0]) * along), dtype=np.float32)


def segment_distance(region: Region, start: Sequence[float], end: Sequence[float]) -> tuple[Field, Field]:
    """Position along a segment (0 to 1) of the nearest point, and the distance to it in mm."""
    direction = np.subtract(end, start).astype(np.float32)
    length2 = max(float(direction @ direction), 1e-6)
    dx, dy, dz = region.x - start[0], region.y - start[1], region.z - start[2]
    along = np.clip((dx * direction[0] + dy * direction[1] + dz * direction[2]) / np.float32(length2), 0, 1)
    dx, dy, dz = dx - along * direction[0], dy - along * direction[1], dz - along * direction[2]
    return along, np.sqrt(dx * dx + dy * dy + dz * dz)


def superellipse(region: Region, extent: tuple[Field, Field, Field], power: float) -> Field:
    """Approximate signed distance to a stack of superellipses centred on x = 0.

    extent: half width, y of the front and y of the back; arrays that broadcast to the region.
    """
    half_width, front, back = extent
    middle, half_depth = (front + back) / 2, (back - front) / 2
    across = np.abs(region.x / half_width) ** np.float32(power)
    through = np.abs((region.y - middle) / half_depth) ** np.float32(power)
    level = (across + through) ** np.float32(1 / power)
    return np.asarray((level - 1) * np.minimum(half_width, half_depth), dtype=np.float32)


def profile(region: Region, table: Sequence[Sequence[float]], column: int) -> Field:
    """Column of a table whose rows begin with z in mm (ascending), interpolated at the region's z."""
    rows = np.asarray(table, dtype=np.float64)
    return np.interp(region.z, rows[:, 0], rows[:, column]).astype(np.float32)


def smooth_union(first: Field, second: Field, blend_mm: float) -> Field:
    """Union of two shapes whose joint is rounded over about `blend_mm` (polynomial minimum)."""
    gap = np.clip(blend_mm - np.abs(first - second), 0, None)
    return np.asarray(np.minimum(first, second) - gap * gap / (4 * blend_mm), dtype=np.float32)


def smooth_common(first: Field, second: Field, blend_mm: float) -> Field:
    """Intersection of two shapes with edges rounded over about `blend_mm`."""
    return -smooth_union(-first, -second, blend_mm)
