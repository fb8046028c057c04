"""Chest: lungs over the diaphragm, airways, heart, great vessels and gullet."""

from __future__ import annotations

import numpy as np

from .phantom_space import Field, Region, capsule, ellipsoid, smooth_common, smooth_union
from .phantom_subject import AIR, FAT, Subject
from .phantom_trunk import cavity_shape
from .phantom_tubes import Points, tube, vessel_tree

AORTA = (
    (6, -18, 178, 15), (-14, -30, 205, 15), (-12, -24, 232, 14.5), (4, 0, 248, 13.5), (20, 26, 240, 13),
    (27, 42, 215, 12.5), (25, 44, 150, 12), (18, 38, 95, 11.5), (13, 24, 50, 11), (12, 13, 10, 10),
    (10, 6, -50, 9), (5, 3, -106, 8.5),
)  # fmt: skip
INFERIOR_VENA_CAVA = (
    (-8, 6, -122, 9), (-20, 8, -100, 11), (-22, 10, -30, 11.5), (-25, 10, 30, 12), (-29, 8, 80, 13),
    (-28, -4, 118, 13), (-26, -14, 135, 12),
)  # fmt: skip
_UNNAMED_VESSELS = (
    # caval, pulmonary, carotid, iliac, renal and superior mesenteric vessels, and the blood in them
    ([(-26, -18, 160, 11), (-26, -14, 200, 10), (-28, -6, 250, 9), (-30, -12, 290, 7)], "right_heart"),
    ([(4, -42, 180, 14), (12, -30, 205, 14), (18, -6, 206, 12), (34, 8, 198, 9)], "right_heart"),
    ([(12, -6, 206, 12), (-12, 0, 202, 11), (-36, 8, 196, 9)], "right_heart"),
    ([(-8, -12, 246, 6), (-14, -8, 280, 5.5), (-24, 0, 310, 5)], "aorta"),
    ([(14, 4, 246, 5), (20, 2, 280, 5), (24, 4, 312, 4.5)], "aorta"),
    ([(5, 3, -106, 7), (26, 8, -145, 6.5), (46, -4, -190, 6), (72, -44, -255, 5),
      (80, -52, -320, 5)], "aorta"),
    ([(5, 3, -106, 7), (-22, 8, -145, 6.5), (-46, -4, -190, 6), (-72, -44, -255, 5),
      (-80, -52, -320, 5)], "aorta"),
    ([(-8, 8, -122, 8), (30, 18, -155, 8), (48, 6, -200, 7), (62, -38, -255, 7), (68, -44, -320, 6)], "cava"),
    ([(-8, 8, -122, 8), (-30, 20, -155, 8), (-50, 6, -200, 7), (-62, -38, -255, 7),
      (-68, -44, -320, 6)], "cava"),
    ([(12, 8, -14, 4), (36, 22, -16, 3.5), (52, 30, -18, 3.5)], "aorta"),
    ([(-22, 8, -18, 5.5), (10, -4, -14, 5), (36, 16, -18, 5), (52, 28, -20, 5)], "cava"),
    ([(-22, 10, -30, 5.5), (-40, 24, -32, 5), (-54, 30, -32, 5)], "cava"),
    ([(12, 4, -2, 4.5), (10, -10, -20, 4.5), (6, -22, -80, 4)], "aorta"),
)  # fmt: skip


def diaphragm_height(region: Region) -> Field:
    """Height z of the diaphragm above every (x, y): two domes that fall steeply to the ribs."""
    top = 122 - 13 / (1 + np.exp(-region.x / 15)) - 22 * np.square((np.abs(region.x) - 66) / 66)
    to_wall = np.clip(-cavity_shape(region), 0, None)
    falls = np.interp(region.y, (-60, 0, 60), (70, 100, 125)) * np.exp(-to_wall / 9)
    return np.asarray(top - falls, np.float32)


def paint_lungs(subject: Subject) -> None:
    """Both lungs with branching vessels; the fat of the mediastinum is what stays between them."""
    canvas = subject.canvas
    region = canvas.region((-140, -110, -20), (140, 110, 318))
    chest = cavity_shape(region) + 2.0
    above = diaphragm_height(region) - region.z
    spine = np.hypot(region.x, (region.y - 62) * 0.9) - 27
    middle = np.interp(region.z, (60, 120, 180, 230, 280, 310), (15, 15, 15, 14, 13, 10)).astype(np.float32)
    narrow = np.clip((region.y - 10) / 60, 0, 1) * 8 + np.clip((-region.y - 45) / 30, 0, 1) * 9
    between = np.abs(region.x) - middle + narrow + 2 * region.of(subject.coarse)
    for side, x in (("left", region.x), ("right", -region.x)):
        lung = np.maximum(np.maximum(chest, above), np.maximum(-spine, -between))
        lung = smooth_common(np.maximum(lung, 2 - x), np.full_like(lung, -30), 6)
        texture = -860 + 45 * np.clip(region.y / 80, -1, 1) + 14 * region.of(subject.rough)
        canvas.paint(region, lung, texture, label=subject.value("lung", side))
    _paint_lung_vessels(subject)


def _paint_lung_vessels(subject: Subject) -> None:
    for sign, side in ((1, "left"), (-1, "right")):
        ends = subject.rng.uniform((20, -88, 15), (122, 82, 300), (600, 3)) * (sign, 1, 1)
        inside = np.hypot((np.abs(ends[:, 0]) - 66) / 56, (ends[:, 1] + 4) / 88) < 1
        paint_tree(subject, (sign * 36, 14, 194), ends[inside], subject.value("lung", side), (0.9, 35.0))


