"""Abdomen and pelvis: solid organs, bowel and bladder."""

from __future__ import annotations

from itertools import product

import numpy as np

from .phantom_chest import diaphragm_height, paint_hollow, paint_tree
from .phantom_space import Field, Region, capsule, ellipsoid, smooth_common
from .phantom_subject import AIR, FAT, WATER, Subject, both_sides
from .phantom_trunk import cavity_shape
from .phantom_tubes import Tube, tube


def _under_diaphragm(region: Region, gap_mm: float) -> Field:
    """Signed distance to the space below diaphragm and inside the abdominal wall."""
    below = (region.z - diaphragm_height(region) + gap_mm) * 0.7
    return smooth_common(below, cavity_shape(region) + gap_mm, 8)


def paint_liver(subject: Subject) -> None:
    """Wedge under the right dome, thinning to the left, with portal and hepatic veins."""
    canvas, rng = subject.canvas, subject.rng
    region = canvas.region((-140, -110, -90), (100, 110, 140))
    tip, reach = rng.normal(-42, 14), rng.normal(72, 12)
    under = (tip + 0.5 * (region.x + 112) - 0.12 * region.y - region.z) * 0.85
    leftwards = region.x - np.minimum(reach, reach - 0.95 * (region.y + 62))
    liver = smooth_common(_under_diaphragm(region, 4.0), under, 22)
    liver = smooth_common(liver, leftwards * 0.72, 16)
    hilum = ellipsoid(region, (-22, -6, 22), (24, 15, 16), (0, 20, 30))
    liver = smooth_common(liver, -hilum, 8)
    fissure = np.maximum(
        np.abs(region.x - 18 + 0.3 * (region.y + 70)) - 2.5, np.maximum(region.z - 40, region.y + 45)
    )
    liver = np.maximum(liver, -fissure) + 0.6 * region.of(subject.rough) + 2.0 * region.of(subject.coarse)
    texture = subject.blood["liver"] + 2.5 * region.of(subject.rough)
    label = subject.value("liver")
    canvas.paint(region, liver, texture, label=label)
    for root, low, high, blood in (
        ((-32, -10, 28), (-118, -80, -45), (55, 65, 100), "portal"),
        ((-28, 0, 100), (-110, -75, -10), (60, 60, 108), "hepatic"),
    ):
        paint_tree(subject, root, rng.uniform(low, high, (65, 3)), label, (1.55, subject.blood[blood]))


def paint_spleen(subject: Subject) -> None:
    """Spleen against the ribs at the left back."""
    size = subject.varied(29, 53, 60, share=0.12)
    centre = subject.moved((98, 34, 46), 3.0)
    region = subject.canvas.around(centre, 85)
    spleen = ellipsoid(region, centre, size, (0, 14, 26))
    spleen = smooth_common(spleen, _under_diaphragm(region, 4.0), 8)
    hollow = ellipsoid(region, (centre[0] - 52, centre[1] - 16, centre[2] - 6), (27, 36, 42))
    spleen = smooth_common(spleen, -hollow, 7) + 0.9 * region.of(subject.rough)
    value = subject.blood["spleen"] + subject.blood["spleen_stripes"] * region.of(subject.rough)
    subject.canvas.paint(region, spleen, value, label=subject.value("spleen"))


