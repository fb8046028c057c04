"""Walls of the trunk: skin, fat, muscles, the skeleton, and the cavities inside them.

Canonical trunk space: x = 0 in the midline, y = 0 halfway between belly and back, z = 0 at the
middle of the first lumbar vertebra. Lengths are those of an adult of average height, in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .phantom_space import (
    Canvas,
    Field,
    Region,
    capsule,
    ellipsoid,
    profile,
    smooth_common,
    smooth_field,
    smooth_union,
    superellipse,
)
from .phantom_tubes import tube

# z, half width, front y, back y
SKIN = (
    (-420, 168, -80, 80), (-380, 168, -85, 85), (-300, 174, -92, 110), (-230, 170, -97, 114), (-170, 157, -105, 106),
    (-110, 144, -108, 100), (-60, 139, -110, 98), (0, 144, -110, 101), (60, 150, -113, 108), (120, 155, -117, 114),
    (180, 158, -116, 116), (230, 162, -106, 114), (270, 158, -88, 104), (300, 134, -62, 94), (340, 62, -40, 72),
)  # fmt: skip
WALL = (
    (-420, 150, -78, 60), (-300, 150, -84, 78), (-230, 145, -90, 82), (-170, 138, -98, 80), (-110, 134, -102, 76),
    (-60, 131, -103, 76), (0, 134, -103, 80), (60, 138, -105, 86), (120, 137, -106, 92), (180, 127, -104, 95),
    (230, 110, -94, 92), (270, 86, -74, 80), (300, 60, -40, 70), (340, 30, -20, 60),
)  # fmt: skip
CAVITY = (
    (-300, 14, -30, 52), (-280, 40, -60, 60), (-240, 58, -78, 68), (-200, 78, -84, 66), (-170, 100, -88, 62),
    (-140, 115, -91, 60), (-110, 121, -92, 62), (-60, 120, -93, 64), (0, 124, -93, 70), (60, 129, -96, 77),
    (120, 128, -97, 83), (180, 118, -95, 86), (230, 101, -84, 83), (270, 77, -62, 72), (300, 50, -22, 60),
    (318, 26, 0, 50),
)  # fmt: skip

VERTEBRA_Z = (-145, -109, -72, -36, 0, 32, 61, 89, 115, 140, 164, 187, 210, 232, 253, 273, 292, 309, 325)
"""Centres from the fifth lumbar vertebra up to the sixth cervical one."""
# z, y of the body's centre, half width, half depth
SPINE = (
    (-180, 52, 26, 17), (-145, 40, 27, 17), (-109, 31, 26, 17), (-72, 28, 25, 17), (-36, 32, 23, 16.5), (0, 38, 22, 16),
    (61, 52, 19, 15), (115, 62, 17, 15), (187, 68, 15, 14), (232, 62, 14, 12), (273, 48, 15, 10), (330, 30, 13, 8),
)  # fmt: skip

RIB_Z = (24, 52, 80, 107, 132, 157, 181, 204, 227, 249, 270, 288)
"""Height of ribs 12 to 1 at the spine."""
RIB_END = (0.36, 0.5, 0.66, 0.7, 0.74, 0.76, 0.78, 0.8, 0.8, 0.8, 0.79, 0.76)
"""Where the bone of ribs 12 to 1 ends, from 0 (spine) to 1 (breastbone) around the chest."""

CORTEX, MARROW = 800.0, 165.0
FAT, MUSCLE, WATER, AIR = -100.0, 58.0, 5.0, -1000.0


@dataclass(frozen=True)
class Subject:
    """One synthetic person being built.

    canvas: what is painted on. rng: the only source of chance. labels: (structure, side) -> value.
    fat_mm: thickness of the fat under the skin. blood: HU of aorta, veins, portal vein and organs by name.
    rough: smooth unit noise of 14 mm grain that makes surfaces uneven. coarse: the same at 45 mm.
    """

    canvas: Canvas
    rng: np.random.Generator
    labels: Mapping[tuple[str, str], int]
    fat_mm: float
    blood: Mapping[str, float]
    rough: Field
    coarse: Field

    def value(self, structure: str, side: str = "") -> int:
        """Label value of a structure."""
        return self.labels[structure, side]

    def moved(self, point: tuple[float, float, float], sd_mm: float) -> tuple[float, float, float]:
        """The point after a random shift."""
        x, y, z = np.asarray(point) + self.rng.normal(0.0, sd_mm, 3)
        return float(x), float(y), float(z)

    def varied(self, *values: float, share: float = 0.1) -> tuple[float, float, float]:
        """Three lengths after one common and three single random factors."""
        factors = self.rng.normal(1.0, share, 1) * self.rng.normal(1.0, share / 2, 3)
        a, b, c = np.asarray(values) * np.clip(factors, 0.6, 1.5)
        return float(a), float(b), float(c)

    def sides(self, region: Region) -> tuple[tuple[str, Region], tuple[str, Region]]:
        """The region as it is for the left organ, and mirrored for the right one."""
        return ("left", region), ("right", region.mirrored)


def both_sides(canvas: Canvas, low: tuple[float, float, float], high: tuple[float, float, float]) -> Region:
    """Region of a paired organ whose left one lies between two corners."""
    reach = max(abs(low[0]), abs(high[0]))
    return canvas.region((-reach, *low[1:]), (reach, *high[1:]))


def skin_shape(subject: Subject) -> Field:
    """Signed distance to the skin of trunk and upper thighs."""
    whole = subject.canvas.whole
    fat = subject.fat_mm
    z = whole.z
    belly = fat * (1.15 - 0.45 * np.clip((z - 60) / 120, 0, 1))
    hips = fat * (0.95 - 0.3 * np.clip((z - 20) / 150, 0, 1))
    width, front, back = (profile(whole, SKIN, column) for column in (1, 2, 3))
    trunk = superellipse(whole, width + hips, front - belly, back + 0.7 * fat, 2.5)
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


def wall_shape(region: Region) -> Field:
    """Signed distance to the outer surface of ribs and abdominal wall muscles."""
    return superellipse(region, *(profile(region, WALL, column) for column in (1, 2, 3)), 2.3)


def cavity_shape(region: Region) -> Field:
    """Signed distance to the inner surface of chest, abdomen and pelvis."""
    half = superellipse(region, *(profile(region, CAVITY, column) for column in (1, 2, 3)), 2.4)
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


def paint_bone(
    subject: Subject,
    region: Region,
    shape: Field,
    structure: tuple[str, str] | None,
    *,
    cortex_mm: float = 2.0,
    cortex: float = CORTEX,
) -> None:
    """Bone with a dense shell and a spongy inside; unlabelled when the structure is None."""
    label = subject.value("body") if structure is None else subject.value(*structure)
    canvas = subject.canvas
    canvas.paint(region, shape, cortex, label=label)
    canvas.paint(region, shape + cortex_mm, MARROW + 45 * region.of(subject.rough))


def paint_ribs(subject: Subject) -> None:
    """Ribs that slope down to the front, their cartilage, and the breastbone."""
    canvas = subject.canvas
    region = canvas.region((-160, -130, -60), (160, 110, 315))
    middle, depth = _chest_middle(region), _chest_half_depth(region)
    around = np.abs(
        np.arctan2(region.x / profile(region, WALL, 1), (region.y - middle) / depth)
    ) / np.float32(np.pi)
    drop = np.interp(around, (0, 0.12, 0.45, 0.75, 1.0), (4, 4, 58, 84, 52)).astype(np.float32)
    drop *= np.interp(region.z, (150, 290), (1.0, 0.45)).astype(np.float32)
    height = region.z + drop
    number = np.interp(height, RIB_Z, np.arange(12.0), left=-1.0, right=12.0).astype(np.float32)
    nearest = np.clip(np.round(number), 0, 11).astype(np.intp)
    offset = np.abs(height - np.asarray(RIB_Z, np.float32)[nearest])
    shell = np.abs(wall_shape(region) + 6.5)
    rib = (np.hypot(shell / 3.7, offset / 5.8) - 1) * 3.7
    bony = np.maximum(rib, (around - np.asarray(RIB_END, np.float32)[nearest]) * 180)
    gristle = np.maximum(rib, np.maximum(0.6 - around, 7.5 - nearest * 2.0) * 100)
    canvas.paint(region, np.maximum(gristle, around * 100 - 96), 95.0)
    paint_bone(subject, region, np.maximum(bony, 3.0 - np.abs(region.x)), ("ribs", ""), cortex_mm=1.4, cortex=500.0)
    plate = superellipse(region, np.interp(region.z, (140, 165, 240, 262), (6, 14, 16, 25)).astype(np.float32),
                         profile(region, WALL, 2) - 1, profile(region, WALL, 2) + 10, 3.0)  # fmt: skip
    breastbone = np.maximum(plate, np.maximum(118 - region.z, region.z - 262))
    paint_bone(subject, region, breastbone, ("sternum", ""), cortex_mm=1.2, cortex=330.0)


def _chest_middle(region: Region) -> Field:
    """y of the middle of the chest."""
    return np.asarray((profile(region, WALL, 2) + profile(region, WALL, 3)) / 2)


def _chest_half_depth(region: Region) -> Field:
    """Half the depth of the chest."""
    return np.asarray((profile(region, WALL, 3) - profile(region, WALL, 2)) / 2)


def paint_shoulders(subject: Subject) -> None:
    """Shoulder blades and collar bones; unlabelled."""
    region = both_sides(subject.canvas, (10, -110, 130), (170, 120, 320))
    for _, side in subject.sides(region):
        blade = ellipsoid(side, (98, 88, 205), (5, 42, 62), (0, 12, 62))
        paint_bone(subject, side, blade, None, cortex_mm=1.2)
        collar = capsule(side, (22, -72, 262), (125, -18, 290), (7, 6))
        paint_bone(subject, side, collar, None, cortex_mm=1.8)


def paint_spine(subject: Subject) -> None:
    """Vertebrae with arches and processes, discs, the spinal canal, and the sacrum."""
    canvas = subject.canvas
    region = canvas.region((-45, -10, -170), (45, 130, 330))
    middle, wide, deep = (profile(region, SPINE, column) for column in (1, 2, 3))
    tilt = np.interp(region.z, (-160, -72, 60, 150, 300), (-0.35, 0.0, 0.16, 0.0, -0.3)).astype(np.float32)
    height = region.z + tilt * (region.y - middle)
    index = np.interp(height, VERTEBRA_Z, np.arange(len(VERTEBRA_Z))).astype(np.float32)
    pitch = np.gradient(np.asarray(VERTEBRA_Z, np.float64))
    step = np.interp(index, np.arange(len(VERTEBRA_Z)), pitch).astype(np.float32)
    off = (height - np.asarray(VERTEBRA_Z, np.float32)[np.round(index).astype(np.intp)]) / step
    waist = 1 - 0.1 * np.cos(2 * np.pi * off)
    body = (np.hypot(region.x / (wide * waist), (region.y - middle) / (deep * waist)) - 1) * deep
    disc = np.maximum(body, np.abs(off) * step - step / 2)
    canvas.paint(region, np.maximum(disc, -162 - region.z), 85.0, label=subject.value("body"))
    blocks = np.maximum(body, (np.abs(off) - 0.38) * step)
    arch = _arch(region, middle + deep + 7, wide, off, step)
    paint_bone(subject, region, np.maximum(smooth_union(blocks, arch, 2), -163 - region.z), ("vertebra", ""), cortex_mm=1.6, cortex=430.0)
    _paint_canal(subject, region, middle + deep + 7)
    _paint_sacrum(subject)


def _arch(region: Region, canal_y: Field, wide: Field, off: Field, step: Field) -> Field:
    """Ring around the canal, spinous process and transverse processes of every vertebra."""
    ring = np.abs(np.hypot(region.x / 1.15, region.y - canal_y) - 12) - 3.4
    ring = np.maximum(ring, (np.abs(off + 0.05) - 0.36) * step)
    spine_tip = (region.y - canal_y - 12) * 0.35 + off * step
    spinous = np.maximum(np.abs(region.x) - 3.2, np.abs(spine_tip) - 8)
    spinous = np.maximum(spinous, np.maximum(canal_y + 8 - region.y, region.y - canal_y - 36))
    across = np.hypot(region.y - canal_y - 1 - 0.12 * np.abs(region.x), off * step - 2) - 4.5
    transverse = np.maximum(across, np.maximum(10 - np.abs(region.x), np.abs(region.x) - wide - 16))
    facets = np.hypot(np.abs(region.x) - 15, region.y - canal_y - 9) - 6.5
    return np.minimum(np.minimum(ring, facets), np.minimum(spinous, transverse))


def _paint_canal(subject: Subject, region: Region, canal_y: Field) -> None:
    canal = np.hypot(region.x / 1.15, region.y - canal_y) - 8.8
    canal = np.maximum(canal, -170 - region.z)
    subject.canvas.paint(region, canal, 22.0, label=subject.value("spinal_canal"))
    cord = np.hypot(region.x / 1.2, region.y - canal_y) - 4.6
    subject.canvas.paint(region, np.maximum(cord, 10 - region.z), 45.0)


def _paint_sacrum(subject: Subject) -> None:
    region = subject.canvas.region((-65, 20, -310), (65, 130, -150))
    middle = np.interp(region.z, (-300, -275, -230, -195, -165), (66, 78, 88, 76, 54)).astype(np.float32)
    wide = np.interp(region.z, (-300, -272, -235, -205, -175, -160), (4, 10, 28, 46, 54, 42)).astype(
        np.float32
    )
    deep = np.interp(region.z, (-300, -270, -230, -165), (4, 6, 13, 20)).astype(np.float32)
    bent = region.y - middle + 0.004 * region.x**2
    sacrum = (np.hypot(region.x / wide, bent / deep) - 1) * deep
    sacrum = np.maximum(sacrum, np.maximum(region.z + 163, -296 - region.z))
    paint_bone(subject, region, sacrum, ("sacrum", ""), cortex_mm=1.8, cortex=380.0)
    canal = np.maximum(np.hypot(region.x / 1.4, region.y - middle - 9) - 5, -232 - region.z)
    subject.canvas.paint(region, canal, 10.0, label=subject.value("spinal_canal"))


def paint_pelvis(subject: Subject) -> None:
    """Hip bones with their sockets, and thigh bones."""
    region = both_sides(subject.canvas, (0, -90, -420), (165, 110, -90))
    head = subject.moved((88, 2, -262), 2.0)
    for side, half in subject.sides(region):
        socket = np.maximum(ellipsoid(half, head, (34, 33, 34)), -ellipsoid(half, head, (26, 26, 26)))
        socket = np.maximum(socket, (half.x - head[0] - 12) * 0.6 + (head[2] - 14 - half.z) * 0.8)
        bone = smooth_union(_wing(half), socket, 8)
        for start, end, radii in (
            ((72, -12, -258), (12, -58, -282), (9, 8)),
            ((13, -56, -285), (52, 30, -322), (7, 8)),
            ((84, 28, -268), (55, 44, -322), (15, 13)),
            ((78, 30, -245), (62, 48, -200), (14, 12)),
        ):
            bone = smooth_union(bone, capsule(half, start, end, radii), 6)
        bone = np.maximum(
            bone,
            np.maximum(
                4 - half.x, 25 - np.hypot(half.x - head[0], np.hypot(half.y - head[1], half.z - head[2]))
            ),
        )
        paint_bone(subject, half, bone, ("hip_bone", side), cortex_mm=1.8, cortex=620.0)
        _paint_femur(subject, half, head, side)


def _wing(half: Region) -> Field:
    """The curved blade of the left hip bone, from sacrum to the front of the crest."""
    along = (half.x - 88) * 0.55 - (half.y - 18) * 0.83
    across = (half.x - 88) * 0.83 + (half.y - 18) * 0.55
    height = half.z + 172
    bend = across - 0.0035 * along**2 - 0.28 * height + 6
    thick = 4.5 + 4.0 * np.clip(np.hypot(along / 68, height / 62) - 0.55, 0, 1)
    return np.maximum(np.abs(bend) - thick, (np.hypot(along / 74, height / 66) - 1) * 60)


def _paint_femur(subject: Subject, half: Region, head: tuple[float, float, float], side: str) -> None:
    neck = (head[0] + 36, head[1] + 8, head[2] - 24)
    bone = ellipsoid(half, head, (23.5, 23.5, 23.5))
    bone = smooth_union(bone, capsule(half, head, neck, (15, 16)), 6)
    bone = smooth_union(bone, ellipsoid(half, (neck[0] + 6, neck[1] + 8, neck[2] + 2), (15, 17, 20)), 6)
    shaft_end = (neck[0] - 8, neck[1] - 2, -440)
    shaft = capsule(half, (neck[0], neck[1], neck[2] - 10), shaft_end, (16, 13.5))
    paint_bone(subject, half, smooth_union(bone, shaft, 6), ("femur", side), cortex_mm=2.2)
    canal = capsule(half, (neck[0], neck[1], neck[2] - 45), shaft_end, (7, 6.5))
    dense = np.maximum(shaft, half.z + 305)
    subject.canvas.paint(half, dense, CORTEX + 250)
    subject.canvas.paint(half, canal, FAT + 70)
