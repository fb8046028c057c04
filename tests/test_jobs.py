"""Runs from the outside: what can't be started or stopped is told and changes nothing; clocks put right."""

import json
import os
import sys

import psutil
import pytest

from napari_medreason import jobs
from napari_medreason.errors import RunError

TEXT = 'recipe = "embedded"\nrecords = ["records.jsonl"]\nimages = "."\nname = "first"\n'
SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def ended_run(folder):
    """A run that was stopped, as its process left it."""
    folder.mkdir()
    (folder / "config.toml").write_text(TEXT, encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"reason": "stopped", "values": {}, "words": ""}))
    return folder


def test_a_folder_that_can_not_be_made_is_told_in_one_line(root):
    (root / "file").write_text("no folder")
    with pytest.raises(RunError, match=r"can't be started: .*; check space and rights") as fault:
        jobs.start(TEXT, root / "file" / "run")
    assert "\n" not in str(fault.value)


def test_a_process_that_can_not_begin_leaves_a_former_run_as_it_was(root, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", (str(root / "no such program"),))
    folder = ended_run(root / "run")
    with pytest.raises(RunError, match="can't be started"):
        jobs.start(TEXT, folder)
    assert (jobs.summary(folder).state, jobs.summary(folder).reason) == ("ended", "stopped")


def test_a_first_start_that_fails_leaves_no_run_behind(root, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", (str(root / "no such program"),))
    with pytest.raises(RunError, match="can't be started"):
        jobs.start(TEXT, root / "new", base=root)
    assert list(root.iterdir()) == []
    (root / "mine").mkdir()
    (root / "mine" / "records.jsonl").write_text("")
    with pytest.raises(RunError, match="can't be started"):
        jobs.start(TEXT, root / "mine", base=root)
    assert [file.name for file in (root / "mine").iterdir()] == ["records.jsonl"]


def test_a_process_that_can_not_be_noted_is_ended(root, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", SLEEPER)
    (root / "run" / "process.json").mkdir(parents=True)  # no file can take its place
    before = set(psutil.Process().children())
    with pytest.raises(RunError, match=r"can't be started: process\.json"):
        jobs.start(TEXT, root / "run")
    assert set(psutil.Process().children()) <= before


def test_a_run_that_starts_again_has_no_result_any_more(root, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", SLEEPER)
    folder = ended_run(root / "run")
    (folder / "stop").touch()
    process = psutil.Process(jobs.start(TEXT, folder))
    try:
        assert jobs.summary(folder).state == "running"
        assert not (folder / "result.json").exists()
        assert not (folder / "stop").exists()
    finally:
        process.kill()
    jobs._children[-1].wait()


def test_a_run_whose_folder_is_gone_can_not_be_stopped_and_that_is_told(root):
    with pytest.raises(RunError, match="can't be stopped"):
        jobs.stop(root / "gone")


@pytest.mark.parametrize(("seconds", "works"), [(5.0, True), (-60.0, True), (600.0, False)])
def test_a_run_works_on_after_the_clock_was_put_right(root, seconds, works):
    """600 s: the id belongs to another process by now."""
    folder = ended_run(root / "run")
    started = psutil.Process().create_time() + seconds
    (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "started": started}))
    assert (jobs.process_of(folder) == os.getpid()) is works