def paint_kidneys(subject: Subject) -> None:
    """Kidneys beside the spine, upper poles tilted inwards, with cortex, pyramids and sinus fat."""
    canvas = subject.canvas
    usual = subject.varied(27, 25, 54, share=0.06)
    for sign, side, height in ((1, "left", -14.0), (-1, "right", -28.0)):
        centre = subject.moved((66, 38, height), 3.5)
        size = subject.varied(*usual, share=0.03)
        box = canvas.around((sign * centre[0], centre[1], centre[2]), 78)
        half = box if sign > 0 else box.mirrored
        turn = (-14.0, 14.0, 38.0)
        kidney = ellipsoid(half, centre, size, turn)
        notch = ellipsoid(half, (centre[0] - 24, centre[1] - 13, centre[2]), (17, 15, 17))
        kidney = smooth_common(kidney, -notch, 7) + 0.6 * half.of(subject.rough)
        kidney = smooth_common(kidney, cavity_shape(half) + 4, 6)
        canvas.paint(half, np.maximum(kidney - 9, cavity_shape(half)), FAT - 6, label=subject.value("body"))
        canvas.paint(half, kidney, subject.blood["renal_cortex"], label=subject.value("kidney", side))
        pyramids = np.maximum(kidney + 7, 2.0 - 4.5 * np.abs(half.of(subject.rough)))
        canvas.paint(half, pyramids, subject.blood["renal_medulla"])
        sinus = ellipsoid(half, (centre[0] - 9, centre[1] - 6, centre[2]), (14, 10, 26), turn)
        canvas.paint(half, np.maximum(sinus + 1.5 * half.of(subject.rough), kidney + 4), FAT + 25)
        pelvis = ellipsoid(half, (centre[0] - 14, centre[1] - 8, centre[2] - 4), (11, 6, 10), turn)
        canvas.paint(half, pelvis, 10.0)


def paint_adrenals(subject: Subject) -> None:
    """Adrenal glands: thin limbs that join in front, above the kidneys."""
    canvas, value = subject.canvas, subject.blood["adrenal"]
    for sign, side, top in ((1, "left", (31, 24, 32)), (-1, "right", (31, 26, 40))):
        crest = subject.moved(top, 2.0)
        region = canvas.around((sign * crest[0], crest[1], crest[2]), 34)
        half = region if sign > 0 else region.mirrored
        gland = np.full(half.x.shape, 9.0, np.float32)
        for across in (-6.0, 11.0):
            for lift in (-12.0, -4.0, 5.0):
                start = (crest[0], crest[1], crest[2] + lift)
                end = (crest[0] + across, crest[1] + 17, crest[2] + lift - 6)
                gland = np.minimum(gland, capsule(half, start, end, (3.6, 2.2)))
        canvas.paint(half, gland, value, label=subject.value("adrenal_gland", side))


def paint_pancreas(subject: Subject) -> None:
    """Pancreas from the duodenal loop to the spleen, with splenic and portal veins behind it."""
    canvas = subject.canvas
    shift = subject.rng.normal(0, 4, 3)
    size = float(subject.rng.normal(1.0, 0.12))
    vein = [
        (82, 22, 26, 4),
        (50, 8, 14, 4.5),
        (18, -10, 4, 5),
        (-8, -10, -2, 6),
        (-16, -12, 8, 7),
        (-28, -10, 24, 7),
        (-36, -8, 28, 6),
    ]
    path = [
        (-22, -14, -46, 12),
        (-20, -18, -24, 15),
        (-4, -24, -8, 11),
        (18, -28, 2, 9),
        (46, -10, 12, 10),
        (76, 12, 24, 9),
    ]
    gland = tube(canvas, [(*(np.asarray(p[:3]) + shift), p[3] * size) for p in path])
    uneven = gland.shape + 1.6 * gland.region.of(subject.rough)
    texture = subject.blood["pancreas"] + 8 * gland.region.of(subject.rough)
    canvas.paint(gland.region, uneven, texture, label=subject.value("pancreas"))
    portal = tube(canvas, [(*(np.asarray(p[:3]) + shift * 0.5), p[3]) for p in vein])
    canvas.paint(portal.region, portal.shape, subject.blood["portal"], label=subject.value("portal_vein"))
    feeder = tube(canvas, [(-8, -12, -4, 6), (-6, -20, -40, 5.5), (-2, -28, -95, 4.5)])
    canvas.paint(feeder.region, feeder.shape, subject.blood["portal"], label=subject.value("body"))


def paint_gallbladder(subject: Subject) -> None:
    """Gallbladder in its bed under the liver."""
    size = subject.varied(15, 17, 32, share=0.18)
    centre = subject.moved((-48, -46, -6), 4.0)
    region = subject.canvas.around(centre, 60)
    bag = ellipsoid(region, centre, size, (35, 15, 0)) + 0.5 * region.of(subject.coarse)
    paint_hollow(subject, region, bag, ("gallbladder", ""), wall_mm=1.8, content=WATER + 4)


