"""Small studies with label maps for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

RAS_AFFINE = np.diag([-1.5, -1.5, 4.0, 1.0])
"""Voxels grow to the patient's left and back: plain radiological storage."""


def label_map(shift: int = 0, shape: tuple[int, int, int] = (24, 20, 6)) -> np.ndarray:
    """(i, j, k) with a liver (1), a spleen (2) and, on one slice, a single pixel of 3."""
    labels = np.zeros(shape, np.uint8)
    labels[3 + shift : 10, 4:12, 1:5] = 1
    labels[15:20, 6 + shift : 12, 1:4] = 2
    labels[12, 17, 2] = 3
    return labels


def image(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Grey values in which each label has its own brightness."""
    noise = np.random.default_rng(seed).normal(0, 3, labels.shape)
    return (noise + 40 * labels - 20).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = RAS_AFFINE) -> Path:
    """A NIfTI file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def pair_folder(root: Path, patients: int = 4) -> Path:
    """images/pN.nii.gz with labels/pN_seg.nii.gz."""
    for number in range(patients):
        labels = label_map(number % 3)
        labels[11, 4 : 5 + number, 1:5] = 1
        save(root / "images" / f"p{number}.nii.gz", image(labels, number))
        save(root / "labels" / f"p{number}_seg.nii.gz", labels)
    return root


PAIRS = """
[[sources]]
name = "toy"
layout = "pairs"
root = "toy"
images = "images"
masks = "labels"
mask_ending = "_seg"
modality = "CT"
labels = {1 = "liver", 2 = "spleen"}
"""


def config_file(folder: Path, text: str = "", sources: str = PAIRS) -> Path:
    """A configuration beside the folder `toy`, which is made."""
    if not (folder / "toy").exists():
        pair_folder(folder / "toy")
    path = folder / "build.toml"
    path.write_text(f'out = "out"\n{text}\n{sources}', encoding="utf-8")
    return path