def paint_tree(
    subject: Subject, root: tuple[float, float, float], ends: Points, label: int, tip: tuple[float, float]
) -> None:
    """Vessels from a root to the given ends, only where voxels have a label, which stays.

    ends: (n, 3) canonical mm. tip: radius of the last branches in mm, and the value painted.
    """
    for start, end in vessel_tree(root, ends, tip_radius=tip[0]):
        reach = start[3] + 2.0
        low, high = np.minimum(start, end)[:3] - reach, np.maximum(start, end)[:3] + reach
        region = subject.canvas.region(low.tolist(), high.tolist())
        vessel = capsule(region, start[:3].tolist(), end[:3].tolist(), (start[3], end[3]))
        outside = region.of(subject.canvas.labels) != label
        subject.canvas.paint(region, np.where(outside, np.float32(9), vessel), tip[1])


def paint_airways(subject: Subject) -> None:
    """Windpipe and main bronchi, gullet behind them."""
    canvas = subject.canvas
    gullet = tube(
        canvas, [(3, 36, 312, 7), (6, 36, 230, 7), (8, 32, 180, 7.5), (14, 20, 130, 7.5), (22, 6, 100, 8)]
    )
    paint_hollow(subject, gullet.region, gullet.shape, ("oesophagus", ""), wall_mm=3.0, content=20.0)
    pipes = [
        [(0, 10, 318, 8.5), (1, 16, 270, 8.5), (2, 22, 226, 8.5)],
        [(2, 22, 226, 7.5), (20, 22, 205, 6.5), (40, 22, 192, 5.5)],
        [(2, 22, 226, 8), (-16, 22, 208, 7.5), (-38, 22, 190, 5.5)],
    ]
    for points in pipes:
        pipe = tube(canvas, points)
        canvas.paint(pipe.region, pipe.shape - 1.8, 40.0)
        canvas.paint(pipe.region, pipe.shape, AIR + 10, label=subject.value("trachea"))


def paint_hollow(
    subject: Subject,
    region: Region,
    shape: Field,
    structure: tuple[str, str],
    *,
    wall_mm: float,
    content: Field | float,
) -> None:
    """An organ with an enhancing wall and something inside."""
    canvas = subject.canvas
    canvas.paint(region, shape, subject.blood["wall"], label=subject.value(*structure))
    canvas.paint(region, shape + wall_mm, content)


def paint_heart(subject: Subject) -> None:
    """Heart with fat around it and blood in its four chambers."""
    canvas = subject.canvas
    centre = subject.moved((24, -34, 143), 3.0)
    radii = subject.varied(60, 43, 45, share=0.07)
    region = canvas.around(centre, max(radii) + 16)
    turn = (0.0, -24.0, -34.0)
    sac = ellipsoid(region, centre, (radii[0] + 7, radii[1] + 7, radii[2] + 6), turn)
    free = np.maximum(sac, region.z - 200)
    free = np.maximum(free, diaphragm_height(region) - 6 - region.z)
    canvas.paint(region, free, FAT + 8 * region.of(subject.rough), label=subject.value("body"))
    base = ellipsoid(region, (centre[0] - 22, centre[1] + 14, centre[2] + 22), (40, 34, 36))
    heart = smooth_union(ellipsoid(region, centre, radii, turn), base, 14)
    heart = np.maximum(heart, diaphragm_height(region) - region.z)
    heart = np.maximum(heart, cavity_shape(region) + 5) + 0.8 * region.of(subject.rough)
    canvas.paint(region, heart, subject.blood["muscle"], label=subject.value("heart"))
    x, y, z = centre
    chambers = (
        ((x + 18, y - 4, z - 6), (32, 17, 19), "aorta"),
        ((x - 2, y - 24, z - 4), (31, 15, 24), "right_heart"),
        ((x - 40, y + 4, z + 4), (18, 22, 28), "right_heart"),
        ((x - 12, y + 32, z + 18), (29, 17, 21), "aorta"),
    )
    for place, size, blood in chambers:
        chamber = np.maximum(ellipsoid(region, place, size, turn), heart + 2.5)
        canvas.paint(region, chamber, subject.blood[blood])


def paint_great_vessels(subject: Subject) -> None:
    """Aorta, vena cava and the large vessels without a label of their own."""
    canvas, blood = subject.canvas, subject.blood
    size = float(subject.rng.normal(1.0, 0.1))
    trunks = [
        (tube(canvas, [(x, y, z, r * size) for x, y, z, r in table], reach_mm=7.0), structure, name)
        for table, structure, name in (
            (INFERIOR_VENA_CAVA, "inferior_vena_cava", "cava"),
            (AORTA, "aorta", "aorta"),
        )
    ]
    vessels = [
        (tube(canvas, points, reach_mm=7.0), "body", name) for points, name in _UNNAMED_VESSELS
    ] + trunks
    lungs = (subject.value("lung", "left"), subject.value("lung", "right"))
    for vessel, _, _ in vessels:
        coat = np.maximum(vessel.shape - 3.5, 60 - vessel.region.z)
        coat = np.where(np.isin(vessel.region.of(canvas.labels), lungs), coat, np.float32(9))
        canvas.paint(vessel.region, coat, FAT + 10, label=subject.value("body"))
    for vessel, structure, name in vessels:
        canvas.paint(vessel.region, vessel.shape, blood[name], label=subject.value(structure))
