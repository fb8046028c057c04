"""Walls of the trunk: skin, fat and muscles, the cavities inside them, and the couch underneath."""

from __future__ import annotations

import numpy as np

from .phantom_space import Field, Region, ellipsoid, profile, smooth_union, superellipse
from .phantom_subject import FAT, MUSCLE, Subject, both_sides
from .phantom_tubes import tube

# z, half width, front y, back y
SKIN = (
    (-420, 168, -80, 80), (-380, 168, -85, 85), (-300, 174, -92, 110), (-230, 170, -97, 114),
    (-170, 157, -105, 106), (-110, 144, -108, 100), (-60, 139, -110, 98), (0, 144, -110, 101),
    (60, 150, -113, 108), (120, 155, -117, 114), (180, 158, -116, 116), (230, 162, -106, 114),
    (270, 158, -88, 104), (300, 134, -62, 94), (340, 62, -40, 72),
)  # fmt: skip
WALL = (
    (-420, 150, -78, 60), (-300, 150, -84, 78), (-230, 145, -90, 82), (-170, 138, -98, 80),
    (-110, 134, -102, 76), (-60, 131, -103, 76), (0, 134, -103, 80), (60, 138, -105, 86),
    (120, 137, -106, 92), (180, 127, -104, 95), (230, 110, -94, 92), (270, 86, -74, 80),
    (300, 60, -40, 70), (340, 30, -20, 60),
)  # fmt: skip
CAVITY = (
    (-300, 14, -30, 52), (-280, 40, -60, 60), (-240, 58, -78, 68), (-200, 78, -84, 66),
    (-170, 100, -88, 62), (-140, 115, -91, 60), (-110, 121, -92, 62), (-60, 120, -93, 64),
    (0, 124, -93, 70), (60, 129, -96, 77), (120, 128, -97, 83), (180, 118, -95, 86), (230, 101, -84, 83),
    (270, 77, -62, 72), (300, 50, -22, 60), (318, 26, 0, 50),
)  # fmt: skip
# z, y of the middle of the vertebral bodies, their half width, half depth
SPINE = (
    (-180, 52, 26, 17), (-145, 40, 27, 17), (-109, 31, 26, 17), (-72, 28, 25, 17), (-36, 32, 23, 16.5),
    (0, 38, 22, 16), (61, 52, 19, 15), (115, 62, 17, 15), (187, 68, 15, 14), (232, 62, 14, 12),
    (273, 48, 15, 10), (330, 30, 13, 8),
)  # fmt: skip


def skin_shape(subject: Subject) -> Field:
    """Signed distance to the skin of trunk and upper thighs."""
    whole = subject.canvas.whole
    fat = subject.fat_mm
    z = whole.z
    belly = fat * (1.15 - 0.45 * np.clip((z - 60) / 120, 0, 1))
    hips = fat * (0.95 - 0.3 * np.clip((z - 20) / 150, 0, 1))
    width, front, back = (profile(whole, SKIN, column) for column in (1, 2, 3))
    trunk = superellipse(whole, (width + hips, front - belly, back + 0.7 * fat), 2.5)
    thighs = np.hypot((np.abs(whole.x) - 90) / 1.0, whole.y - 6) - (80 + 0.5 * fat)
    below = np.clip((-285 - z) / 30, 0, 1)
    return np.asarray(np.maximum(trunk, thighs * below - 200 * (1 - below)), np.float32)


def paint_body(subject: Subject) -> Field:
    """Skin, fat under it and muscle inside; returns the signed distance to the muscle surface."""
    canvas, whole = subject.canvas, subject.canvas.whole
    skin = skin_shape(subject)
    body = subject.value("body")
    canvas.paint(whole, skin, 20.0, label=body)
    canvas.paint(whole, skin + 2.0, FAT + 6 * subject.rough, label=body)
    belly = np.clip(-whole.y / 100, -0.4, 1) * np.clip(1 - (whole.z - 40) / 160, 0, 1)
    thickness = 4 + subject.fat_mm * (0.8 + 0.4 * belly + 0.1 * subject.coarse)
    muscle = smooth_union(skin + thickness, skin + 60, 8)
    canvas.paint(whole, muscle, MUSCLE + 5 * subject.rough)
    septa = np.abs(subject.coarse + 0.3 * subject.rough) * 14 - 0.7 - 0.5 * np.clip(subject.rough, -1, 2)
    canvas.paint(whole, np.maximum(septa, muscle + 4), FAT + 50)
    return muscle


