"""What keeps any recipe from starting, through the command that a user's run is: one line, nothing lost."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from napari_medreason.core.run_folder import read_events
from napari_medreason.errors import RunError
from napari_medreason.io.records import read_records, write_records
from napari_medreason_training import run_command
from napari_medreason_training.__main__ import main
from napari_medreason_training.joint import shapes, tiny
from napari_medreason_training.reasoning.tiny_models import save_tiny_reasoner

from . import toy_recipe
from .test_runs import config_file

RECIPES = ("embedded", "sft", "grpo", "prs-med", "medisee")
BASES = {"sft": "reasoner", "grpo": "reasoner", "prs-med": "prs", "medisee": "medisee-base", "embedded": ""}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Records of shapes, and a tiny base for every recipe."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "PATIENTS", {"train": 2, "validation": 1, "test": 1})
        patch.setattr(shapes, "SLICES", 2)
        shapes.write_shapes(folder, 1)
    save_tiny_reasoner(folder / "reasoner", ["where is the tumor"], width=32, layers=1)
    tiny.write_prs_med_base(folder / "prs", 1)
    tiny.write_medisee_base(folder / "medisee-base", 1)
    return folder


def run(place, folder, recipe, *, records="records.jsonl", base=None, extra=""):
    """The exit code of the command."""
    table = recipe.replace("-", "_")
    lines = [f'recipe = "{recipe}"', f'records = ["{records}"]', 'images = "."', 'device = "cpu"']
    lines += [f'base = "{BASES[recipe] if base is None else base}"', f"[{table}]", extra]
    if recipe != "embedded":
        lines.append('preset = "cpu-small"')
    file = folder / "tune.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return main(["run", str(file), "--folder", str(folder / "run"), "--base", str(place)])


def changed(place, folder, change):
    """Records of another kind, in a file of their own; its name from the place."""
    records = read_records(place / "records.jsonl")
    write_records(folder / "changed.jsonl", change(records))
    return str(folder / "changed.jsonl")


def one(records):
    return [record for record in records if record.split == "train"][:1]


def without_masks(records):
    return [replace(record, mask_runs=(64 * 64,)) for record in records]


def leaking(records):
    train = next(record for record in records if record.split == "train")
    return [*records, replace(train, split="test")]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("change", "words"),
    [(one, "one region"), (without_masks, "mask with a pixel"), (leaking, "in train and in test")],
)
def test_records_that_nothing_can_be_learnt_from(place, tmp_path, capsys, recipe, change, words):
    assert run(place, tmp_path, recipe, records=changed(place, tmp_path, change)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in told
    events = read_events((tmp_path / "run/events.jsonl").read_text(encoding="utf-8"))
    assert [event.words for event in events][-1] == told


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_base_that_is_missing(place, tmp_path, capsys, recipe):
    assert run(place, tmp_path, recipe, base="nowhere") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "nowhere" in told
    assert "base" in told


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_typing_mistake_in_the_recipe_s_own_table(place, tmp_path, capsys, recipe):
    assert run(place, tmp_path, recipe, extra="lerning_rate = 1.0") == 2
    assert "unknown key 'lerning_rate'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "embedded"])
def test_a_preset_that_there_is_not(place, tmp_path, capsys, recipe):
    file = tmp_path / "tune.toml"
    table = recipe.replace("-", "_")
    file.write_text(f'recipe = "{recipe}"\nrecords = ["a"]\nimages = "."\n[{table}]\npreset = "papre"\n')
    assert main(["run", str(file), "--folder", str(tmp_path / "run")]) == 2
    assert "no preset 'papre'; choose paper" in capsys.readouterr().err


@pytest.mark.parametrize("bytes_wanted", [2**50])
def test_memory_that_runs_out_is_told_and_the_checkpoint_kept(tmp_path, monkeypatch, bytes_wanted):
    """The processor's own refusal; a graphics card's has a class of its own, which remedy knows too."""
    import torch

    class Hungry(toy_recipe.Toy):
        def step(self, number):
            if number == 13:
                torch.empty(bytes_wanted, dtype=torch.uint8)
            return super().step(number)

    _run_toy(monkeypatch, Hungry)
    plan = {"every_steps": 5, "checkpoint_seconds": 0.0}
    with pytest.raises(RunError, match=r"memory ran out.*smaller batch"):
        run_command.execute(config_file(tmp_path, evaluation=plan), tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last/state.safetensors").exists()
    assert "memory ran out" in (tmp_path / "run/result.json").read_text(encoding="utf-8")


def test_a_disk_that_is_full_is_told_and_the_run_goes_on_when_there_is_room(tmp_path, monkeypatch):
    class Full(toy_recipe.Toy):
        def step(self, number):
            if number == 13:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().step(number)

    plan = {"every_steps": 5, "checkpoint_seconds": 0.0}
    file = config_file(tmp_path, evaluation=plan)
    _run_toy(monkeypatch, Full)
    with pytest.raises(RunError, match="disk is full"):
        run_command.execute(file, tmp_path / "run")
    _run_toy(monkeypatch, toy_recipe.Toy)
    assert run_command.execute(file, tmp_path / "run") == "done"
    run_command.execute(file, tmp_path / "whole")
    exported = [Path(tmp_path / run / "adapter/weights.txt").read_text() for run in ("run", "whole")]
    assert exported[0] == exported[1]


def _run_toy(monkeypatch, kind):
    from napari_medreason_training import loop

    monkeypatch.setattr(run_command, "runner", lambda recipe: lambda writer, base: loop.run(kind(40), writer))
