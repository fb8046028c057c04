"""A joint run that is killed goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from napari_medreason.core.run_folder import read_events
from napari_medreason_training import run_command

from .joint_cases import toml, write_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        place = write_all(tmp_path_factory.mktemp("joint"), patch)
    (place / "run.toml").write_text(toml("medisee", steps=15), encoding="utf-8")
    return place


def events(run):
    file = run / "events.jsonl"
    return list(read_events(file.read_text(encoding="utf-8"))) if file.exists() else []


def killed_after_a_checkpoint(folder, run):
    command = [sys.executable, "-m", "tests.training.joint_cases", str(folder / "run.toml"), str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    for _ in range(2400):
        if process.poll() is not None or any(event.kind == "checkpoint" for event in events(run)):
            break
        time.sleep(0.1)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def curve(run):
    return [(event.step, event.values) for event in events(run) if event.kind in ("step", "evaluation")]


def test_a_killed_run_gives_the_curve_and_the_weights_of_an_unbroken_one(folder):
    killed, whole = folder / "killed", folder / "whole"
    killed_after_a_checkpoint(folder, killed)
    assert not (killed / "adapter").exists()
    assert any(event.kind == "checkpoint" for event in events(killed))
    assert run_command.execute(folder / "run.toml", killed) == "done"
    assert run_command.execute(folder / "run.toml", whole) == "done"
    assert curve(killed) == curve(whole)
    for name in ("parts.safetensors", "adapter_model.safetensors"):
        first, second = (load_file(run / "adapter" / name) for run in (killed, whole))
        assert all(value.equal(second[key]) for key, value in first.items())