def paint_table(subject: Subject) -> None:
    """The curved couch under the back: a thin shell around foam, not bent by the deformation of the body."""
    canvas = subject.canvas
    _, y_axis, x_axis = canvas.axes
    bow = y_axis[:, None] + 0.0007 * np.square(x_axis)[None, :]
    top = (122 + 0.7 * subject.fat_mm) / canvas.scale[1]
    couch = np.maximum(np.abs(bow - top - 14) - 12, np.abs(x_axis)[None, :] - 195)
    couch = np.broadcast_to(couch.astype(np.float32), canvas.labels.shape)
    free = np.maximum(couch, 4 - skin_shape(subject))
    canvas.paint(canvas.whole, free, -350.0)
    canvas.paint(canvas.whole, free + 2.5, -940.0)


def _outline(region: Region, table: tuple[tuple[int, int, int, int], ...]) -> tuple[Field, Field, Field]:
    """Half width, front and back of a stack of superellipses at the region's heights."""
    return profile(region, table, 1), profile(region, table, 2), profile(region, table, 3)


def wall_shape(region: Region) -> Field:
    """Signed distance to the outer surface of ribs and abdominal wall muscles."""
    return superellipse(region, _outline(region, WALL), 2.3)


def cavity_shape(region: Region) -> Field:
    """Signed distance to the inner surface of chest, abdomen and pelvis."""
    half = superellipse(region, _outline(region, CAVITY), 2.4)
    return np.maximum(half, np.maximum(region.z - 316, -300 - region.z))


def paint_wall(subject: Subject, muscle: Field) -> None:
    """Abdominal wall with its fat planes, and the fat-filled space inside."""
    canvas = subject.canvas
    region = canvas.region((-160, -130, -310), (160, 110, 330))
    wall = wall_shape(region)
    sheet = np.maximum(np.abs(wall) - 1.2, region.of(muscle) + 2)
    canvas.paint(region, np.maximum(sheet, -140 - region.z), FAT + 15)
    layers = np.maximum(np.abs(wall + 5) - 0.6, np.maximum(region.z - 20, -150 - region.z))
    canvas.paint(region, np.maximum(layers, 45 - np.abs(region.x)), FAT + 60)
    canvas.paint(region, cavity_shape(region), FAT + 8 * region.of(subject.rough))


def paint_muscles(subject: Subject, muscle: Field) -> None:
    """Back, buttock and hip flexor muscles, each with a thin coat of fat."""
    canvas = subject.canvas
    back = both_sides(canvas, (0, 20, -260), (75, 140, 210))
    for side, region in subject.sides(back):
        y = profile(region, SPINE, 1) + 47
        wide = np.interp(region.z, (-260, -200, -100, 0, 100, 210), (10, 24, 32, 31, 24, 15)).astype(
            np.float32
        )
        column = (
            np.hypot((region.x - 33 + (30 - wide) / 2) / wide, (region.y - y) / (0.66 * wide)) - 1
        ) * wide
        _paint_muscle(subject, region, np.maximum(column, region.of(muscle)), ("erector_spinae", side))
    hips = both_sides(canvas, (10, -10, -350), (175, 150, -120))
    for side, region in subject.sides(hips):
        maximus = ellipsoid(region, (78, 82, -242), (66, 36, 92), (0, 0, -18))
        medius = ellipsoid(region, (122, 22, -190), (24, 52, 66), (0, -8, 20))
        both = np.maximum(smooth_union(maximus, medius, 6), region.of(muscle))
        _paint_muscle(subject, region, both, ("gluteal_muscles", side))


def paint_hip_flexors(subject: Subject) -> None:
    """Iliopsoas of both sides, from the first lumbar vertebra to the thigh bone."""
    size = subject.rng.normal(1.0, 0.1)
    for sign, side in ((1, "left"), (-1, "right")):
        path = [
            (27, 36, 5, 5), (36, 36, -40, 14), (44, 33, -85, 20), (52, 24, -130, 22), (66, 0, -180, 20),
            (78, -38, -235, 17), (88, -38, -265, 15), (100, -8, -310, 9),
        ]  # fmt: skip
        psoas = tube(subject.canvas, [(sign * x, y, z, r * size) for x, y, z, r in path])
        _paint_muscle(subject, psoas.region, psoas.shape, ("iliopsoas", side))
        iliacus = tube(
            subject.canvas,
            [
                (sign * 92, 22, -128, 8),
                (sign * 96, 2, -165, 15),
                (sign * 88, -22, -205, 14),
                (sign * 84, -36, -240, 10),
            ],
        )
        _paint_muscle(subject, iliacus.region, iliacus.shape, ("iliopsoas", side))


def _paint_muscle(subject: Subject, region: Region, shape: Field, structure: tuple[str, str]) -> None:
    uneven = shape + 0.8 * region.of(subject.rough)
    subject.canvas.paint(region, uneven - 1.5, FAT + 25)
    value = MUSCLE + 4 + 6 * region.of(subject.rough)
    subject.canvas.paint(region, uneven, value, label=subject.value(*structure))
