"""Procedural phantoms: synthetic people with exact labels, the same for a seed on every run.

Seeds from 10 000 upwards are reserved for the sample studies and for tests: never train on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .phantom_abdomen import (
    paint_adrenals,
    paint_bladder,
    paint_colon,
    paint_gallbladder,
    paint_kidneys,
    paint_liver,
    paint_pancreas,
    paint_pelvic_floor,
    paint_small_bowel,
    paint_spleen,
    paint_stomach,
)
from .phantom_bones import paint_pelvis, paint_ribs, paint_shoulders, paint_spine
from .phantom_brain import paint_cerebellum, paint_cerebrum, paint_deep, paint_fourth_ventricle, paint_stem
from .phantom_chest import paint_airways, paint_great_vessels, paint_heart, paint_lungs
from .phantom_head import TISSUES, Head, paint_head, paint_orbits
from .phantom_space import Field, Grid, empty_canvas, smooth_field
from .phantom_subject import AIR, Subject
from .phantom_trunk import paint_body, paint_hip_flexors, paint_muscles, paint_table, paint_wall

RESERVED_SEEDS_FROM = 10_000
"""Seeds from here on belong to samples and tests."""

Phase = Literal["native", "arterial", "portal", "random"]
Contrast = Literal["t1", "t2", "flair", "random"]

_PAIRED_BODY = (
    "lung",
    "kidney",
    "adrenal_gland",
    "hip_bone",
    "femur",
    "erector_spinae",
    "iliopsoas",
    "gluteal_muscles",
)
_SINGLE_BODY = (
    "body", "heart", "liver", "spleen", "gallbladder", "stomach", "pancreas", "aorta",
    "inferior_vena_cava", "portal_vein", "oesophagus", "trachea", "small_bowel", "colon",
    "urinary_bladder", "vertebra", "sacrum", "spinal_canal", "ribs", "sternum",
)  # fmt: skip

_BLOOD: Mapping[str, tuple[float, float, float]] = {
    # native, arterial, portal venous phase, in HU
    "aorta": (42, 320, 155), "right_heart": (42, 230, 150), "cava": (40, 95, 140), "portal": (40, 120, 172),
    "hepatic": (38, 68, 168), "muscle": (48, 120, 112), "liver": (60, 76, 112), "spleen": (48, 125, 122),
    "spleen_stripes": (1.5, 16, 2.5), "renal_cortex": (35, 200, 190), "renal_medulla": (30, 85, 160),
    "pancreas": (40, 105, 92), "adrenal": (20, 75, 70), "wall": (42, 85, 95),
}  # fmt: skip

_PAIRED_HEAD = (
    "cerebral_cortex", "cerebral_white_matter", "lateral_ventricle", "inferior_lateral_ventricle",
    "thalamus", "caudate_nucleus", "putamen", "globus_pallidus", "hippocampus", "amygdala",
    "nucleus_accumbens", "ventral_diencephalon", "cerebellar_cortex", "cerebellar_white_matter", "eyeball",
)  # fmt: skip
_SINGLE_HEAD = ("skull", "cerebrospinal_fluid", "third_ventricle", "fourth_ventricle", "brainstem")


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic study with its truth.

    labels: (k, j, i) uint8; label v is structure `structures[v]` on side `sides[v]`.
    structures: anatomy vocabulary ids by label value; "" for background and unnamed tissue.
    sides: "left", "right" (the patient's) or "" by label value.
    voxels: (k, j, i) float32; HU for CT, arbitrary units for MR.
    affine: (4, 4) float64, (i, j, k) to LPS mm; i grows to the left, j to posterior, k to superior.
    """

    labels: NDArray[np.uint8]
    structures: tuple[str, ...]
    sides: tuple[str, ...]
    voxels: Field
    affine: NDArray[np.float64]

    def mask(self, structure: str, side: str = "") -> NDArray[np.bool_]:
        """(k, j, i) bool of a structure, of both sides together when no side is given."""
        pairs = zip(self.structures, self.sides, strict=True)
        values = [v for v, (s, d) in enumerate(pairs) if s == structure and side in ("", d)]
        return np.isin(self.labels, values)