def paint_stomach(subject: Subject) -> None:
    """Stomach from the left dome across the midline: gas in front, fluid and food behind."""
    fill = float(np.clip(subject.rng.normal(1.0, 0.16), 0.7, 1.4))
    sag = subject.rng.normal(0, 10)
    path = [
        (58, 10, 84, 22), (58, -4, 60, 30), (62, -26, 32, 29), (58, -50, 6 + sag, 27),
        (32, -64, -14 + sag, 23), (4, -62, -16 + sag, 19), (-16, -52, -6, 13),
    ]  # fmt: skip
    bag = tube(subject.canvas, [(x, y, z, r * fill) for x, y, z, r in path], reach_mm=6.0)
    region = bag.region
    shape = smooth_common(bag.shape, _under_diaphragm(region, 5.0), 8)
    wall = shape + 0.9 * region.of(subject.rough)
    level = subject.rng.normal(-42, 8)
    food = 22 + 9 * region.of(subject.rough)
    content = np.where(region.y < level, np.float32(AIR + 15), food)
    paint_hollow(subject, region, wall, ("stomach", ""), wall_mm=4.0, content=content)
    bulb = tube(
        subject.canvas,
        [
            (-18, -50, -6, 12),
            (-38, -32, -10, 12),
            (-44, -16, -40, 12),
            (-34, -8, -64, 12),
            (0, -2, -70, 11),
            (26, -14, -52, 11),
        ],
    )
    duodenum = bulb.shape + 0.8 * bulb.region.of(subject.rough)
    paint_hollow(subject, bulb.region, duodenum, ("small_bowel", ""), wall_mm=2.5, content=20.0)


def paint_colon(subject: Subject) -> None:
    """Colon from caecum to anus: pouches, faeces and gas."""
    rng = subject.rng
    sag = rng.normal(-18, 18)
    wide = float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.3))
    path = [
        (-78, -34, -158, 20), (-92, -14, -128, 25), (-98, 10, -80, 22), (-96, 8, -44, 21),
        (-78, -44, -38, 19), (-42, -74, -46 + sag, 18), (6, -80, -54 + sag, 18),
        (54, -72, -34 + sag, 17), (88, -44, 0, 17), (102, -30, 14, 17), (106, 6, -8, 15),
        (104, 32, -50, 14), (100, 22, -110, 14), (88, -14, -155, 13), (58, -30, -190, 13),
        (22, -40, -178, 13), (-20, -26, -186, 13), (-22, 10, -200, 13), (6, 46, -206, 14),
        (4, 58, -236, 18), (0, 46, -268, 17), (0, 50, -296, 8),
    ]  # fmt: skip
    gut = tube(
        subject.canvas, [(*subject.moved((x, y, z), 3.0), r * wide) for x, y, z, r in path], reach_mm=6.0
    )
    pouches = 2.6 * np.cos(gut.along * np.float32(2 * np.pi / 27)) * np.clip((860 - gut.along) / 200, 0.2, 1)
    shape = smooth_common(gut.shape + pouches, cavity_shape(gut.region) + 3.0, 5)
    content = _faeces(subject, gut, float(rng.normal(2.0, 4.0)))
    paint_hollow(subject, gut.region, shape, ("colon", ""), wall_mm=2.4, content=content)


def _faeces(subject: Subject, gut: Tube, level_mm: float) -> Field:
    """Speckled faeces with gas above a level that differs along the bowel."""
    rough = gut.region.of(subject.rough)
    speckled = 30 + 35 * rough - 260 * np.clip(rough - 0.9, 0, 1.5)
    level = level_mm + 7 * np.sin(gut.along / 55.0) + 5 * np.sin(gut.along / 23.0 + 1)
    return np.where(gut.above > level, np.float32(AIR + 20), speckled).astype(np.float32)


