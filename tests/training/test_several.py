"""A run on two processes of the processor, started as a user would: one writes, both take the same steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_medreason.core.run_folder import read_events
from napari_medreason.errors import RunError
from napari_medreason_training import several

from . import shared_recipe

CONFIG = """
recipe = "embedded"
records = ["records.jsonl"]
images = "."
name = "shared"
device = "cpu"
[budget]
steps = 12
[evaluation]
every_steps = 5
checkpoint_seconds = 0.0
"""


def launched(config, folder, *, processes):
    """The toy recipe under torchrun, which accelerate launch is for GPUs; gives the finished process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--standalone", shared_recipe.__file__, str(config), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90, check=False)


def events(folder):
    return list(read_events((folder / "events.jsonl").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_two_processes_do_one_run_and_only_one_of_them_writes(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    done = launched(tmp_path / "config.toml", tmp_path / "run", processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run ended: steps") == 1
    found = events(tmp_path / "run")
    assert [e.words for e in found if e.kind == "start"] == ["started"]
    assert [e.step for e in found if e.kind == "evaluation"] == [0, 5, 10, 12]
    weights = [(tmp_path / f"run/weights-{number}.txt").read_text() for number in (0, 1)]
    assert weights[0] == weights[1]
    drawn = [(tmp_path / f"run/drawn-{number}.txt").read_text() for number in (0, 1)]
    assert drawn[0] != drawn[1]


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_ends_both(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG.replace("shared", "nan-in-1"), encoding="utf-8")
    done = launched(tmp_path / "config.toml", tmp_path / "run", processes=2)
    assert done.returncode != 0
    last = events(tmp_path / "run")[-1]
    assert last.kind == "end"
    assert "not finite in another process" in last.words


def test_a_recipe_that_does_not_share_its_work_out_says_so(monkeypatch):
    several.on_one_process("embedded")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="works on one process, and 2 were started"):
        several.on_one_process("embedded")


@pytest.mark.parametrize("name", several.PRESETS)
def test_the_settings_for_accelerate_are_settings_that_it_reads(name):
    """accelerate refuses a file with a key that it does not know."""
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(several.preset_file(name))).num_processes == 2


def test_every_file_of_settings_is_offered():
    folder = Path(several.preset_file("fsdp")).parent
    assert {file.stem for file in folder.glob("*.yaml")} == set(several.PRESETS)
