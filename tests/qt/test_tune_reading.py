"""What the Runs page reads from run folders, and how it is put in words; no window here."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason import io, jobs
from napari_medreason._qt.tune_compare_cases import (
    MOST_CASES,
    HeldOut,
    dice,
    one_slice,
    read_held_out,
    spread,
)
from napari_medreason._qt.tune_compare_words import chosen_words, doubt, figure_rows, figure_tips, verdict
from napari_medreason._qt.tune_log import plain_lines
from napari_medreason._qt.tune_runs_files import delete_run, delete_words
from napari_medreason._qt.tune_runs_history import MOST_POINTS, RunHistory, seconds_left, thinned
from napari_medreason._qt.tune_runs_reading import FollowedRun, read_card, read_list, read_samples
from napari_medreason._qt.tune_runs_view import status_words
from napari_medreason._qt.tune_runs_words import can_resume, end_words, left_words
from napari_medreason._qt.tune_samples import sample_words
from napari_medreason.core.plane import AXES, cut, slice_count
from napari_medreason.core.run_folder import RunEvent
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import CancelledError, RunError

from .tune_cases import events_text, lesion_data, make_adapter, make_run, steps


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "adapters"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@given(st.lists(st.floats(-1e6, 1e6), max_size=400), st.integers(4, 60))
@settings(max_examples=60)
def test_thinned_curves_keep_their_extremes_and_ends(values, most):
    given = np.array(values)
    kept = thinned(given, most)
    assert len(kept) <= max(most, 0)
    assert (np.diff(kept) > 0).all()
    if values:
        assert {kept[0], kept[-1]} == {0, len(values) - 1}
        assert given[kept].max() == given.max()
        assert given[kept].min() == given.min()


def test_a_resumed_run_takes_its_later_points_back():
    history = RunHistory()
    history.add(
        [RunEvent("start", 0, 1.0, {"steps": 90}), *steps(1, 9), RunEvent("end", 9, 9.0, {}, "stopped")]
    )
    history.add(
        [RunEvent("start", 5, 12.0, {"steps": 90}, "resumed"), RunEvent("step", 6, 13.0, {"loss": 7.0})]
    )
    curve = history.curves()["training", "loss"]
    assert curve.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert curve.values[-1] == 7.0
    assert (history.end, history.total_steps) == ("", 90)
    assert history.seconds_per_step == pytest.approx(1.0)


def test_the_time_left_is_of_steps_or_of_minutes_whichever_is_over_first():
    history = RunHistory()
    history.add(
        [RunEvent("start", 0, 30.0), *(RunEvent("step", n, 30.0 + 2 * n, {"loss": 1.0}) for n in (5, 10))]
    )
    assert seconds_left(history, total_steps=40, budget_minutes=0.0) == pytest.approx(60)
    assert seconds_left(history, total_steps=40, budget_minutes=1.5) == pytest.approx(40)
    assert seconds_left(history, total_steps=0, budget_minutes=0.0) is None
    assert left_words(1200) == "about 20 minutes left"


def test_a_run_with_very_many_events_is_read_once_and_then_only_what_is_new(root):
    folder = make_run(root / "long", steps(1, 20_000, seconds=0.1))
    followed = FollowedRun(folder)
    first = followed.read()
    assert len(first.curves["training", "loss"].values) <= MOST_POINTS
    assert first.run.summary.step == 20_000
    started = time.thread_time()
    assert followed.read().curves is None
    assert time.thread_time() - started < 0.1
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(events_text(RunEvent("evaluation", 20_001, 2000.1, {"dice": 0.7})))
    assert followed.read().curves["validation", "dice"].values.tolist() == [0.7]


def test_events_that_were_taken_back_and_have_grown_again_are_seen(root):
    folder = make_run(root / "run", steps(1, 9))
    followed = FollowedRun(folder)
    followed.read()
    with io.replace_file(folder / "events.jsonl") as temporary:
        again = [*steps(1, 5), RunEvent("start", 5, 6.0), *steps(6, 30, seconds=3.0)]
        temporary.write_text(events_text(*again), encoding="utf-8")
    assert followed.read().curves["training", "loss"].minutes[6] == pytest.approx(7 * 3 / 60)


def test_runs_are_listed_with_their_states_and_those_elsewhere_too(root, tmp_path):
    make_run(root / "works", steps(1, 3), name="works", working=True)
    make_run(root / "stopping", name="stopping", working=True)
    (root / "stopping" / "stop").touch()
    make_run(root / "broken", steps(1, 2), name="broken")
    make_run(tmp_path / "elsewhere", name="elsewhere", reason="done")
    (root / "no run").mkdir()
    listed = {run.summary.name: run for run in read_list([tmp_path / "elsewhere", tmp_path])}
    assert set(listed) == {"works", "stopping", "broken", "elsewhere"}
    assert listed["works"].running
    assert listed["stopping"].stopping
    assert listed["broken"].summary.state == "broken off"
    assert listed["elsewhere"].best == 0.5


@pytest.mark.parametrize(
    ("reason", "told", "words", "resumable"),
    [
        ("", "", "It left no checkpoint", True),
        ("stopped", "", "Resume goes on", True),
        (
            "failed",
            "the loss is nan at step 3; choose a smaller learning rate",
            "smaller learning rate.",
            True,
        ),
        ("time", "", "start a new run with more", False),
        ("no gain", "exported the state of step 50", "Exported the state of step 50.", False),
        ("disk", "", "larger one", False),
        ("done", "", "whole schedule", False),
    ],
)
def test_the_end_of_a_run_is_told_with_its_remedy(root, reason, told, words, resumable):
    summary = jobs.summary(make_run(root / "run", steps(1, 3), reason=reason))
    assert words in end_words(summary, told)
    assert can_resume(summary) is resumable


def test_deleting_spares_working_runs_and_what_is_not_of_the_run(root, tmp_path):
    working = make_run(root / "works", working=True)
    with pytest.raises(RunError, match="stop it before"):
        delete_run(working)
    assert (working / "events.jsonl").exists()
    with pytest.raises(RunError, match="holds no run"):
        delete_run(tmp_path)
    assert delete_run(make_run(root / "old", reason="done")) == ()
    assert not (root / "old").exists()
    elsewhere = make_run(tmp_path / "my files", reason="done")
    (elsewhere / "samples").mkdir()
    (elsewhere / "thesis.odt").write_text("years of work")
    assert delete_run(elsewhere) == ("thesis.odt",)
    assert [file.name for file in elsewhere.iterdir()] == ["thesis.odt"]
    assert "folder of yours" in delete_words(elsewhere)
    assert "folder of yours" not in delete_words(working)
    outside = make_run(tmp_path / "kept", reason="done")
    link = root / "link"
    link.symlink_to(outside, target_is_directory=True)
    with pytest.raises(RunError, match="link"):
        delete_run(link)
    assert (outside / "config.toml").exists()


def test_deleting_a_run_elsewhere_looks_into_folders_that_may_be_the_users(root, tmp_path):
    """As after `medreason train tune.toml --folder .` among one's own files."""
    folder = make_run(tmp_path / "mine", reason="done")
    for name in ("samples/blood.csv", "adapter/usb-c.txt", "checkpoints/last/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    for name in ("samples/step-000010/one.json", "checkpoints/last/state.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of the run")
    assert delete_run(folder) == ("adapter", "checkpoints", "samples")
    left = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert left == ["adapter/usb-c.txt", "checkpoints/last/notes.txt", "samples/blood.csv"]
    whole = make_run(tmp_path / "whole", reason="done")
    make_adapter(whole)
    for name in ("samples/step-000010/one.json", "checkpoints/best/state.safetensors"):
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_text("of the run")
    assert delete_run(whole) == ()
    assert not whole.exists()


def test_reading_a_run_loads_neither_torch_nor_the_viewer(root):
    """In a process of its own: in napari's, torch would be a crash in waiting."""
    folder = make_run(root / "run", steps(1, 3), reason="done")
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_medreason._qt.tune_runs_reading import FollowedRun, read_list\n"
        "FollowedRun(Path(sys.argv[1])).read(), read_list()\n"
        "print({'torch', 'napari'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_samples_are_read_with_words_and_pictures(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"structures": {"liver": 0.51234}, "answer": "here"}))
    (tmp_path / "one-answer.png").write_bytes(b"png")
    (tmp_path / "two.json").write_text("{")
    (sample,) = read_samples(tmp_path)
    assert dict(sample.pictures) == {"answer": b"png"}
    assert sample_words(sample.words) == "structures: liver 0.512\nanswer: here"


def test_a_log_is_shown_without_the_states_that_a_progress_bar_wrote_over():
    assert plain_lines("loading\n 1 %\r 50 %\r100 %\r\ndone\n") == "loading\n100 %\ndone"


GOOD = {"before": 0.4, "after": 0.6, "interval": [0.1, 0.3], "better": 7, "regions": 8, "patients": 4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Better than before: Dice +0.200 (95 % interval +0.100 to +0.300) on 4 held-out patients."),
        ({"interval": [-0.1, 0.3]}, "No sure difference"),
        ({"interval": None}, "No sure difference: Dice +0.200 on 4"),
        ({"after": 0.2, "interval": [-0.3, -0.1]}, "Worse than before"),
    ],
)
def test_the_verdict_says_no_more_than_the_figures(change, words):
    figures = {"prompted": GOOD | {"after": 0.1}, "named": GOOD | change, "named liver": GOOD, "odd": 3}
    assert words in verdict(figures)
    assert "Only the structures of the records were measured." in verdict(figures)
    rows = figure_rows(figures)
    assert [row[0] for row in rows] == ["Dice by box", "Dice by name", "– liver"]
    assert len(figure_tips(figures)) == len(rows)
    assert figure_tips(figures)[0] == "Dice by box: better on 7 of 8 regions"


