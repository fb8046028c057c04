"""Tiny bases and a tiny data set for the tests of joint training."""

from __future__ import annotations

import sys
from pathlib import Path

from napari_medreason.core.run_config import run_config
from napari_medreason_training import run_command
from napari_medreason_training.joint import medisee, prs_med, shapes, tiny
from napari_medreason_training.joint.base import base_folders
from napari_medreason_training.joint.recipe import JointTuning
from napari_medreason_training.run_data import run_records

PATIENTS = {"train": 2, "validation": 1, "test": 1}
BASES = {"prs-med": "prs-base", "medisee": "medisee-base"}
OPTIONS = {"prs-med": {"size": 64, "lora_rank": 4}, "medisee": {"lora_rank": 4}}


def write_all(folder, monkeypatch):
    """Images, records and both bases in one folder."""
    monkeypatch.setattr(shapes, "PATIENTS", PATIENTS)
    monkeypatch.setattr(shapes, "SLICES", 2)
    shapes.write_shapes(folder, 1)
    tiny.write_prs_med_base(folder / BASES["prs-med"], 1)
    tiny.write_medisee_base(folder / BASES["medisee"], 1)
    return folder


def table(system, **options):
    """A configuration of a short run, as its TOML would be read."""
    return {
        "recipe": system,
        "records": ["records.jsonl"],
        "images": ".",
        "base": BASES[system],
        "name": "tiny",
        "device": "cpu",
        "evaluation": {"every_steps": 5, "samples": 1, "records": 2, "checkpoint_seconds": 0.0},
        system.replace("-", "_"): {"preset": "cpu-small", "batch": 2, **OPTIONS[system], **options},
    }


def tuning(system, folder, **options):
    """The recipe object of a run, before its first step."""
    config = run_config(table(system, **options), "test")
    data = run_records(config, folder)
    folders = base_folders(config.base, folder, system)

    class Writer:
        pass

    Writer.config = config
    if system == "prs-med":
        module = prs_med.prs_med_module(folders, config.prs_med, Writer)
    else:
        module = medisee.medisee_module(folders, Writer)
    return JointTuning(module, data, config, folders)


def toml(system, **options):
    """The same configuration as a file's text."""
    lines = []
    tables = []
    for key, value in table(system, **options).items():
        if isinstance(value, dict):
            tables += [f"[{key}]", *(f"{name} = {_toml(one)}" for name, one in value.items())]
        else:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return (
        str(value)
        if not isinstance(value, list | str)
        else str(value).replace("'", '"')
        if isinstance(value, list)
        else f'"{value}"'
    )


if __name__ == "__main__":
    run_command.execute(Path(sys.argv[1]), Path(sys.argv[2]))
