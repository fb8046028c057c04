"""Organs of the whole-trunk CT that its own mask lacks, from outlines drawn on key slices.

The outlines were drawn by this project on the pictures, without a radiologist's review: they are
good enough to teach a small model, and no reference to measure one against. Each structure is a stack
of polygons in LPS mm; shape-based interpolation fills the slices between, and the grey values settle
the edge. Outlines are generous where fat, air or lung lies outside, exact where another organ does.

Not drawn, as it could not be done well enough: oesophagus, colon, adrenal glands, portal vein. Known
gaps: the inferior vena cava behind the liver (the CT's mask calls it liver), the aortic root (in the
heart), back muscles above the first rib, costal cartilage. Least certain: pancreatic head, the edge of
the vena cava towards the duodenum, rib necks beside the transverse processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon

from napari_medreason.errors import MedReasonError

from .volumes import TRUNK, Labelling

OUTLINES = Path(__file__).parent / "annotations" / "trunk_ct.json"

_DRAWN: dict[int, tuple[str, str]] = {
    20: ("spleen", ""),
    21: ("kidney", "left"),
    22: ("kidney", "right"),
    23: ("stomach", ""),
    24: ("heart", ""),
    25: ("aorta", ""),
    26: ("vertebra", ""),
    27: ("spinal_canal", ""),
    28: ("ribs", "left"),
    29: ("ribs", "right"),
    30: ("hip_bone", "left"),
    31: ("hip_bone", "right"),
    32: ("sacrum", ""),
    33: ("gallbladder", ""),
    34: ("inferior_vena_cava", ""),
    36: ("pancreas", ""),
    37: ("erector_spinae", "left"),
    38: ("erector_spinae", "right"),
    39: ("iliopsoas", "left"),
    40: ("iliopsoas", "right"),
    41: ("gluteal_muscles", "left"),
    42: ("gluteal_muscles", "right"),
}
LABELLING: Labelling = {**TRUNK, **_DRAWN}
"""Values of `annotate`: those of the CT's own mask, then the drawn ones."""

LUNGS = (2, 3, 4, 5, 6)
Mask = NDArray[np.bool_]
Polygons = Mapping[float, list[list[tuple[float, float]]]]
"""Position of a key slice in mm (LPS z) to its polygons, corners as (x, y) in LPS mm."""


@dataclass(frozen=True)
class Grid:
    """Grid of the CT, axes x, y, z of LPS: shape in voxels, spacing and centre of the first voxel in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    first: tuple[float, float, float]

    def index(self, position: float, axis: int) -> float:
        """Voxel index of a position in mm along one axis."""
        return (position - self.first[axis]) / self.spacing[axis]


@dataclass(frozen=True)
class Outline:
    """One drawn structure: its value, the HU kept inside the polygons and how the edge is settled.

    opening: whether one-voxel bridges to neighbours are cut; holes: whether holes in a slice
    (gas, vessels) belong to it; parts: how many connected parts it may have.
    """

    value: int
    polygons: Polygons
    hounsfield: tuple[float, float]
    opening: bool
    holes: bool
    parts: int


@dataclass(frozen=True)
class BoneRules:
    """Where bone becomes which: threshold in HU, limits in mm (LPS), parts in ml."""

    threshold: float
    hip_below: float
    ribs_above: float
    midline: float
    rib_to_lung: float
    rib_share_near_lung: float
    floating_ribs_below: float
    smallest_hip_ml: float
    smallest_rib_ml: float


@dataclass(frozen=True)
class Annotations:
    """All that was drawn: regions (bone, by name) and outlines (organs), in order of precedence."""

    grid: Grid
    regions: Mapping[str, Polygons]
    outlines: tuple[Outline, ...]
    bones: BoneRules


def read_annotations(path: Path = OUTLINES) -> Annotations:
    """The outlines from their file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    grid = Grid(*(tuple(content["grid"][key]) for key in ("shape", "spacing", "first")))
    regions = {name: _polygons(stack) for name, stack in content["regions"].items()}
    outlines = tuple(
        Outline(
            **{**entry, "polygons": _polygons(entry["polygons"]), "hounsfield": tuple(entry["hounsfield"])}
        )
        for entry in content["outlines"]
    )
    return Annotations(grid, regions, outlines, BoneRules(**content["bones"]))


