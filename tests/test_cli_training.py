"""`medreason train`: what is refused before anything starts, and a run apart that is found again."""

import time

import pytest

from napari_medreason import jobs
from napari_medreason.cli import app
from napari_medreason.errors import RunError

TEXT = 'recipe = "embedded"\nrecords = ["records.jsonl"]\nimages = "."\nname = "first try"\n'


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    file = tmp_path / "tune.toml"
    file.write_text(TEXT, encoding="utf-8")
    return file


def train(*arguments):
    app(["train", *map(str, arguments)], standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sft", "CONFIG"], "of the recipe embedded, not sft"),
        (["CONFIG", "--resume"], "no run of tune"),
        (["no.toml"], "can't be read as text"),
        (["a", "b", "c"], "one configuration"),
    ],
)
def test_what_can_not_start_is_told_in_one_line(config, arguments, words):
    with pytest.raises(RunError, match=words) as fault:
        train(*[config if part == "CONFIG" else part for part in arguments])
    assert "\n" not in str(fault.value)
    assert not jobs.list_runs()


def test_a_typing_mistake_is_named_before_a_process_starts(config):
    config.write_text(TEXT + "sead = 3\n", encoding="utf-8")
    with pytest.raises(RunError, match="unknown key 'sead'"):
        train(config)


def test_a_run_apart_reads_its_records_beside_the_configuration(config, tmp_path):
    """The records are no records, which only a process that looked in the right folder can say."""
    (tmp_path / "records.jsonl").write_text("{}\n", encoding="utf-8")
    train("embedded", config, "--detach")
    (run,) = jobs.list_runs()
    deadline = time.monotonic() + 240
    while jobs.summary(run.folder).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert jobs.summary(run.folder).reason == "failed"
    assert "records.jsonl, line 1" in jobs.last_event(run.folder).words
