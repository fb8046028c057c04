"""Brain: folded cortex, white matter, deep nuclei, ventricles, cerebellum and brain-stem."""

from __future__ import annotations

import numpy as np

from .phantom_head import Head
from .phantom_space import Field, Region, ellipsoid, smooth_union
from .phantom_tubes import tube

_CORTEX_MM = 2.7

_PATHS = {
    # centre line and radius of the left one; the ventricles come last, they lie inside the others
    "hippocampus": [(22, 8, -21, 6.4), (27, 16, -18, 6.2), (29, 28, -11, 5.0), (26, 38, -2, 3.6)],
    "caudate_nucleus": [
        (12, -16, -1, 5), (14, -12, 9, 6.6), (17, 2, 18, 4.6), (21, 20, 20, 3.4), (27, 34, 14, 2.4)
    ],
    "lateral_ventricle": [
        (7, -27, 5, 3), (7, -14, 12, 5), (9, 6, 18, 4.6), (14, 24, 18, 5), (23, 40, 10, 6.5), (25, 58, 4, 2.6)
    ],
    "inferior_lateral_ventricle": [
        (25, 38, 4, 4.2), (33, 30, -8, 2.6), (33, 14, -18, 1.9), (29, 4, -22, 1.5)
    ],
}  # fmt: skip


def cerebrum(region: Region) -> Field:
    """Signed distance to the smooth outer surface of both hemispheres."""
    half = Region(region.slices, np.abs(region.x), region.y, region.z)
    upper = ellipsoid(half, (0, 17, 14), (68, 86.5, 64.5))
    floor = np.interp(region.y, (-70, -20, 8, 30, 60, 100), (-12, -22, -16, -10, -9, -13)).astype(np.float32)
    upper = np.maximum(upper, (floor - region.z) * 0.95)
    temporal = ellipsoid(half, (43, 16, -24), (22.5, 41, 21), (8, 0, -6))
    inner = ellipsoid(half, (26, 16, -19), (13, 28, 11))
    return smooth_union(smooth_union(upper, temporal, 2.0), inner, 3.0)


def _sheet_distance(noise: Field, spacing: tuple[float, float, float]) -> Field:
    """Distance in mm to the zero surface of a smooth field, to first order."""
    gradient = np.gradient(noise, *spacing)
    steep = np.sqrt(sum(np.square(g) for g in gradient))
    return np.asarray(np.abs(noise) / (steep + 0.02), np.float32)


def _cleft(sheet: Field, beyond: Field) -> Field:
    """Signed distance to a sheet-like cleft that ends where `beyond` becomes positive."""
    outside = np.hypot(np.clip(sheet, 0, None), np.clip(beyond, 0, None))
    return np.asarray(np.where(outside > 0, outside, np.maximum(sheet, beyond)))


def cerebral_tissue(head: Head) -> Field:
    """Distance in mm from the nearest fluid, positive inside the folded hemispheres."""
    whole = head.canvas.whole
    gap = 0.25 + 0.6 * head.atrophy
    depth = -cerebrum(whole) - 1.2 * head.atrophy
    callosum = (np.hypot((whole.y - 3) / 40, whole.z / 27) - 1) * 27
    between = _cleft(np.abs(whole.x) - 0.5 - gap, -callosum)
    slope = whole.z - (-9 + 0.30 * whole.y) + 0.12 * (np.abs(whole.x) - 45) + 2.5 * head.rough
    ends = np.maximum(np.maximum(37 - np.abs(whole.x), -26 - whole.y), whole.y - 52)
    sylvian = _cleft(np.abs(slope) - 0.6 - gap, ends)
    opercula = np.hypot((whole.y - 4) / 1.6, slope) - 14
    insula = _cleft(np.abs(np.abs(whole.x) - 38.5 + 1.2 * head.rough) - 0.2 - 0.5 * gap, opercula)
    below_surface = np.minimum(np.minimum(depth, between + 5), np.minimum(sylvian, insula) + 9)
    sheet = _sheet_distance(head.folds, head.canvas.grid.spacing_mm) - gap
    folds = _cleft(sheet, below_surface - 20 - 5 * head.coarse)
    return np.asarray(np.minimum.reduce([depth, folds, between, sylvian, insula]))


def paint_cerebrum(head: Head) -> None:
    """Cortex as a ribbon along all fluid surfaces, white matter inside."""
    whole = head.canvas.whole
    tissue = cerebral_tissue(head)
    cortex = -tissue
    head.paint(whole, cortex, "cerebral_cortex", "cerebral_cortex")
    core = ellipsoid(Region(whole.slices, np.abs(whole.x), whole.y, whole.z), (14, 10, 2), (20, 34, 24))
    ribbon = np.clip(_CORTEX_MM + 0.3 * head.coarse, 1.8, 3.6) - tissue
    head.paint(
        whole,
        np.minimum(ribbon, np.maximum(core, 0.6 - tissue)),
        "cerebral_white_matter",
        "cerebral_white_matter",
    )