def _polygons(stack: Mapping[str, Any]) -> Polygons:
    slices = {
        float(z): [[(x, y) for x, y in corners] for corners in polygons] for z, polygons in stack.items()
    }
    return dict(sorted(slices.items()))


def annotate(
    voxels: NDArray[np.number], given: NDArray[np.integer], annotations: Annotations
) -> NDArray[np.uint8]:
    """Label values (see LABELLING) of the whole-trunk CT, its own mask included.

    voxels: (x, y, z) HU, given: (x, y, z) values of the CT's mask, both as load_lps gives them.
    Raises MedReasonError if the grid is not the one that was drawn on.
    """
    grid = annotations.grid
    if voxels.shape != grid.shape or given.shape != grid.shape:
        raise MedReasonError(
            f"The outlines were drawn on a grid of {grid.shape}, not {voxels.shape}: use the whole-trunk CT."
        )
    labels = np.asarray(given, dtype=np.uint8).copy()
    clipped = np.clip(voxels, -300, 600).astype(np.float32)
    _put_bones(labels, ndimage.gaussian_filter(clipped, 0.4), annotations)
    smooth = ndimage.gaussian_filter(clipped, 0.7)
    for outline in annotations.outlines:
        box, within = box_around(outline.polygons, grid)
        part = labels[within]
        part[_settled(outline, smooth[within], part == 0, box)] = outline.value
    return labels


def box_around(polygons: Polygons, grid: Grid) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The part of the grid around a structure's polygons, and where it lies."""
    corners = [(*corner, z) for z, shapes in polygons.items() for shape in shapes for corner in shape]
    ends = (np.array([np.min(corners, 0), np.max(corners, 0)]) - grid.first) / grid.spacing
    low = np.maximum(0, np.rint(ends[0]).astype(int) - 4)
    high = np.minimum(grid.shape, np.rint(ends[1]).astype(int) + 5)
    first = grid.first + low * np.array(grid.spacing)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    shape = (x.stop - x.start, y.stop - y.start, z.stop - z.start)
    return Grid(shape, grid.spacing, (float(first[0]), float(first[1]), float(first[2]))), (x, y, z)


def stacked(polygons: Polygons, grid: Grid) -> Mask:
    """(x, y, z) mask of polygons on key slices, the slices between by shape-based interpolation.

    Interpolation of signed distances: Raya and Udupa, IEEE Trans Med Imaging 9 (1990) 32-42.
    """
    mask = np.zeros(grid.shape, bool)
    keys = [(round(grid.index(z, 2)), _signed_distance(shapes, grid)) for z, shapes in polygons.items()]
    for (low, below), (high, above) in pairwise(keys):
        for k in range(low, high + 1):
            share = (k - low) / (high - low)
            mask[..., k] = (1 - share) * below + share * above > 0
    return mask


def _signed_distance(shapes: list[list[tuple[float, float]]], grid: Grid) -> NDArray[np.float64]:
    """(x, y) distance to the outline in voxels, positive inside."""
    inside = np.zeros(grid.shape[:2], bool)
    for corners in shapes:
        rows, columns = polygon(  # type: ignore[no-untyped-call]
            [grid.index(x, 0) for x, _ in corners], [grid.index(y, 1) for _, y in corners], inside.shape
        )
        inside[rows, columns] = True
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(distance)


def _settled(outline: Outline, smooth: NDArray[np.float32], free: Mask, grid: Grid) -> Mask:
    """The outline's mask after its grey values, small bridges and loose parts were looked at."""
    low, high = outline.hounsfield
    mask = stacked(outline.polygons, grid) & free & (smooth >= low) & (smooth <= high)
    if outline.opening:
        mask = ndimage.binary_opening(mask, _plane_cross())
    mask = largest_parts(mask, outline.parts)
    if outline.holes:
        mask = _filled_slices(ndimage.binary_closing(mask, _plane_cross(), iterations=2))
    return mask & free


