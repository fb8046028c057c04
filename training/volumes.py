"""Labelled volumes that training slices are cut from; held in memory on the (x, y, z) grid of LPS.

x grows to the patient's left, y to posterior, z to superior. Every volume says which structures
were looked for by whoever labelled it: a structure that was not looked for is never taught as
absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_medreason.core.geometry import (
    RAS_FROM_LPS,
    axis_directions,
    closest_patient_axes,
    spacing_ijk,
)
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

LEFT, RIGHT = 1, 2
Labelling = Mapping[int, tuple[str, str]]
"""Label value to (structure, side); side is "left", "right" or ""."""


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One patient or phantom: an image and its labels.

    voxels: (x, y, z) float32 native grey values.
    codes: (x, y, z) uint8; code 0 is background. structure: (codes,) int64, 0 background or
    1 + index in the expert's structures. side: (codes,) int64, 0 none, 1 left, 2 right.
    spacing: (3,) mm. known: (1 + K,) bool, the structures that were looked for.
    weight: share of the training images. planes: chance of an axial, coronal, sagittal cut.
    """

    name: str
    voxels: Tensor
    codes: Tensor
    structure: Tensor
    side: Tensor
    spacing: Tensor
    known: Tensor
    weight: float = 1.0
    planes: tuple[float, float, float] = (0.6, 0.22, 0.18)


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Several whole-head label maps on one grid, for images made from labels alone.

    codes: (N, x, y, z) uint8, 1 mm, centred on the brain. label: (codes,) the label values in the
    files. structure, side: as in LabelledVolume. half_extent: (N, 3) mm of half the brain's box.
    """

    codes: Tensor
    label: Tensor
    structure: Tensor
    side: Tensor
    half_extent: Tensor


def load_lps(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """(x, y, z) array of a NIfTI file with axes permuted and flipped to L, P, S; and its spacing in mm."""
    image = nibabel.Nifti1Image.from_filename(path)
    affine = RAS_FROM_LPS @ image.affine
    towards = closest_patient_axes(affine)
    voxels = np.asarray(image.dataobj).transpose(np.argsort(towards))
    letters = axis_directions(affine)
    flips = [slice(None, None, 1 if letter in letters else -1) for letter in "LPS"]
    spacing = [spacing_ijk(affine)[towards.index(axis)] for axis in range(3)]
    return voxels[tuple(flips)], (spacing[0], spacing[1], spacing[2])


def recode(
    labels: NDArray[np.generic], labelling: Labelling, structures: Sequence[str]
) -> tuple[NDArray[np.uint8], Tensor, Tensor]:
    """Label values to consecutive codes, with the structure and the side of each code."""
    table = np.zeros(max(int(labels.max()), *labelling) + 1, np.uint8)
    structure, side = [0], [0]
    pairs = sorted(set(labelling.values()))
    code_of = {pair: code for code, pair in enumerate(pairs, start=1)}
    for name, where in pairs:
        structure.append(1 + structures.index(name))
        side.append({"left": LEFT, "right": RIGHT}.get(where, 0))
    for value, pair in labelling.items():
        table[value] = code_of[pair]
    return table[labels.astype(np.int64)], torch.tensor(structure), torch.tensor(side)


def known_mask(names: Iterable[str], structures: Sequence[str]) -> Tensor:
    """(1 + K,) bool with background and the named structures set."""
    wanted = set(names)
    return torch.tensor([True] + [name in wanted for name in structures])


def body_volume(
    name: str,
    voxels: NDArray[np.floating],
    labels: NDArray[np.generic],
    *,
    spacing: tuple[float, float, float],
    labelling: Labelling,
    known: Iterable[str],
    weight: float,
) -> LabelledVolume:
    """A trunk CT with its labels, clipped to the range of HU that matters."""
    codes, structure, side = recode(labels, labelling, BODY_CT)
    clipped = np.clip(voxels, -1024, 1600).astype(np.float32)
    return LabelledVolume(
        name,
        torch.from_numpy(np.ascontiguousarray(clipped)),
        torch.from_numpy(np.ascontiguousarray(codes)),
        structure,
        side,
        torch.tensor(spacing),
        known_mask(known, BODY_CT),
        weight,
    )


def _sided(values: tuple[int, int], name: str) -> dict[int, tuple[str, str]]:
    return {values[0]: (name, "left"), values[1]: (name, "right")}


FREESURFER: dict[int, tuple[str, str]] = {
    **_sided((2, 41), "cerebral_white_matter"),
    **_sided((3, 42), "cerebral_cortex"),
    **_sided((4, 43), "lateral_ventricle"),
    **_sided((5, 44), "inferior_lateral_ventricle"),
    **_sided((7, 46), "cerebellar_white_matter"),
    **_sided((8, 47), "cerebellar_cortex"),
    **_sided((10, 49), "thalamus"),
    **_sided((11, 50), "caudate_nucleus"),
    **_sided((12, 51), "putamen"),
    **_sided((13, 52), "globus_pallidus"),
    14: ("third_ventricle", ""),
    15: ("fourth_ventricle", ""),
    16: ("brainstem", ""),
    **_sided((17, 53), "hippocampus"),
    **_sided((18, 54), "amygdala"),
    **_sided((26, 58), "nucleus_accumbens"),
    24: ("cerebrospinal_fluid", ""),
    **_sided((28, 60), "ventral_diencephalon"),
}
"""FreeSurfer label values, as the synthseg label maps use them."""

TOTAL: dict[int, tuple[str, str]] = {
    1: ("spleen", ""),
    **_sided((3, 2), "kidney"),
    4: ("gallbladder", ""),
    5: ("liver", ""),
    6: ("stomach", ""),
    7: ("pancreas", ""),
    **_sided((9, 8), "adrenal_gland"),
    **dict.fromkeys((10, 11), ("lung", "left")),
    **dict.fromkeys((12, 13, 14), ("lung", "right")),
    15: ("oesophagus", ""),
    18: ("small_bowel", ""),
    19: ("small_bowel", ""),
    20: ("colon", ""),
    21: ("urinary_bladder", ""),
    **dict.fromkeys((25, 26), ("sacrum", "")),
    **dict.fromkeys(range(27, 51), ("vertebra", "")),
    51: ("heart", ""),
    52: ("aorta", ""),
    63: ("inferior_vena_cava", ""),
    64: ("portal_vein", ""),
    **_sided((75, 76), "femur"),
    **_sided((77, 78), "hip_bone"),
    79: ("spinal_canal", ""),
    **dict.fromkeys((80, 82, 84), ("gluteal_muscles", "left")),
    **dict.fromkeys((81, 83, 85), ("gluteal_muscles", "right")),
    **_sided((86, 87), "erector_spinae"),
    **_sided((88, 89), "iliopsoas"),
    **dict.fromkeys(range(92, 104), ("ribs", "left")),
    **dict.fromkeys(range(104, 116), ("ribs", "right")),
}
"""Label values of TotalSegmentator's "total" task (CT)."""

