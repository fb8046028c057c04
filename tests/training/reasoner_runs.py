"""A tiny reasoner, a few made slices and configurations for tests of SFT and GRPO."""

import json

from napari_medreason.core.answer_text import format_answer
from napari_medreason.core.run_config import read_run_config
from napari_medreason.core.run_folder import read_events
from napari_medreason_training import run_command
from napari_medreason_training.reasoning import spots
from napari_medreason_training.reasoning.tiny_models import save_tiny_reasoner
from napari_medreason_training.run_data import run_records
from napari_medreason_training.runs import RunWriter

PROMPT = "<image>\n{question}\n"
WRITTEN = format_answer(spots.ANSWER, (1, 2, 3, 4), ((1, 2), (3, 4)))
EVERY_RUN = {
    "preset": "cpu-small",
    "prompt": "prompt.txt",
    "max_answer_tokens": 12,
    "repetition_penalty": 1.0,
}
SETTINGS = {
    "sft": EVERY_RUN | {"batch": 4, "at_once": 4, "learning_rate": 2e-3},
    "grpo": EVERY_RUN | {"prompts": 2, "group": 4, "at_once": 8},
}


def make_place(folder):
    """Records, images, a prompt file and an untrained model."""
    spots.SLICES, kept = 3, spots.SLICES
    try:
        spots.write_spots(folder, 1, spots.Spots(2, 1, 2))
    finally:
        spots.SLICES = kept
    (folder / "prompt.txt").write_text(PROMPT, encoding="utf-8")
    save_tiny_reasoner(folder / "tiny", [f"{spots.QUESTION}\n", WRITTEN], width=32, layers=1)
    return folder


def config_file(place, name, recipe, *, steps=4, every=2, top="", budget="", **settings):
    """A configuration for the place; `settings` are the recipe's own."""
    table = SETTINGS[recipe] | settings
    lines = [
        f'recipe = "{recipe}"\nrecords = ["records.jsonl"]\nimages = "."\ndevice = "cpu"\nname = "{name}"',
        top or 'base = "tiny"',
        f"[budget]\nsteps = {steps}\n{budget}",
        f"[evaluation]\nevery_steps = {every}\nrecords = 2\nsamples = 1\ncheckpoint_seconds = 0.0",
        f"[{recipe}]",
        *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
    ]
    file = place / f"{name}.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def run(place, name, recipe, folder, **options):
    """A whole run; gives its folder."""
    run_command.execute(config_file(place, name, recipe, **options), folder)
    return folder


def writer_of(file, folder):
    return RunWriter(folder, read_run_config(file), file.read_text(encoding="utf-8"))


def records_of(file):
    return run_records(read_run_config(file), file.parent)


def events_of(folder):
    return list(read_events((folder / "events.jsonl").read_text(encoding="utf-8")))


def curve(folder):
    kinds = ("step", "evaluation", "end")
    return [(e.kind, e.step, dict(e.values)) for e in events_of(folder) if e.kind in kinds]


class PowerCutError(Exception):
    """Stands for a process that is gone from one step to the next."""


def cut_at(monkeypatch, recipe, step):
    """Let a recipe's class end like that at a step."""
    taken = recipe.step

    def step_or_end(self, number):
        if number == step:
            raise PowerCutError
        return taken(self, number)

    monkeypatch.setattr(recipe, "step", step_or_end)
