"""A small head study per patient with a bright lesion, as files and records; for tests of fine-tuning."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel
import numpy as np

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.record import ImageReference, PositionWords, Record, runs_of, with_id
from napari_medreason.io.records import write_records
from napari_medreason_training import replay, run_command
from napari_medreason_training.phantoms import head_mr

SHAPE = (64, 72, 4)
AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])
"""Voxels grow to the patient's left and back; RAS, as NIfTI has it."""


def study(folder, patient, seed):
    """Write one image; gives the (i, j, k) mask of its lesion."""
    rng = np.random.default_rng(seed)
    i, j, _ = np.indices(SHAPE)
    head = ((i - 32) / 26) ** 2 + ((j - 36) / 30) ** 2 < 1
    x, y = rng.integers(24, 40, 2)
    lesion = (i - x) ** 2 + (j - y) ** 2 < 25
    image = 300 * head + 500 * lesion + rng.normal(0, 8, SHAPE) + 20
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), AFFINE), folder / f"{patient}.nii.gz")
    return lesion


def record(patient, split, mask, index, *, structure="white_matter_lesion", side=""):
    """A record of one axial slice."""
    plane = mask[:, :, index].T
    position = locate(plane)
    name = structure.replace("_", " ")
    made = Record(
        id="",
        system="medpos",
        source="toy",
        patient=patient,
        split=split,
        image=ImageReference(
            f"{patient}.nii.gz", "", "axial", index, plane.shape, (3.0, 3.0), ("L", "P"), "MR"
        ),
        structure=structure,
        label=name,
        value=1,
        side=side,
        super_category="",
        healthy=None,
        approach="unstated",
        length="",
        question=f"Where is the {name}?",
        reasoning="",
        answer="There.",
        short_description="",
        long_description="",
        box_plane=mask_box(plane),
        key_points_plane=key_points(plane),
        mask_runs=runs_of(plane),
        position=PositionWords("paper", position.label, position.near_center),
        patient_position=None,
    )
    return with_id(made)


def data_set(folder, patients=(("a", "train"), ("b", "train"), ("c", "test"))):
    """Images and records.jsonl of patients in their splits; gives the records."""
    records = []
    for seed, (patient, split) in enumerate(patients):
        lesion = study(folder, patient, seed)
        records += [record(patient, split, lesion, index) for index in range(SHAPE[2])]
    write_records(folder / "records.jsonl", records)
    return records


def in_split(records, patient, split):
    """The records with one patient moved to another split."""
    return [replace(r, split=split) if r.patient == patient else r for r in records]


CONFIG = """
recipe = "embedded"
records = ["records.jsonl"]
images = "."
name = "toy"
[embedded]
batch = 2
steps = 6
[evaluation]
every_steps = 3
samples = 1
checkpoint_seconds = 0.0
"""


def coarse_phantom(_expert, seed):
    """A phantom that is made in a moment, in place of those of replay."""
    return coarse_head(seed)


@cache
def coarse_head(seed):
    """A head on pixels of 6 mm."""
    return head_mr(seed, contrast="random", spacing_mm=(6.0, 6.0, 6.0), shape=(32, 40, 32))


SMALL = {"_phantom": coarse_phantom, "TRAINING_PHANTOMS": (1,), "VALIDATION_PHANTOMS": range(9000, 9001)}
SMALL |= {"HELD_OUT_BATCHES": 1}
"""What makes replay quick in tests."""

if __name__ == "__main__":
    for key, value in SMALL.items():
        setattr(replay, key, value)
    run_command.execute(Path(sys.argv[1]), Path(sys.argv[2]))