def label_table(single: tuple[str, ...], paired: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Label values from 1 for single structures and both sides of paired ones."""
    keys = [(name, "") for name in single] + [(name, side) for name in paired for side in ("left", "right")]
    return {key: value for value, key in enumerate(keys, start=1)}


def body_ct(
    seed: int,
    *,
    spacing_mm: tuple[float, float, float] = (5.0, 2.4, 2.4),
    pixels: int = 160,
    z_range_mm: tuple[float, float] = (-350.0, 310.0),
    phase: Phase = "random",
    noise_hu: float = 0.0,
) -> Phantom:
    """CT of the trunk, from the lung apices to the upper thighs.

    spacing_mm: (k, j, i). pixels: rows and columns. z_range_mm: lowest and highest slice, 0 at the
    first lumbar vertebra, 124 at the right dome of the diaphragm, -262 at the hip joints.
    """
    rng = np.random.default_rng([seed, 1])
    grid = _square_grid(spacing_mm, pixels, z_range_mm)
    subject = _person(grid, rng, phase)
    paint_table(subject)
    muscle = paint_body(subject)
    paint_wall(subject, muscle)
    paint_muscles(subject, muscle)
    for paint in (
        paint_shoulders, paint_lungs, paint_pelvic_floor, paint_hip_flexors, paint_ribs, paint_spine,
        paint_pelvis, paint_heart, paint_liver, paint_great_vessels, paint_airways, paint_spleen,
        paint_kidneys, paint_adrenals, paint_pancreas, paint_stomach, paint_gallbladder, paint_colon,
        paint_bladder, paint_small_bowel,
    ):  # fmt: skip
        paint(subject)
    return _finished(subject, noise_hu)


def _square_grid(
    spacing_mm: tuple[float, float, float], pixels: int, z_range_mm: tuple[float, float]
) -> Grid:
    slices = int(np.floor((z_range_mm[1] - z_range_mm[0]) / spacing_mm[0])) + 1
    corner_x, corner_y = (-(pixels - 1) * step / 2 for step in (spacing_mm[2], spacing_mm[1]))
    return Grid((slices, pixels, pixels), spacing_mm, (corner_x, corner_y, z_range_mm[0]))


def _person(grid: Grid, rng: np.random.Generator, phase: Phase) -> Subject:
    scale = tuple(float(s) for s in 1 / np.clip(rng.normal(1.0, 0.04) * rng.normal(1.0, 0.025, 3), 0.88, 1.1))
    canvas = empty_canvas(
        grid,
        rng,
        scale=(scale[0], scale[1], scale[2]),
        warp_mm=((90, 3.5), (38, 1.3)),
        edge_mm=1.1 * grid.spacing_mm[1],
    )
    canvas.voxels[...] = AIR
    column = ("native", "arterial", "portal").index(phase) if phase != "random" else int(rng.integers(3))
    blood = {name: float(row[column] * rng.normal(1.0, 0.07)) for name, row in _BLOOD.items()}
    fat = float(np.clip(rng.gamma(5.0, 3.2), 5, 36))
    return Subject(
        canvas, rng, label_table(_SINGLE_BODY, _PAIRED_BODY), fat, blood,
        rough=smooth_field(grid, rng, 9.0), coarse=smooth_field(grid, rng, 30.0),
    )  # fmt: skip


def _finished(subject: Subject, noise_hu: float) -> Phantom:
    keys = [("", ""), *subject.labels]
    structures = tuple("" if name == "body" else name for name, _ in keys)
    voxels = subject.canvas.voxels
    if noise_hu:
        voxels = voxels + noise_hu * subject.rng.standard_normal(voxels.shape, dtype=np.float32)
    return Phantom(
        subject.canvas.labels, structures, tuple(side for _, side in keys), voxels, subject.canvas.grid.affine
    )


def head_mr(
    seed: int,
    *,
    contrast: Contrast = "random",
    spacing_mm: tuple[float, float, float] = (1.2, 1.2, 1.2),
    shape: tuple[int, int, int] = (160, 192, 160),
    noise: float = 0.0,
) -> Phantom:
    """MR of the head in arbitrary units (0 to about 1000).

    spacing_mm, shape: (k, j, i). noise: standard deviation of Rician noise in the same units.
    """
    rng = np.random.default_rng([seed, 2])
    extent = [step * (size - 1) for step, size in zip(spacing_mm, shape, strict=True)]
    grid = Grid(shape, spacing_mm, (-extent[2] / 2, 2 - extent[1] / 2, 98 - extent[0]))
    head = _head(grid, rng, contrast)
    for paint in (
        paint_head,
        paint_orbits,
        paint_cerebrum,
        paint_cerebellum,
        paint_stem,
        paint_fourth_ventricle,
        paint_deep,
    ):
        paint(head)
    keys = [("", ""), *head.labels]
    voxels = head.canvas.voxels
    if noise:
        real, imaginary = noise * rng.standard_normal((2, *voxels.shape), dtype=np.float32)
        voxels = np.hypot(voxels + real, imaginary)
    structures, sides = tuple(name for name, _ in keys), tuple(side for _, side in keys)
    return Phantom(head.canvas.labels, structures, sides, voxels, grid.affine)


def _head(grid: Grid, rng: np.random.Generator, contrast: Contrast) -> Head:
    scale = 1 / np.clip(rng.normal(1.0, 0.03) * rng.normal(1.0, 0.025, 3), 0.9, 1.07)
    canvas = empty_canvas(
        grid,
        rng,
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        warp_mm=((60, 2.2), (26, 1.0)),
        edge_mm=1.1 * grid.spacing_mm[1],
    )
    column = ("t1", "t2", "flair").index(contrast) if contrast != "random" else int(rng.integers(3))
    tones = {name: float(row[column] * rng.normal(1.0, 0.05)) for name, row in TISSUES.items()}
    canvas.voxels[...] = tones["air"]
    return Head(
        canvas, rng, label_table(_SINGLE_HEAD, _PAIRED_HEAD), tones,
        fine=smooth_field(grid, rng, 5.0, extent_mm=160),
        rough=smooth_field(grid, rng, 11.0, extent_mm=160),
        coarse=smooth_field(grid, rng, 34.0, extent_mm=160),
        folds=smooth_field(grid, rng, 7.2, extent_mm=160), atrophy=float(rng.uniform(0.0, 1.0)),
    )  # fmt: skip
