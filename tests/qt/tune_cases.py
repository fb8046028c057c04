"""Run folders and small data sets for tests of the Runs page."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from napari_medreason import io
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import plane_grid
from napari_medreason.core.record import ImageReference, PositionWords, Record, runs_of, with_id
from napari_medreason.core.run_folder import RunEvent
from napari_medreason.io.records import write_records
from napari_medreason_sample_data import brain_file, truth

SLICES = range(4, 12, 2)
QUESTION = "Where is the white matter lesion?"
LOWEST = 66
"""Slice of the sample study that the small studies begin with."""
WHITE_MATTER = (8, 9)
CONFIG = """recipe = "embedded"
records = ["records.jsonl"]
images = "."
name = "{name}"
[embedded]
batch = 2
steps = {steps}
[evaluation]
every_steps = {every}
samples = 2
checkpoint_seconds = 0.0
"""


def events_text(*events):
    return "".join(f"{event.line()}\n" for event in events)


def steps(first, last, *, seconds=1.0, name="loss"):
    return [RunEvent("step", n, n * seconds, {name: 1.0 / n}) for n in range(first, last + 1)]


def make_run(folder, events=(), *, name="first", working=False, reason="", config_steps=40, words=""):
    """A run folder as a process would leave it; working: this process is said to work on it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(name=name, steps=config_steps, every=10), "utf-8")
    (folder / "events.jsonl").write_text(events_text(*events), "utf-8")
    if working:
        process = {"pid": os.getpid(), "started": psutil.Process().create_time()}
        (folder / "process.json").write_text(json.dumps(process), "utf-8")
    if reason:
        result = {"reason": reason, "step": 1, "values": {"best": 0.5}, "words": words}
        (folder / "result.json").write_text(json.dumps(result), "utf-8")
    return folder


def lesion_data(folder, patients=(("a", "train"), ("v", "validation"), ("c", "test")), question=QUESTION):
    """Heads from the sample study with a bright lesion in the white matter, and records.jsonl of it."""
    brain, labels = (middle_slices(io.read(file)) for file in (brain_file(), truth("mr")))
    records = []
    for seed, (patient, split) in enumerate(patients):
        volume, lesion = with_lesion(brain, labels, np.random.default_rng(seed))
        io.write(folder / f"{patient}.nii", volume)
        records += [lesion_record(volume, lesion, index, patient, split, question) for index in SLICES]
    write_records(folder / "records.jsonl", records)
    return records


def middle_slices(volume):
    """A few axial slices of a study, so that tests are quick."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * LOWEST
    return replace(volume, voxels=volume.voxels[LOWEST : LOWEST + 16], affine=affine)


def with_lesion(brain, labels, rng):
    """The brain with other noise and a bright ball in it, and the (k, j, i) mask of the ball."""
    middle = SLICES[len(SLICES) // 2]
    places = np.argwhere(np.isin(labels.voxels[middle], WHITE_MATTER))
    j, i = places[rng.integers(len(places))]
    kji = np.indices(brain.shape_kji)
    ball = ((kji - np.array([middle, j, i])[:, None, None, None]) ** 2).sum(0) <= 36
    high = np.percentile(brain.voxels, 99.5)
    voxels = brain.voxels * rng.uniform(0.8, 1.2) + rng.normal(0, 0.01 * high, brain.voxels.shape)
    voxels[ball] += 0.6 * high
    return replace(brain, voxels=voxels.astype(np.float32), modality="MR"), ball


def lesion_record(volume, lesion, index, patient, split, question=QUESTION):
    grid = plane_grid(volume, "axial", index)
    plane = np.asarray(grid.take(lesion))
    position = locate(plane)
    image = ImageReference(
        f"{patient}.nii", "", "axial", index, grid.shape, grid.spacing, grid.orientation, "MR"
    )
    return with_id(
        Record(
            id="",
            system="medpos",
            source="toy",
            patient=patient,
            split=split,
            image=image,
            structure="white_matter_lesion",
            label="white matter lesion",
            value=1,
            side="",
            super_category="",
            healthy=None,
            approach="unstated",
            length="",
            question=question,
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
    )


def make_adapter(run, **changes):
    """What looks like an adapter that a run has made; nothing can be loaded from it."""
    folder = run / "adapter"
    folder.mkdir(parents=True)
    (folder / "brain_mr.json").write_text("{}", "utf-8")
    (folder / "brain_mr.safetensors").write_bytes(run.name.encode())
    figures = {"before": 0.4, "after": 0.6, "interval": [0.1, 0.3], "better": 7, "regions": 8, "patients": 4}
    card = {"name": run.name, "kind": "embedded-expert", "base": "embedded"}
    (folder / "adapter.json").write_text(json.dumps(card | {"before_after": {"named": figures | changes}}))


def quick_command():
    """What starts a run with coarse phantoms; see quick_run."""
    import sys

    return (sys.executable, str(Path(__file__).with_name("quick_run.py")))
