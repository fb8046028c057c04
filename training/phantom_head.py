"""Head: skull, scalp and face, and the cavity that holds the brain.

Canonical head space: x = 0 in the midline, y = 0 and z = 0 at the anterior commissure, z along the
line from brain-stem to crown when the gaze is horizontal. Lengths are those of an adult, in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .phantom_space import Canvas, Field, Region, capsule, ellipsoid, smooth_union
from .phantom_tubes import tube

# T1, T2, FLAIR, in arbitrary units
TISSUES: Mapping[str, tuple[float, float, float]] = {
    "air": (8, 8, 8), "skin": (430, 330, 330), "fat": (900, 640, 660), "muscle": (360, 190, 270),
    "bone": (45, 40, 40), "marrow": (470, 330, 330), "fluid": (140, 940, 80),
    "cerebral_cortex": (440, 590, 580), "cerebral_white_matter": (690, 370, 430),
    "thalamus": (545, 470, 500), "caudate_nucleus": (475, 530, 550), "putamen": (495, 500, 530),
    "globus_pallidus": (600, 350, 430), "hippocampus": (440, 590, 620), "amygdala": (440, 580, 620),
    "nucleus_accumbens": (470, 540, 560), "ventral_diencephalon": (590, 410, 470),
    "brainstem": (620, 410, 450), "cerebellar_cortex": (440, 590, 550),
    "cerebellar_white_matter": (670, 380, 430), "eye": (190, 980, 150), "lens": (330, 250, 300),
    "choroid": (520, 640, 640),
}  # fmt: skip


@dataclass(frozen=True)
class Head:
    """One synthetic head being built.

    canvas: what is painted on. labels: (structure, side) -> value. tones: brightness by tissue.
    fine, rough, coarse: smooth unit noise of 5, 11 and 34 mm grain. folds: its zero surfaces are the
    sulci. atrophy: 0 (full brain) to 1 (wide spaces).
    """

    canvas: Canvas
    rng: np.random.Generator
    labels: Mapping[tuple[str, str], int]
    tones: Mapping[str, float]
    fine: Field
    rough: Field
    coarse: Field
    folds: Field
    atrophy: float

    def paint(self, region: Region, shape: Field, tissue: str, structure: str | None = None) -> None:
        """Paint a tissue with a little texture; a paired structure is labelled by the side it lies on."""
        tone = self.tones[tissue] * (1 + 0.02 * region.of(self.fine) + 0.015 * region.of(self.rough))
        self.canvas.paint(region, shape, tone)
        if structure is None:
            self.canvas.labels[region.slices][shape < 0] = 0
        else:
            self.label(region, shape, structure)

    def label(self, region: Region, shape: Field, structure: str) -> None:
        """Set the label of a structure, by side where it has sides."""
        labels = self.canvas.labels[region.slices]
        if (structure, "") in self.labels:
            labels[shape < 0] = self.labels[structure, ""]
            return
        to_left = region.of(self.canvas.x)  # not region.x, which is mirrored for right halves
        labels[(shape < 0) & (to_left >= 0)] = self.labels[structure, "left"]
        labels[(shape < 0) & (to_left < 0)] = self.labels[structure, "right"]

    def halves(
        self, low: tuple[float, float, float], high: tuple[float, float, float]
    ) -> tuple[Region, Region]:
        """The box of a left structure and its mirror image, both in coordinates of the left one."""
        left = self.canvas.region(low, high)
        right = self.canvas.region((-high[0], low[1], low[2]), (-low[0], high[1], high[2]))
        return left, right.mirrored


def cranium(region: Region) -> Field:
    """Signed distance to the inner surface of the skull."""
    vault = ellipsoid(region, (0, 17, 14.5), (70, 88.5, 66.5))
    floor = np.interp(region.y, (-80, -40, -8, 14), (-9, -19, -25, -42)).astype(np.float32)
    vault = np.maximum(vault, (floor - region.z) * 0.9)
    half_x = np.abs(region.x)
    middle = ellipsoid(Region(region.slices, half_x, region.y, region.z), (42, 16, -26), (25.5, 44, 22))
    back = ellipsoid(region, (0, 59, -35), (54, 37, 28.5))
    return smooth_union(smooth_union(vault, middle, 8), back, 12)


def paint_head(head: Head) -> None:
    """Skin, fat, muscles, skull and face: everything outside the cranium, which is filled with fluid."""
    whole = head.canvas.whole
    inner = cranium(whole)
    scalp = 13.5 + 0.6 * head.coarse
    neck = np.hypot(whole.x / 1.05, (whole.y - 38 - 0.12 * (whole.z + 80)) / 1.1) - 56
    neck = np.maximum(neck, whole.z + 30)
    face = ellipsoid(whole, (0, -34, -66), (63, 66, 66))
    jaw = ellipsoid(whole, (0, -36, -100), (50, 58, 32))
    nose = ellipsoid(whole, (0, -96, -54), (12, 19, 22), (-18, 0, 0))
    skin = smooth_union(smooth_union(smooth_union(inner - scalp, face, 22), jaw, 14), neck, 26)
    skin = smooth_union(skin, nose, 10)
    head.paint(whole, skin, "skin")
    head.paint(whole, skin + 2.4, "fat")
    temple = np.exp(-np.square((whole.y - 2) / 34) - np.square((whole.z + 12) / 34)) * np.clip(
        np.abs(whole.x) / 60, 0, 1
    )
    deep = np.minimum(skin + 6.0 - 2.5 * temple + 0.8 * head.rough, 4.5 - 4 * temple + inner - 7.5)
    deep = np.maximum(deep, skin + 4.0)
    deep = np.maximum(deep, -np.maximum(3 - 60 * temple, -inner))
    head.paint(whole, np.maximum(deep, 0.7 - np.abs(head.rough) * 6), "muscle")
    _paint_face(head)
    _paint_skull(head, inner)


def _paint_skull(head: Head, inner: Field) -> None:
    whole = head.canvas.whole
    thick = 7.0 + 0.8 * head.coarse
    skull = inner - thick
    head.paint(whole, skull, "bone", "skull")
    diploe = np.abs(inner - thick / 2) - (thick / 2 - 2.0) + 0.5 * head.rough
    head.paint(whole, np.maximum(diploe, -40 - whole.z), "marrow", "skull")
    head.paint(whole, inner, "fluid", "cerebrospinal_fluid")
    box = head.canvas.region((-16, -20, -90), (16, 45, -15))
    clivus = capsule(box, (0, 0, -34), (0, 22, -72), (12.5, 9))
    head.paint(box, clivus, "bone", "skull")
    head.paint(box, clivus + 2.0, "marrow", "skull")
    canal = tube(head.canvas, [(0, 42, -58, 15), (0, 47, -80, 12), (0, 52, -125, 10)])
    head.paint(canal.region, canal.shape - 3, "bone", "skull")
    head.paint(canal.region, canal.shape, "fluid", "cerebrospinal_fluid")


def _paint_face(head: Head) -> None:
    """Jaw, vertebrae, air-filled spaces and the orbits."""
    canvas = head.canvas
    for half in head.halves((-6, -115, -140), (70, 80, -10)):
        jaw = smooth_union(
            capsule(half, (10, -84, -108), (44, -34, -104), (9, 8)),
            capsule(half, (44, -34, -104), (50, -4, -66), (8, 6)),
            6,
        )
        cheek = capsule(half, (30, -72, -62), (60, -30, -56), (8, 5))
        for bone in (jaw, cheek):
            head.paint(half, bone, "bone", "skull")
            head.paint(half, bone + 2.2, "marrow", "skull")
        block = ellipsoid(half, (0, 26, -98), (19, 13, 40))
        head.paint(half, block, "bone", "skull")
        head.paint(half, block + 1.8, "marrow", "skull")
        head.paint(half, ellipsoid(half, (27, -52, -66), (14, 15, 16)), "air")
        head.paint(half, ellipsoid(half, (5, -64, -58), (4.0, 26, 20)), "air")
        head.paint(
            half,
            np.maximum(ellipsoid(half, (6, -50, -36), (9, 16, 8)), 1.2 - np.abs(half.of(head.fine)) * 3),
            "air",
        )
        head.paint(half, ellipsoid(half, (0, -16, -34), (13, 10, 8)), "air")
        head.paint(half, ellipsoid(half, (46, 38, -42), (9, 12, 12)) + 3 * np.abs(half.of(head.fine)), "air")
    throat = tube(canvas, [(0, -22, -62, 7), (0, 0, -80, 7), (0, 4, -125, 7)])
    head.paint(throat.region, throat.shape, "air")


def paint_orbits(head: Head) -> None:
    """Eyes with lens, fat behind them, optic nerves and eye muscles."""
    turn = float(head.rng.normal(0, 6))
    for half in head.halves((-4, -95, -70), (64, 0, -5)):
        cone = smooth_union(
            ellipsoid(half, (33, -60, -38), (18, 20, 14.5)),
            capsule(half, (31, -52, -36), (15, -16, -28), (15, 5)),
            8,
        )
        head.paint(half, cone - 1.6, "bone", "skull")
        head.paint(half, np.maximum(cone, -84 - half.y), "fat")
        head.paint(half, capsule(half, (33, -56, -37), (12, -12, -24), (2.4, 2.4)), "brainstem")
        for across, up in ((11, 0), (-11, 0), (0, 10), (0, -10)):
            muscle = capsule(half, (33 + across, -58, -37 + up), (17, -22, -29), (2.4, 1.6))
            head.paint(half, muscle, "muscle")
        globe = ellipsoid(half, (33, -64, -37), (12.2, 12.2, 12.2))
        head.paint(half, globe - 1.4, "skin", "eyeball")
        head.paint(half, globe, "eye", "eyeball")
        lens = ellipsoid(half, (33 + 0.1 * turn, -72, -37), (4.6, 2.6, 4.6))
        head.paint(half, lens, "lens", "eyeball")
