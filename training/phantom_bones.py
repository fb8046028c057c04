"""Skeleton of the trunk: ribs, spine, shoulders, pelvis and thigh bones."""

from __future__ import annotations

import numpy as np

from .phantom_space import Field, Region, capsule, ellipsoid, profile, smooth_union, superellipse
from .phantom_subject import FAT, Subject, both_sides
from .phantom_trunk import SPINE, WALL, wall_shape

VERTEBRA_Z = (-145, -109, -72, -36, 0, 32, 61, 89, 115, 140, 164, 187, 210, 232, 253, 273, 292, 309, 325)
"""Centres from the fifth lumbar vertebra up to the sixth cervical one."""
RIB_Z = (24, 52, 80, 107, 132, 157, 181, 204, 227, 249, 270, 288)
"""Height of ribs 12 to 1 at the spine."""
RIB_END = (0.36, 0.5, 0.66, 0.7, 0.74, 0.76, 0.78, 0.8, 0.8, 0.8, 0.79, 0.76)
"""Where the bone of ribs 12 to 1 ends, from 0 (spine) to 1 (breastbone) around the chest."""

CORTEX, MARROW = 800.0, 165.0
"""Brightness of dense and of spongy bone in HU."""


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
    paint_bone(
        subject, region, np.maximum(bony, 3.0 - np.abs(region.x)), ("ribs", ""), cortex_mm=1.4, cortex=500.0
    )
    wide = np.interp(region.z, (140, 165, 240, 262), (6, 14, 16, 25))
    front = profile(region, WALL, 2)
    plate = superellipse(region, (wide, front - 1, front + 10), 3.0)
    breastbone = np.maximum(plate, np.maximum(118 - region.z, region.z - 262))
    paint_bone(subject, region, breastbone, ("sternum", ""), cortex_mm=1.2, cortex=330.0)


def _chest_middle(region: Region) -> Field:
    """Y of the middle of the chest."""
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
    paint_bone(
        subject,
        region,
        np.maximum(smooth_union(blocks, arch, 2), -163 - region.z),
        ("vertebra", ""),
        cortex_mm=1.6,
        cortex=430.0,
    )
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
    return np.asarray(np.minimum.reduce([ring, facets, spinous, transverse]))


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
    return np.asarray(np.maximum(np.abs(bend) - thick, (np.hypot(along / 74, height / 66) - 1) * 60))


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