def paint_small_bowel(subject: Subject) -> None:
    """Loops that fill the middle of the abdomen, with mesenteric vessels between them."""
    radius = float(np.clip(subject.rng.normal(11.0, 1.2), 8.5, 13.5))
    ends = subject.rng.uniform((-75, -72, -195), (80, -15, -25), (130, 3))
    paint_tree(subject, (-2, -28, -60), ends, subject.value("body"), (0.9, subject.blood["portal"]))
    for walk in _winding_paths(subject.rng, 2.25 * radius):
        points = [(*subject.moved(place, 3.0), radius * subject.rng.normal(1.0, 0.1)) for place in walk]
        _paint_loop(subject, tube(subject.canvas, points, step_mm=9.0, reach_mm=6.0))


def _winding_paths(rng: np.random.Generator, step_mm: float) -> list[list[tuple[float, float, float]]]:
    """Paths that together visit every node of a lattice in the abdomen once, turning at random."""
    axes = [np.arange(low, high, step_mm).tolist() for low, high in ((-74, 78), (-72, 0), (-205, -8))]
    free = {
        (i, j, k): (x, y, z)
        for (i, x), (j, y), (k, z) in product(*(enumerate(axis) for axis in axes))
        if abs(x) < 80 - 0.28 * max(0.0, -130 - z) and (z < -54 or (x > 12 and y < -10))
    }
    paths = []
    while free:
        path = _random_walk(free, rng)
        if len(path) > 2:
            paths.append(path)
    return paths


def _random_walk(
    free: dict[tuple[int, int, int], tuple[float, float, float]], rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Places along a walk over free neighbours until there is none; they are taken out of `free`."""
    ways = list(free)
    path = []
    while ways:
        i, j, k = ways[int(rng.integers(len(ways)))]
        path.append(free.pop((i, j, k)))
        around = ((i + 1, j, k), (i - 1, j, k), (i, j + 1, k), (i, j - 1, k), (i, j, k + 1), (i, j, k - 1))
        ways = [node for node in around if node in free]
    return path


def _paint_loop(subject: Subject, loop: Tube) -> None:
    region = loop.region
    free = np.isin(region.of(subject.canvas.labels), (0, subject.value("body"), subject.value("small_bowel")))
    shape = np.maximum(loop.shape + 1.0 * region.of(subject.rough), cavity_shape(region) + 3.0)
    folds = (
        np.float32(2.0) * np.cos(loop.along * np.float32(2 * np.pi / 9)) * np.clip(1 - loop.along / 900, 0, 1)
    )
    shape = np.where(free, shape, np.float32(6.0)).astype(np.float32)
    gas = (loop.above > 4) & (region.of(subject.coarse) > 1.15)
    content = np.where(gas, np.float32(AIR + 20), 18 + 10 * region.of(subject.rough) + 6 * folds)
    paint_hollow(subject, region, shape, ("small_bowel", ""), wall_mm=2.4, content=content.astype(np.float32))


def paint_bladder(subject: Subject) -> None:
    """Urinary bladder behind the pubic bones, with the soft organs below and behind it."""
    canvas = subject.canvas
    size = subject.varied(40, 30, 32, share=0.2)
    centre = subject.moved((0, -30, -238), 3.0)
    below = canvas.around((0, -12, -272), 40)
    canvas.paint(below, ellipsoid(below, (0, -14, -276), (26, 22, 20)), 55.0, label=subject.value("body"))
    canvas.paint(below, ellipsoid(below, (0, 8, -258), (30, 10, 10)), 45.0, label=subject.value("body"))
    region = canvas.around(centre, 75)
    bladder = ellipsoid(region, centre, size) + 1.2 * region.of(subject.coarse)
    bladder = smooth_common(bladder, cavity_shape(region) + 6, 8)
    paint_hollow(subject, region, bladder, ("urinary_bladder", ""), wall_mm=3.5, content=WATER)


def paint_pelvic_floor(subject: Subject) -> None:
    """Muscles that close the pelvis; unlabelled."""
    region = both_sides(subject.canvas, (0, -90, -330), (75, 90, -200))
    for _, half in subject.sides(region):
        internus = ellipsoid(half, (64, -6, -262), (11, 40, 42), (0, 14, 8))
        subject.canvas.paint(half, internus, 58.0, label=subject.value("body"))
