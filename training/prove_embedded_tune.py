"""The proof for the recipe "embedded": 20 corrected real slices, judged on patients that gave none of them.

White matter lesions on FLAIR of three patients (the seed chooses who is held out), which the model does not
know before; the rest of what it knows is measured before and after on a real head and on made images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import Axis, cut, plane_grid, slice_count
from napari_medreason.core.record import (
    ImageReference,
    PositionWords,
    Record,
    Split,
    TemplateUse,
    runs_of,
    with_id,
)
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import RunError
from napari_medreason.io import read
from napari_medreason.io.records import write_records

from .prove_elsewhere import elsewhere
from .run_command import execute, not_begun
from .runs import note
from .train_embedded import device_tuning

CORRECTED = 20
"""Slices to learn from, over all training patients."""
STEPS = 300


@dataclass(frozen=True)
class LabelledSet:
    """Real images of several patients with one label. image, mask: names by patient in the folder.

    held_out: so many patients are only tested; validation: so many choose the best state, 0 for none.
    """

    structure: str
    expert: str
    modality: Literal["CT", "MR"]
    folder: str
    image: str
    mask: str
    patients: tuple[str, ...]
    held_out: int
    validation: int
    least_pixels: int
    axis: Axis = "axial"


SETS: dict[str, LabelledSet] = {
    "lesions": LabelledSet(
        structure="white_matter_lesion",
        expert="brain_mr",
        modality="MR",
        folder="labelled/open_ms",
        image="patient{}_FLAIR_mni.nii.gz",
        mask="patient{}_mni_mask.nii.gz",
        patients=("07", "19", "26"),
        held_out=1,
        validation=0,  # of two patients, both are needed to learn from
        least_pixels=20,
    ),
    "sarcomas": LabelledSet(
        structure="mass",
        expert="body_ct",
        modality="CT",
        folder="labelled/ibsi_sts",
        image="STS_{}_CT.nii.gz",
        mask="STS_{}_CT_mask.nii.gz",
        patients=("001", "002", "004", "005", "006", "008", "010", "012", "014", "018", "023"),
        held_out=5,
        validation=1,
        least_pixels=100,
    ),
}


def prove(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """Tune on each set and give the figures; under two minutes of one core for each."""
    if data is None:
        raise RunError("this proof needs real images; name their folder with --data")
    device_tuning()
    figures = {name: _proved(name, own, seed, data, out) for name, own in SETS.items()}
    for name, own in figures.items():
        _tell(name, own)
    passed = all(_learnt(own["before_after"]) for own in figures.values())
    return {"seed": seed, "passed": passed, "corrected_slices": CORRECTED, "steps": STEPS, **figures}


def _learnt(figures: dict[str, Any]) -> bool:
    """A gain by name that is no chance; from prompts, which the base can draw already, no sure loss."""
    named, prompted = figures["named"]["interval"], figures["prompted"]["interval"]
    return named is not None and named[0] > 0 and (prompted is None or prompted[1] >= 0)


def _proved(name: str, labelled: LabelledSet, seed: int, data: Path, out: Path) -> dict[str, Any]:
    started = time.process_time()
    work = out / f"embedded-tune-{name}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    records = list(_records(labelled, seed, data / labelled.folder))
    write_records(work / "records.jsonl", records)
    config = work / "config.toml"
    config.write_text(_config(name, labelled, seed, data), encoding="utf-8")
    reason = execute(config, not_begun(work / "run"))
    minutes = (time.process_time() - started) / 60
    adapter = work / "run" / "adapter"
    return {
        "ended": reason,
        "cpu_minutes": round(minutes, 1),
        "held_out_patients": len({record.patient for record in records if record.split == "test"}),
        "before_after": _figures_of(adapter),
        "elsewhere": elsewhere(adapter, labelled.expert, data),
    }


def _config(name: str, labelled: LabelledSet, seed: int, data: Path) -> str:
    return (
        'recipe = "embedded"\n'
        'records = ["records.jsonl"]\n'
        f'images = "{(data / labelled.folder).absolute().as_posix()}"\n'
        f'name = "{name}"\n'
        f"seed = {seed}\n"
        f"[budget]\nsteps = {STEPS}\n"
        "[evaluation]\nevery_steps = 100\n"
    )


def _figures_of(adapter: Path) -> dict[str, Any]:
    import json

    card = json.loads((adapter / "adapter.json").read_text(encoding="utf-8"))
    figures: dict[str, Any] = card["before_after"]
    return figures


def _records(labelled: LabelledSet, seed: int, folder: Path) -> Iterator[Record]:
    """Records of the training patients' slices, as many of each, and of every held-out slice."""
    order = np.random.default_rng(seed).permutation(len(labelled.patients)).tolist()
    held = {labelled.patients[n] for n in order[: labelled.held_out]}
    if labelled.held_out == 1:
        held = {labelled.patients[seed % len(labelled.patients)]}
    free = [labelled.patients[n] for n in order if labelled.patients[n] not in held]
    learning = sorted(free[labelled.validation :])
    shares = [len(part) for part in np.array_split(np.arange(CORRECTED), len(learning))]
    for patient, count in zip(learning, shares, strict=True):
        yield from _of_patient(labelled, patient, folder, split="train", count=count)
    for patient in free[: labelled.validation]:
        yield from _of_patient(labelled, patient, folder, split="validation", count=12)
    for patient in sorted(held):
        yield from _of_patient(labelled, patient, folder, split="test", count=40)