def paint_deep(head: Head) -> None:
    """Nuclei and ventricles inside the hemispheres."""
    wide = 1 + 0.55 * head.atrophy + float(head.rng.normal(0, 0.06))
    for half in head.halves((-4, -60, -50), (60, 90, 45)):
        uneven = 0.5 * half.of(head.rough)
        for name, centre, radii, turn in (
            ("putamen", (26.5, 2, 1), (6.8, 17.5, 12), (0, 12, -10)),
            ("globus_pallidus", (18.8, 4, -1), (5.2, 10.5, 8), (0, 18, -16)),
            ("thalamus", (11.5, 19, 7), (10, 16.5, 10.5), (0, 0, -22)),
            ("ventral_diencephalon", (10, 17, -7), (9, 12.5, 7.5), (0, 0, 0)),
            ("nucleus_accumbens", (10, -10, -6), (5.4, 6.5, 5), (0, 0, 0)),
            ("amygdala", (23, 4, -20), (8, 8.5, 9), (0, 0, 0)),
        ):
            shape = ellipsoid(half, centre, radii, turn) + uneven
            head.paint(half, shape, name, name)
    for name, path in _PATHS.items():
        for sign in (1, -1):
            factor, tissue = (wide, "fluid") if name.endswith("ventricle") else (1.0, name)
            part = tube(head.canvas, [(sign * x, y, z, r * factor) for x, y, z, r in path], step_mm=6)
            head.paint(part.region, part.shape + 0.4 * part.region.of(head.rough), tissue, name)
    _paint_midline(head, wide)


def _paint_midline(head: Head, wide: float) -> None:
    region = head.canvas.region((-12, -40, -30), (12, 50, 30))
    third = ellipsoid(region, (0, 15, -1), (2.3 * wide, 15, 11))
    head.paint(region, np.maximum(third, region.z - 8 - 0.1 * region.y), "fluid", "third_ventricle")
    septum = np.maximum(np.abs(region.x) - 0.7, np.hypot((region.y + 2) / 26, (region.z - 12) / 10) * 10 - 10)
    head.paint(region, septum, "cerebral_white_matter", "cerebral_white_matter")


def paint_stem(head: Head) -> None:
    """Brain-stem with the fourth ventricle behind it, and the spinal cord."""
    canvas = head.canvas
    region = canvas.region((-36, -5, -90), (36, 70, 6))
    midbrain = ellipsoid(region, (0, 28, -13), (15.5, 12.5, 13))
    notch = np.hypot(region.x / 1.1, region.y - 13) - 5
    midbrain = np.maximum(midbrain, -notch)
    pons = ellipsoid(region, (0, 25, -33), (17, 12.5, 13.5))
    stem = smooth_union(midbrain, pons, 6)
    cistern = np.minimum(stem - 3.0, ellipsoid(region, (0, 8, -20), (11, 9, 12)))
    head.paint(region, cistern, "fluid", "cerebrospinal_fluid")
    medulla = tube(canvas, [(0, 30, -40, 10), (0, 40, -58, 8), (0, 45, -70, 7)])
    head.paint(medulla.region, medulla.shape, "brainstem", "brainstem")
    head.paint(region, stem, "brainstem", "brainstem")
    cord = tube(canvas, [(0, 45, -70, 6.5), (0, 52, -130, 5.5)])
    head.paint(cord.region, cord.shape, "brainstem")
    aqueduct = tube(canvas, [(0, 30, -2, 1.6), (0, 38, -20, 1.6)])
    head.paint(aqueduct.region, aqueduct.shape, "fluid", "cerebrospinal_fluid")


def paint_fourth_ventricle(head: Head) -> None:
    """Fourth ventricle, tent shaped, between pons and cerebellum."""
    region = head.canvas.region((-20, 25, -62), (20, 65, -10))
    wide = 1 + 0.3 * head.atrophy
    tent = (np.abs(region.x) / (9 * wide) + np.abs(region.y - 42) / 8 + np.abs(region.z + 36) / 19 - 1) * 6
    head.paint(region, np.asarray(tent, np.float32), "fluid", "fourth_ventricle")


def paint_cerebellum(head: Head) -> None:
    """Cerebellum with leaf-like folds on a branching core of white matter."""
    region = head.canvas.region((-58, 22, -78), (58, 112, 6))
    flat_top = np.where(region.z > -36, (region.z + 36) * 0.72 - 36, region.z)
    half = Region(region.slices, np.abs(region.x), region.y, flat_top)
    lobe = ellipsoid(half, (23, 61, -35), (29, 29, 25), (0, -10, 0))
    vermis = ellipsoid(half, (0, 59, -31), (13, 26, 24))
    surface = smooth_union(lobe, vermis, 8)
    tent = np.interp(region.y, (20, 45, 75, 110), (-4, -6, -14, -22)) + 3 - 0.18 * np.abs(region.x) + 3
    surface = np.maximum(surface, (region.z - tent) * 0.9).astype(np.float32)
    bent = region.y - 42 + 0.009 * np.square(region.x)
    angle, radius = np.arctan2(region.z + 36, bent), np.hypot(region.z + 36, bent)
    leaf = np.cos(angle * 26 + 0.22 * radius + 0.7 * region.of(head.rough))
    leaf = np.minimum(leaf, (radius - 13) / 9)
    depth = -surface
    gaps = _cleft((0.72 + 0.1 * head.atrophy * -1 - leaf) * 4, depth - 6.5)
    tissue = np.minimum(depth, gaps)
    head.paint(region, -tissue, "cerebellar_cortex", "cerebellar_cortex")
    branches = np.maximum(4.5 - depth, (leaf + 0.78) * 4)
    core = 13.5 + 1.5 * region.of(head.rough) - depth
    middle = np.where(half.x < 9, np.float32(4.0), np.float32(0.0))
    head.paint(
        region, np.minimum(branches, core + middle), "cerebellar_white_matter", "cerebellar_white_matter"
    )
