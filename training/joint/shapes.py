"""Simple synthetic studies for the proofs of joint training: three named objects in a noisy body.

On every slice there is a tumor (bright, round), a cyst (dark, round) and a stone (brightest, square), at
random places that don't touch. A question names one of them, so a system that ignores the words is right
about one time in three at best.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.record import ImageReference, PositionWords, Record, Split, runs_of, with_id
from napari_medreason.errors import RunError
from napari_medreason.io.records import write_records

SIZE = 64
"""Rows and columns of a slice."""
PATIENTS: dict[Split, int] = {"train": 24, "validation": 4, "test": 8}
SLICES = 8
"""Of each patient."""
BRIGHTNESS = {"tumor": 190.0, "cyst": 30.0, "stone": 255.0}
_BODY, _NOISE = 110.0, 8.0
_QUESTIONS = ("Where is the {name}?", "Which part of the image shows the {name}?")
_AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])
"""Voxels grow to the patient's left and back; RAS, as NIfTI has it."""


def write_shapes(folder: Path, seed: int) -> None:
    """Write one NIfTI image for each patient, and records.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    for number, (split, patient) in enumerate(_patients()):
        rng = np.random.default_rng([seed, number])
        slices = [synthetic_slice(rng) for _ in range(SLICES)]
        image = np.stack([picture.T for picture, _ in slices], axis=2)
        nifti = nibabel.Nifti1Image(image.astype(np.float32), _AFFINE)  # type: ignore[no-untyped-call]
        nibabel.save(nifti, folder / f"{patient}.nii.gz")
        for index, (_, masks) in enumerate(slices):
            records += [_record(patient, split, name, mask, index) for name, mask in masks.items()]
    write_records(folder / "records.jsonl", records)


def _patients() -> Iterator[tuple[Split, str]]:
    for split, count in PATIENTS.items():
        yield from ((split, f"{split}-{number:02d}") for number in range(count))


def synthetic_slice(rng: Generator) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """(rows, columns) picture and the masks of its objects."""
    rows, columns = np.indices((SIZE, SIZE)).astype(float)
    middle = (SIZE - 1) / 2
    body = np.hypot((rows - middle) / 30, (columns - middle) / 30) < 1
    picture = body * (_BODY + rng.uniform(-15, 15))
    masks: dict[str, NDArray[np.bool_]] = {}
    taken = ~body
    for name, brightness in BRIGHTNESS.items():
        masks[name] = _placed(rng, taken, square=name == "stone")
        taken = taken | masks[name]
        picture[masks[name]] = brightness
    return picture + rng.normal(0, _NOISE, picture.shape), masks


def _placed(rng: Generator, taken: NDArray[np.bool_], *, square: bool) -> NDArray[np.bool_]:
    """An object at a free place."""
    rows, columns = np.indices(taken.shape)
    for _ in range(1000):
        radius = rng.uniform(7, 9) if square else rng.uniform(8, 11)
        row, column = rng.uniform(radius, SIZE - radius, 2)
        far = np.stack([np.abs(rows - row), np.abs(columns - column)])
        mask = far.max(0) < radius if square else np.hypot(*far) < radius
        if not (mask & taken).any():
            return np.asarray(mask)
    raise RunError("no free place was found for an object; choose another seed")


def _record(patient: str, split: Split, name: str, mask: NDArray[np.bool_], index: int) -> Record:
    box, position = mask_box(mask), locate(mask)
    if box is None or position is None:
        raise RunError("an object without a pixel was drawn; choose another seed")
    place = position.label if position.label.startswith("near") else f"at the {position.label}"
    image = ImageReference(
        f"{patient}.nii.gz", "", "axial", index, (SIZE, SIZE), (1.0, 1.0), ("L", "P"), "MR"
    )
    record = Record(
        id="",
        system="medpos",
        source="shapes",
        patient=patient,
        split=split,
        image=image,
        structure="",
        label=name,
        value=1,
        side="",
        super_category="",
        healthy=None,
        approach="position",
        length="",
        question=_QUESTIONS[index % len(_QUESTIONS)].format(name=name),
        reasoning="",
        answer=f"The {name} is {place} of the image.",
        short_description="",
        long_description="",
        box_plane=box,
        key_points_plane=key_points(mask),
        mask_runs=runs_of(mask),
        position=PositionWords("paper", position.label, position.near_center),
        patient_position=None,
    )
    return with_id(record)
