"""Made studies for proofs: a noisy head with one bright block on each slice, and records that ask for it.

There are two sets of records. In `records.jsonl` all boxes are true. In `loose.jsonl` those to learn from
are drawn too large, each side one cell outwards more often than not, as by somebody in a hurry: a model that
learns from them writes answers in the right form, at about the right place, and still has something to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.record import (
    ImageReference,
    PositionWords,
    Record,
    Split,
    runs_of,
    with_id,
)
from napari_medreason.errors import RunError
from napari_medreason.io.records import write_records

SIZE = 84
"""Pixels along each side of a slice, and mm."""
CELL = 21
"""Blocks begin and end at multiples of so many pixels."""
SLICES = 16
LOOSE = 0.65
"""How often a side of a loose box lies one cell too far out, where there is room."""
RECORDS, LOOSE_RECORDS = "records.jsonl", "loose.jsonl"
QUESTION = "Where is the bright spot?"
ANSWER = "It is bright."


@dataclass(frozen=True)
class Spots:
    """How many patients each split has; each brings SLICES slices."""

    train: int = 40
    validation: int = 2
    test: int = 8


def write_spots(folder: Path, seed: int, spots: Spots) -> None:
    """Write both sets of records and the images that they name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    loose: list[Record] = []
    splits: tuple[tuple[Split, int], ...] = (
        ("train", spots.train),
        ("validation", spots.validation),
        ("test", spots.test),
    )
    for split, count in splits:
        for number in range(count):
            name = f"{split}-{number:03d}"
            masks = [_block(rng) for _ in range(SLICES)]
            drawn = [_loosened(mask, rng) if split == "train" else mask for mask in masks]
            _write_patient(folder, name, masks, rng)
            records += [_record(name, split, index, mask) for index, mask in enumerate(masks)]
            loose += [_record(name, split, index, mask) for index, mask in enumerate(drawn)]
    write_records(folder / RECORDS, records)
    write_records(folder / LOOSE_RECORDS, loose)


def _write_patient(
    folder: Path, name: str, masks: Sequence[NDArray[np.bool_]], rng: np.random.Generator
) -> None:
    """One study; its voxels grow to the patient's left and back, in NIfTI's RAS."""
    y, x = np.indices((SIZE, SIZE)) / (SIZE - 1) - 0.5
    head = (x / 0.48) ** 2 + (y / 0.48) ** 2 < 1
    voxels = np.zeros((SIZE, SIZE, SLICES), np.float32)
    for index, mask in enumerate(masks):
        level, bright = rng.uniform(150, 300), rng.uniform(550, 750)
        image = np.where(mask, bright, level * head) + rng.normal(0, 25, (SIZE, SIZE))
        voxels[:, :, index] = image.T
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    make_image: Any = nibabel.Nifti1Image
    nibabel.save(make_image(voxels, affine), folder / f"{name}.nii.gz")


def _loosened(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(rows, columns): the block with some sides one cell further out."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (rng.random(4) < LOOSE) * CELL
    loose = np.zeros_like(mask)
    loose[
        max(0, rows[0] - top) : rows[-1] + 1 + bottom, max(0, columns[0] - left) : columns[-1] + 1 + right
    ] = True
    return loose


def _block(rng: np.random.Generator) -> NDArray[np.bool_]:
    """(rows, columns): a rectangle of up to half the cells along each side."""
    cells = SIZE // CELL
    mask = np.zeros((SIZE, SIZE), bool)
    high, wide = rng.integers(1, cells // 2 + 1, 2)
    row, column = rng.integers(0, cells - high + 1), rng.integers(0, cells - wide + 1)
    mask[row * CELL : (row + high) * CELL, column * CELL : (column + wide) * CELL] = True
    return mask


def _record(patient: str, split: Split, index: int, mask: NDArray[np.bool_]) -> Record:
    box, position = mask_box(mask), locate(mask)
    if box is None or position is None:
        raise RunError("a made slice shows no block; change the generator")
    image = ImageReference(f"{patient}.nii.gz", "", "axial", index, mask.shape, (1.0, 1.0), ("L", "P"), "MR")
    record = Record(
        id="",
        system="u-mrg",
        source="made",
        patient=f"p-{patient}",
        split=split,
        image=image,
        structure="",
        label="bright spot",
        value=1,
        side="",
        super_category="",
        healthy=None,
        approach="unstated",
        length="",
        question=QUESTION,
        reasoning=ANSWER,
        answer=ANSWER,
        short_description="",
        long_description="",
        box_plane=box,
        key_points_plane=key_points(mask),
        mask_runs=runs_of(mask),
        position=PositionWords("paper", position.label, position.near_center),
        patient_position=None,
    )
    return with_id(record)