TOTAL_MR: dict[int, tuple[str, str]] = {
    1: ("spleen", ""),
    **_sided((3, 2), "kidney"),
    4: ("gallbladder", ""),
    5: ("liver", ""),
    6: ("stomach", ""),
    7: ("pancreas", ""),
    **_sided((9, 8), "adrenal_gland"),
    **_sided((10, 11), "lung"),
    13: ("small_bowel", ""),
    14: ("small_bowel", ""),
    15: ("colon", ""),
    19: ("vertebra", ""),
    20: ("vertebra", ""),
    21: ("spinal_canal", ""),
    23: ("aorta", ""),
    24: ("inferior_vena_cava", ""),
    25: ("portal_vein", ""),
    **_sided((46, 47), "erector_spinae"),
    **_sided((48, 49), "iliopsoas"),
}
"""Label values of TotalSegmentator's "total_mr" task that occur in the abdominal MR used here."""

TRUNK: dict[int, tuple[str, str]] = {
    1: ("liver", ""),
    **dict.fromkeys((2, 3), ("lung", "left")),
    **dict.fromkeys((4, 5, 6), ("lung", "right")),
    7: ("small_bowel", ""),
    8: ("urinary_bladder", ""),
    **_sided((9, 10), "femur"),
}
"""Label values of the whole-trunk CT."""


def load_label_maps(paths: Sequence[Path]) -> LabelMaps:
    """Whole-head maps with FreeSurfer values, cut to one box around the brain."""
    half = (100, 128, 112)
    boxes, extents = [], []
    for path in paths:
        labels = load_lps(path)[0].astype(np.int16)
        low, high = _brain_box(labels)
        centre = (low + high) // 2
        padded = np.pad(labels, [(size, size) for size in half])
        boxes.append(padded[tuple(slice(c, c + 2 * h) for c, h in zip(centre, half, strict=True))])
        extents.append((high - low) / 2)
    values = sorted({int(value) for box in boxes for value in np.unique(box)})
    table = np.zeros(max(values) + 1, np.uint8)
    table[values] = np.arange(len(values))
    return LabelMaps(
        torch.from_numpy(np.stack([table[box] for box in boxes])),
        torch.tensor(values),
        torch.tensor([1 + BRAIN_MR.index(FREESURFER[v][0]) if v in FREESURFER else 0 for v in values]),
        torch.tensor([_side_number(v) for v in values]),
        torch.tensor(np.array(extents), dtype=torch.float32),
    )


def _side_number(value: int) -> int:
    return {"left": LEFT, "right": RIGHT}.get(FREESURFER.get(value, ("", ""))[1], 0)


def _brain_box(labels: NDArray[np.int16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    brain = np.isin(labels[::2, ::2, ::2], [2, 3, 41, 42, 7, 8, 46, 47, 16])
    places = np.argwhere(brain) * 2
    return places.min(0), places.max(0)