@pytest.mark.parametrize("patients", [1, 2, None, "many"])
@pytest.mark.parametrize("interval", [[0.1, 0.3], [-0.3, -0.1]])
def test_from_one_or_two_patients_nothing_is_concluded(patients, interval):
    """Their spread, over slices or over two numbers, is no interval for the next patient."""
    figures = {"named": GOOD | {"patients": patients, "interval": interval}}
    words = verdict(figures)
    assert words.startswith("Too few patients to tell: Dice +0.200 on ")
    assert not {"Better", "Worse"} & set(words.split())
    assert "says nothing about the next" in words
    assert "interval" not in words
    assert figure_rows(figures)[0][4] == "–"


def test_gain_and_its_interval_are_told_with_sign_and_alike():
    figures = {"named": GOOD | {"before": 0.4, "after": 0.46, "interval": [0.004, 0.12]}}
    assert figure_rows(figures) == [("Dice by name", "0.40", "0.46", "+0.060", "+0.004 to +0.120", "4")]
    assert "+0.060 (95 % interval +0.004 to +0.120)" in verdict(figures)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({}, "Nothing was measured"),
        ({"named": GOOD}, ""),
        ({"named": GOOD | {"after": 0.2}}, "worse than before"),
        ({"named": GOOD, "named liver": GOOD | {"after": 0.38}}, ""),
        ({"named": GOOD, "named liver": GOOD | {"before": 0.9, "after": 0.1}}, "Fell: liver."),
        ({"named": GOOD, "prompted": GOOD | {"after": 0.1}}, "Fell: Dice by box."),
    ],
)
def test_what_speaks_against_accepting(figures, words):
    assert words in doubt(figures)
    assert bool(doubt(figures)) is bool(words)
    assert ("Fell" in verdict(figures)) is ("Fell" in words)


