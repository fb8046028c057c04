"""Runs: killed and resumed, ended by budgets and by the user, failed in words; real folders and processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_medreason import jobs
from napari_medreason.core.run_folder import read_events
from napari_medreason.errors import RunError
from napari_medreason_training import loop, run_command, several
from napari_medreason_training.runs import RunWriter

from . import toy_recipe

TOY = Path(toy_recipe.__file__)


def config_file(folder, name="steps=40", **tables):
    lines = ['recipe = "embedded"', 'records = ["records.jsonl"]', 'images = "."', f'name = "{name}"']
    for title, values in tables.items():
        lines += [f"[{title}]", *(f"{key} = {value}" for key, value in values.items())]
    file = folder / "given.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def events_of(run):
    return list(read_events((run / "events.jsonl").read_text(encoding="utf-8")))


def newest_step(run):
    """0 before the first whole event."""
    return max((e.step for e in events_of(run)), default=0) if (run / "events.jsonl").exists() else 0


def curve(run):
    return [
        (e.kind, e.step, dict(e.values)) for e in events_of(run) if e.kind in ("step", "evaluation", "end")
    ]


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(run_command, "runner", lambda recipe: toy_recipe.train)


def test_a_killed_run_goes_on_to_the_same_curve(tmp_path, toy):
    plan = {"every_steps": 10, "checkpoint_seconds": 0.0}
    whole = config_file(tmp_path, "steps=40,pause=0.02", evaluation=plan)
    run_command.execute(whole, tmp_path / "unbroken")
    broken = tmp_path / "broken"
    command = [sys.executable, str(TOY), str(whole), str(broken)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while newest_step(broken) < 15:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert not (broken / "result.json").exists()
    run_command.execute(whole, broken)
    assert [e.words for e in events_of(broken) if e.kind == "start"] == ["started", "resumed"]
    assert curve(broken) == curve(tmp_path / "unbroken")
    exported = [(run / "adapter" / "weights.txt").read_text() for run in (broken, tmp_path / "unbroken")]
    assert exported[0] == exported[1]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [({"steps": 7}, "steps"), ({"minutes": 0.001}, "time"), ({"disk_megabytes": 1e-3}, "disk")],
)
def test_budgets_end_a_run_with_a_checkpoint(tmp_path, toy, budget, reason):
    file = config_file(tmp_path, "steps=4000,pause=0.005", budget=budget)
    assert run_command.execute(file, tmp_path / "run") == reason
    assert json.loads((tmp_path / "run/result.json").read_text())["reason"] == reason
    assert (tmp_path / "run/checkpoints/last/state.safetensors").exists()


def test_no_gain_ends_a_run_early(tmp_path, toy):
    file = config_file(tmp_path, "steps=4000", evaluation={"every_steps": 20, "patience": 3})
    assert run_command.execute(file, tmp_path / "run") == "no gain"


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path, toy):
    plan = {"every_steps": 10, "checkpoint_seconds": 0.0}
    file = config_file(tmp_path, "steps=40,nan=23", evaluation=plan)
    with pytest.raises(RunError, match="nan at step 23; start a new run with a smaller learning rate"):
        run_command.execute(file, tmp_path / "run")
    last = events_of(tmp_path / "run")[-1]
    assert (last.kind, last.step) == ("end", 20)
    assert "smaller learning rate" in last.words
    assert (tmp_path / "run/checkpoints/last/state.safetensors").exists()


def test_a_run_stopped_between_two_events_goes_on_to_the_same_curve(tmp_path, toy, monkeypatch):
    plan = {"every_steps": 10, "checkpoint_seconds": 0.0}
    file = config_file(tmp_path, "steps=20", evaluation=plan)
    run_command.execute(file, tmp_path / "unbroken")
    asked = iter([None] * 7 + ["stopped"])
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "should_stop", lambda self, step: next(asked))
        assert run_command.execute(file, tmp_path / "run") == "stopped"
    assert newest_step(tmp_path / "run") == 7
    assert run_command.execute(file, tmp_path / "run") == "done"
    assert curve(tmp_path / "run") == curve(tmp_path / "unbroken")


def test_a_run_that_is_done_and_started_again_tells_nothing_twice(tmp_path, toy):
    file = config_file(tmp_path, "steps=13", evaluation={"every_steps": 10})
    for _ in range(3):
        assert run_command.execute(file, tmp_path / "run") == "done"
    kinds = [(e.kind, e.step) for e in events_of(tmp_path / "run") if e.kind != "start"]
    assert len(kinds) == len(set(kinds))
    assert ("evaluation", 13) in kinds


def test_slow_checkpoints_are_written_seldom(tmp_path, toy):
    """After the first, training goes on ten times as long as it took: 2 s, which this run does not last."""
    file = config_file(tmp_path, "steps=40,slow=0.2", evaluation={"checkpoint_seconds": 0.0})
    run_command.execute(file, tmp_path / "run")
    assert [e.step for e in events_of(tmp_path / "run") if e.kind == "checkpoint"] == [5, 40]


def test_only_the_process_that_writes_the_folder_reads_it_to_decide_the_end(monkeypatch):
    """The others would walk over files that are just being renamed."""

    class Walking:
        config = SimpleNamespace(evaluation=SimpleNamespace(patience=0))

        def should_stop(self, step):
            raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        loop._why_stop(Walking(), loop._Progress())
    monkeypatch.setattr(several, "is_main", lambda: False)
    assert loop._why_stop(Walking(), loop._Progress()) is None


def test_another_configuration_never_mixes_into_a_run(tmp_path, toy):
    run_command.execute(config_file(tmp_path, "steps=5"), tmp_path / "run")
    with pytest.raises(RunError, match="another configuration"):
        run_command.execute(config_file(tmp_path, "steps=6"), tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recipe = ", "TOML"),
        (
            'recipe = "embedded"\nrecords = ["a"]\nimages = "."\nlerning_rate = 1',
            "unknown key 'lerning_rate'",
        ),
        ('recipe = "embeded"\nrecords = ["a"]\nimages = "."', "embeded"),
        ('recipe = "embedded"\nrecords = []\nimages = "."', "no records"),
        (
            'recipe = "embedded"\nrecords = ["a"]\nimages = "."\n[embedded]\nreplai = 1.0',
            "unknown key 'replai'",
        ),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(tmp_path, text, words):
    file = tmp_path / "given.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=words) as fault:
        run_command.execute(file, tmp_path / "run")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_told(tmp_path, toy):
    file = config_file(tmp_path, "steps=5")
    run_command.execute(file, tmp_path / "run")
    (tmp_path / "run/checkpoints/last/state.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match="damaged"):
        run_command.execute(file, tmp_path / "run")


def test_a_stop_that_came_while_the_process_got_ready_counts_and_an_older_one_does_not(tmp_path, toy):
    file, folder = config_file(tmp_path, "steps=40"), tmp_path / "run"
    folder.mkdir()
    (folder / "stop").touch()
    os.utime(folder / "stop", (0, 0))
    assert run_command.execute(file, folder) == "done"
    jobs.stop(folder)  # this process is as one that has begun, but is not ready yet
    (folder / "checkpoints" / "last" / "state.safetensors").unlink()
    assert run_command.execute(file, folder) == "stopped"


def test_a_run_started_apart_is_listed_followed_and_stopped(tmp_path, monkeypatch):
    """With a real detached process; the recipe fails at once, since its records are not there."""
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    folder = jobs.new_run_folder("first try")
    jobs.start(config_file(tmp_path).read_text(encoding="utf-8"), folder)
    deadline = time.monotonic() + 120
    while jobs.summary(folder).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (listed,) = jobs.list_runs()
    assert (listed.state, listed.reason) == ("ended", "failed")
    assert jobs.last_event(folder).kind == "end"
    assert jobs.log_tail(folder)


def test_a_tail_hears_new_events_and_starts_anew_after_a_resume(tmp_path):
    file = tmp_path / "events.jsonl"
    line = '{"event": "step", "step": %d, "seconds": 1.0, "values": {"loss": 1.0}, "words": ""}\n'
    tail = jobs.EventTail(tmp_path)
    assert tail.read() == (False, ())
    file.write_text(line % 1 + line % 2 + '{"event": "st', encoding="utf-8")
    assert [e.step for e in tail.read()[1]] == [1, 2]
    file.write_text(line % 1 + line % 2 + line % 3, encoding="utf-8")
    assert [e.step for e in tail.read()[1]] == [3]
    file.write_text(line % 1, encoding="utf-8")
    again, events = tail.read()
    assert again
    assert [e.step for e in events] == [1]