def _put_bones(labels: NDArray[np.uint8], smooth: NDArray[np.float32], annotations: Annotations) -> None:
    """Write vertebrae, sacrum, hip bones, ribs and the spinal canal into free voxels of the labels."""
    grid, rules = annotations.grid, annotations.bones
    canal_box, canal_within = box_around(annotations.regions["spinal_canal"], grid)
    canal = np.zeros(grid.shape, bool)
    canal[canal_within] = stacked(annotations.regions["spinal_canal"], canal_box)
    bone = (smooth > rules.threshold) & (labels == 0) & ~canal
    for name, value in (("vertebra", 26), ("sacrum", 32)):
        box, within = box_around(annotations.regions[name], grid)
        region = stacked(annotations.regions[name], box)
        solid = _filled_slices(ndimage.binary_closing(bone[within] & region, _plane_cross(), iterations=2))
        part = labels[within]
        part[solid & region & (part == 0) & ~canal[within]] = value
    labels[canal & (labels == 0)] = 27
    bone &= labels == 0
    _put_hips(labels, bone, annotations)
    _put_ribs(labels, bone, annotations)


def _put_hips(labels: NDArray[np.uint8], bone: Mask, annotations: Annotations) -> None:
    """Large parts of the bone of the pelvis that are neither femur nor sacrum."""
    grid, rules = annotations.grid, annotations.bones
    end = round(grid.index(rules.hip_below, 2))
    hips = large_parts(bone[..., :end], rules.smallest_hip_ml, grid)
    hips = _filled_slices(ndimage.binary_closing(hips, _plane_cross(), iterations=2))
    _put_sides(labels[..., :end], hips, (30, 31), annotations)


def _put_ribs(labels: NDArray[np.uint8], bone: Mask, annotations: Annotations) -> None:
    """Parts of the bone of the chest that lie along the lungs, and those below the last shoulder bone."""
    grid, rules = annotations.grid, annotations.bones
    start = round(grid.index(rules.ribs_above, 2))
    bone = bone.copy()
    for name in ("sternum", "shoulder_left", "shoulder_right"):
        box, within = box_around(annotations.regions[name], grid)
        bone[within] &= ~stacked(annotations.regions[name], box)
    bone = large_parts(bone[..., start:], rules.smallest_rib_ml, grid)
    lungs = np.isin(labels[..., start:], LUNGS)
    near = _within_distance(lungs, rules.rib_to_lung, grid)
    parts, count = ndimage.label(bone, np.ones((3, 3, 3)))
    numbers = np.arange(1, count + 1)
    share = np.asarray(ndimage.mean(near, parts, numbers))
    top = np.array([places[2].stop for places in ndimage.find_objects(parts)]) + start
    floating = grid.first[2] + grid.spacing[2] * top < rules.floating_ribs_below
    kept = numbers[(share > rules.rib_share_near_lung) | floating]
    ribs = _filled_slices(ndimage.binary_closing(np.isin(parts, kept), _plane_cross()))
    _put_sides(labels[..., start:], ribs, (28, 29), annotations)


def _within_distance(mask: Mask, distance: float, grid: Grid) -> Mask:
    """Voxels closer to the mask than a distance in mm, measured on every second voxel in the plane."""
    sampling = (2 * grid.spacing[0], 2 * grid.spacing[1], grid.spacing[2])
    near = np.asarray(ndimage.distance_transform_edt(~mask[::2, ::2], sampling=sampling) < distance)
    return near.repeat(2, 0).repeat(2, 1)


def _put_sides(
    labels: NDArray[np.uint8], mask: Mask, values: tuple[int, int], annotations: Annotations
) -> None:
    """Left and right of the midline as two values; x grows to the patient's left."""
    grid = annotations.grid
    x = grid.first[0] + grid.spacing[0] * np.arange(grid.shape[0])
    left = (x > annotations.bones.midline)[:, None, None]
    labels[mask & left & (labels == 0)] = values[0]
    labels[mask & ~left & (labels == 0)] = values[1]


def largest_parts(mask: Mask, count: int) -> Mask:
    """The largest connected parts of a mask."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())[1:]
    return np.isin(parts, 1 + np.argsort(sizes)[::-1][:count])


def large_parts(mask: Mask, smallest_ml: float, grid: Grid) -> Mask:
    """The connected parts of a mask of at least some ml."""
    parts, _ = ndimage.label(mask)
    volumes = np.bincount(parts.ravel()) * np.prod(grid.spacing) / 1000
    return np.isin(parts, 1 + np.flatnonzero(volumes[1:] >= smallest_ml))


def _filled_slices(mask: Mask) -> Mask:
    return np.stack([ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[2])], -1)


def _plane_cross() -> Mask:
    return np.asarray(ndimage.generate_binary_structure(2, 1))[:, :, None]