@pytest.mark.parametrize("odd", [None, [1], {"named": {"before": 10**400, "after": float("nan")}}])
def test_a_card_from_anywhere_is_shown_as_one_without_figures(tmp_path, odd):
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter.json").write_text(json.dumps({"before_after": odd}))
    figures = read_card(tmp_path / "run")["before_after"]
    assert figure_rows(figures) == []
    assert "Nothing was measured" in verdict(figures)


@pytest.mark.parametrize(
    ("order", "total", "words"),
    [
        ("patients", MOST_CASES, ""),
        ("patients", 200, "40 of 200 cases, of every patient in turn."),
        (
            "worse",
            200,
            "Of 200 cases the 40 that changed most for the worse: they don't stand for the whole.",
        ),
        (
            "better",
            200,
            "Of 200 cases the 40 that changed most for the better: they don't stand for the whole.",
        ),
    ],
)
def test_it_is_told_how_cases_were_chosen(order, total, words):
    assert chosen_words(HeldOut("test", (None,) * MOST_CASES, total, order)) == words


def test_without_test_patients_the_verdict_says_so():
    assert "no test patient" in verdict({})


@pytest.mark.parametrize("axis", AXES)
def test_one_slice_lies_where_it_lay_in_the_study(axis):
    rng = np.random.default_rng(0)
    affine = np.diag([-1.2, 0.9, 3.0, 1.0])
    affine[:3, 3] = (10.0, -20.0, 30.0)
    volume = Volume(rng.normal(size=(5, 6, 7)), affine, modality="MR")
    index = slice_count(volume, axis) - 2
    window = Window(0, 1)
    whole, thin = cut(volume, axis, index, window), one_slice(volume, cut(volume, axis, index, window))
    alone = cut(thin, axis, 0, window)
    np.testing.assert_array_equal(alone.image, whole.image)
    np.testing.assert_allclose(alone.point_lps((2, 1)), whole.point_lps((2, 1)))
    assert slice_count(thin, axis) == 1


