"""Where the training data lies and what is known about each source; see the model card for licences.

Held out and never loaded here: label maps 13 to 16 (validation), `example_ct_dicom`,
`torchio-data-fpg`, `mni_icbm152` T1 and `open_ms` (evaluation on real scans).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .annotated_trunk import LABELLING, annotate, read_annotations
from .atlas import abdomen_atlas
from .phantoms import Phantom
from .volumes import (
    LEFT,
    RIGHT,
    TOTAL,
    TOTAL_MR,
    LabelledVolume,
    LabelMaps,
    body_volume,
    known_mask,
    load_label_maps,
    load_lps,
)

TRAINING_MAPS = range(1, 13)
VALIDATION_MAPS = range(13, 17)

TYPICAL_HU: dict[str, float] = {
    **{"liver": 60, "spleen": 55, "kidney": 60, "gallbladder": 15, "stomach": 40, "pancreas": 50},
    **{"adrenal_gland": 40, "lung": -800, "oesophagus": 30, "heart": 50, "aorta": 80},
    **{"inferior_vena_cava": 70, "portal_vein": 80, "small_bowel": 40, "colon": 30},
    **{"urinary_bladder": 10, "vertebra": 250, "sacrum": 220, "hip_bone": 250, "femur": 300},
    **{"spinal_canal": 30, "ribs": 300, "iliopsoas": 55, "gluteal_muscles": 55, "erector_spinae": 55},
}
"""Usual HU of each structure; portal-venous enhancement is added at random."""


def brain_label_maps(data: Path, numbers: Sequence[int]) -> LabelMaps:
    """The synthseg label maps with these numbers."""
    folder = data / "labelled" / "synthseg_labelmaps"
    return load_label_maps([folder / f"training_seg_{number:02d}.nii.gz" for number in numbers])


def real_body_cts(data: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """Labelled people by name: "example_ct", "trunk_ct", "abdomen_mr_as_ct", "abdomen_atlas"."""
    makers = {
        "example_ct": _example_ct,
        "trunk_ct": _trunk_ct,
        "abdomen_mr_as_ct": _abdomen_mr_as_ct,
        "abdomen_atlas": _abdomen_atlas,
    }
    return [makers[name](data / "labelled") for name in names]


def _example_ct(folder: Path) -> LabelledVolume:
    reference = folder / "totalsegmentator_ref"
    voxels, spacing = load_lps(reference / "example_ct.nii.gz")
    labels, _ = load_lps(reference / "example_seg_fast_force_split.nii.gz")
    known = set(BODY_CT) - {"oesophagus"}  # the thoracic end is in the image, but was not labelled
    return body_volume(
        "example_ct", voxels, labels, spacing=spacing, labelling=TOTAL, known=known, weight=0.45
    )


def _trunk_ct(folder: Path) -> LabelledVolume:
    voxels, spacing = load_lps(folder / "tcia_cervical_ct" / "cc_ct.nii.gz")
    given, _ = load_lps(folder / "tcia_cervical_ct" / "cc_ct_mask.nii.gz")
    labels = annotate(voxels, given, read_annotations())
    known = {name for name, _ in LABELLING.values()}
    return body_volume(
        "trunk_ct", voxels, labels, spacing=spacing, labelling=LABELLING, known=known, weight=0.4
    )


def _abdomen_mr_as_ct(folder: Path) -> LabelledVolume:
    """An abdominal MR turned into CT: HU by label, fat and muscle from the MR brightness, air outside."""
    reference = folder / "totalsegmentator_ref"
    voxels, spacing = load_lps(reference / "example_mr_sm.nii.gz")
    labels, _ = load_lps(reference / "example_seg_mr.nii.gz")
    mr = voxels.astype(np.float32)
    body = np.stack([_filled(mr[..., k] > 60) for k in range(mr.shape[2])], -1)
    hu = np.where(body, 50 - 150 * np.clip((mr - 170) / 180, 0, 1), -1000.0)
    table = np.zeros(256, np.float32)
    for value, (name, _) in TOTAL_MR.items():
        table[value] = TYPICAL_HU[name]
    hu = np.where(body & (table[labels] != 0), table[labels], hu)
    known = {name for name, _ in TOTAL_MR.values()} - {"lung"}
    volume = body_volume(
        "abdomen_mr_as_ct", hu, labels, spacing=spacing, labelling=TOTAL_MR, known=known, weight=0.15
    )
    return replace(volume, planes=(1.0, 0.0, 0.0))


def _abdomen_atlas(folder: Path) -> LabelledVolume:
    return abdomen_atlas(folder / "spl-abdominal-atlas", TYPICAL_HU)


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    closed = ndimage.binary_closing(mask, iterations=2)
    return np.asarray(ndimage.binary_fill_holes(closed))


OTHER_MR = (
    "totalsegmentator_ref/example_mr_sm",
    *(f"ibsi_sts/STS_{patient}_MR_T1" for patient in ("001", "002", "004", "006")),
    "sct_testing_data/t1/t1w",
    "sct_testing_data/t2s/t2s_uncropped",
)
"""MR scans of other body parts, for training."""
OTHER_MR_FOR_CALIBRATION = tuple(f"ibsi_sts/STS_{patient}_MR_T1" for patient in ("010", "012", "023"))


def other_mr(data: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """MR scans of other body parts, in which no brain structure is to be seen."""
    volumes = []
    for name in names:
        voxels, spacing = load_lps(data / "labelled" / f"{name}.nii.gz")
        empty = torch.zeros(voxels.shape, dtype=torch.uint8)
        none = torch.zeros(1, dtype=torch.int64)
        image = torch.from_numpy(np.ascontiguousarray(voxels.astype(np.float32)))
        known = known_mask(BRAIN_MR, BRAIN_MR)
        volumes.append(LabelledVolume(name, image, empty, none, none, torch.tensor(spacing), known))
    return volumes


def phantom_volume(
    phantom: Phantom, structures: Sequence[str], *, known: Sequence[str], weight: float
) -> LabelledVolume:
    """A phantom as a training volume; its structures that the expert does not know become background."""
    spacing = np.linalg.norm(phantom.affine[:3, :3], axis=0)
    names, sides = phantom.structures, phantom.sides
    structure = [1 + structures.index(name) if name in structures else 0 for name in names]
    return LabelledVolume(
        "phantom",
        torch.from_numpy(np.ascontiguousarray(phantom.voxels.transpose(2, 1, 0))),
        torch.from_numpy(np.ascontiguousarray(phantom.labels.transpose(2, 1, 0))),
        torch.tensor(structure),
        torch.tensor([{"left": LEFT, "right": RIGHT}.get(side, 0) for side in sides]),
        torch.tensor(spacing, dtype=torch.float32),
        known_mask(known, structures),
        weight,
    )