def _of_patient(
    labelled: LabelledSet, patient: str, folder: Path, *, split: Split, count: int
) -> Iterator[Record]:
    """At most `count` records, spread evenly over the slices that show enough of the structure."""
    path, mask_path = labelled.image.format(patient), labelled.mask.format(patient)
    masks = read(folder / mask_path)
    slices = range(slice_count(masks, labelled.axis))
    found = {index: _mask(masks, labelled.axis, index) for index in slices}
    shown = [index for index, mask in found.items() if mask.sum() >= labelled.least_pixels]
    places = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    for place in dict.fromkeys(places.tolist()):
        index = shown[place]
        reference = _reference(labelled, path, mask_path, masks, index)
        yield _record(labelled, patient, found[index], reference, split)


def _mask(masks: Volume, axis: Axis, index: int) -> NDArray[np.bool_]:
    return cut(masks, axis, index, Window(0, 1)).image > 0.5


def _reference(labelled: LabelledSet, path: str, mask_path: str, masks: Volume, index: int) -> ImageReference:
    grid = plane_grid(masks, labelled.axis, index)
    return ImageReference(
        path,
        mask_path,
        labelled.axis,
        index,
        grid.shape,
        grid.spacing,
        grid.orientation,
        labelled.modality,
    )


def _record(
    labelled: LabelledSet, patient: str, mask: NDArray[np.bool_], image: ImageReference, split: Split
) -> Record:
    box, position = mask_box(mask), locate(mask)
    if box is None or position is None:
        raise RunError("a slice without a labelled pixel was chosen; choose slices that show the structure")
    words = labelled.structure.replace("_", " ")
    record = Record(
        id="",
        system="medpos",
        source=labelled.folder.rpartition("/")[2],
        patient=f"p-{patient}",
        split=split,
        image=image,
        structure=labelled.structure,
        label=words,
        value=1,
        side="",
        super_category="",
        healthy=None,
        approach="unstated",
        length="",
        question=f"Where is the {words}?",
        reasoning="",
        answer=f"The {words} is at the {position.label} of the image.",
        short_description="",
        long_description="",
        box_plane=box,
        key_points_plane=key_points(mask),
        mask_runs=runs_of(mask),
        position=PositionWords("paper", position.label, position.near_center),
        patient_position=None,
        template=TemplateUse(),
    )
    return with_id(record)


def _tell(name: str, figures: dict[str, Any]) -> None:
    note(f"{name}: {figures['cpu_minutes']} CPU minutes, {figures['held_out_patients']} held-out patients")
    for way in ("named", "prompted"):
        own = figures["before_after"][way]
        note(
            f"  {way}: Dice {own['before']:.3f} to {own['after']:.3f}, gain interval {own['interval']} "
            f"({own['resampled']}), better on {own['better']} of {own['regions']} slices"
        )
    for where, own in figures["elsewhere"].items():
        note(
            f"  elsewhere, {where}: Dice {own['before']:.3f} to {own['after']:.3f} ({own['points']:+.2f} "
            f"points); worst {own['worst']['structure']} {own['worst']['points']:+.2f}"
        )