def test_dice_of_nothing_and_of_the_same():
    mask = np.eye(4, dtype=bool)
    assert (dice(None, mask), dice(mask, mask), dice(None, mask & False)) == (0.0, 1.0, 1.0)


def read(folder):
    return read_held_out(folder, progress=lambda *_: None, cancelled=lambda: False)


def test_held_out_cases_are_of_test_patients_and_each_gets_its_turn(root):
    folder = make_run(root / "run")
    records = lesion_data(folder, (("a", "train"), ("v", "validation"), ("c", "test"), ("d", "test")))
    held_out = read(folder)
    assert (held_out.split, held_out.total, len(held_out.cases)) == ("test", 8, 8)
    assert {case.record.patient for case in held_out.cases} == {"c", "d"}
    case = held_out.cases[0]
    assert case.plane.image[case.record.mask].mean() > case.plane.image[~case.record.mask].mean()
    test = [record for record in records if record.split == "test"]
    assert [record.patient for record in spread(test, 4)] == ["c", "c", "d", "d"]
    with pytest.raises(CancelledError):
        read_held_out(folder, progress=lambda *_: None, cancelled=lambda: True)


def test_cases_that_changed_most_come_first(root):
    folder = make_run(root / "run")
    records = [r for r in lesion_data(folder, (("a", "train"), ("c", "test"))) if r.split == "test"]
    gains = [0.1, -0.3, 0.2, 0.0]
    pairs = [
        {"record": record.id, "before": 0.5, "after": 0.5 + gain}
        for record, gain in zip(records, gains, strict=True)
    ]
    (folder / "comparison.json").write_text(json.dumps({"pairs": pairs}))

    def first(order):
        held_out = read_held_out(folder, order, progress=lambda *_: None, cancelled=lambda: False)
        return [records.index(case.record) for case in held_out.cases]

    assert first("worse") == [1, 3, 0, 2]
    assert first("better") == [2, 0, 3, 1]
    (folder / "comparison.json").write_text("{")
    held_out = read_held_out(folder, "worse", progress=lambda *_: None, cancelled=lambda: False)
    assert (held_out.order, len(held_out.cases)) == ("patients", 4)


def test_a_run_that_broke_off_tells_the_last_line_of_its_log(root):
    folder = make_run(root / "run", steps(1, 3))
    (folder / "stderr.log").write_text("loading\nModuleNotFoundError: No module named 'trl'\n\n")
    words = status_words(FollowedRun(folder).read())
    assert "The last line of its log: “ModuleNotFoundError: No module named 'trl'”." in words


def test_without_a_test_patient_validation_is_shown_and_without_both_it_is_told(root):
    folder = make_run(root / "run")
    lesion_data(folder, (("a", "train"), ("v", "validation")))
    assert read(folder).split == "validation"
    lesion_data(folder, (("a", "train"),))
    with pytest.raises(RunError, match="another patient"):
        read(folder)
    (folder / "records.jsonl").unlink()
    with pytest.raises(RunError, match=r"records\.jsonl"):
        read(folder)
