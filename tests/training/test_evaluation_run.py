"""Whole evaluations on a small set of heads: what is written, what is refused, and going on after a stop."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from PIL import Image

from napari_medreason.core.evaluation_config import ModelChoice
from napari_medreason.errors import DataSetError, MedReasonError, RunError
from napari_medreason.io.records import write_records
from napari_medreason_training.evaluation.answering import AnswerFile
from napari_medreason_training.evaluation.contestants import Contestant
from napari_medreason_training.evaluation.evaluating import evaluate
from napari_medreason_training.evaluation.predictions import Prediction, prediction_line

from .evaluation_cases import exact
from .tuning_records import data_set, in_split

PATIENTS = (("a", "train"), ("b", "test"), ("c", "test"))
HEAD = 'records = ["records.jsonl"]\nimages = "."\npictures = 1\nresamples = 200\n'
THEIRS = '[[models]]\nname = "theirs"\npredictions = "theirs.jsonl"\n'
OURS = '[[models]]\nid = "embedded"\n'


@pytest.fixture
def heads(tmp_path):
    """Records of three patients, with exact predictions for those of the test split."""
    records = data_set(tmp_path, PATIENTS)
    write_predictions(tmp_path / "theirs.jsonl", [exact(r) for r in records if r.split == "test"])
    return records


def write_predictions(file, predictions):
    file.write_text("".join(prediction_line(one) + "\n" for one in predictions), encoding="utf-8")


def run(folder, text, **options):
    (folder / "eval.toml").write_text(text, encoding="utf-8")
    return evaluate(folder / "eval.toml", **options)


def summary_of(out):
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def test_predictions_of_another_program_and_a_model_are_scored_side_by_side(tmp_path, heads):
    out = run(tmp_path, HEAD + THEIRS + OURS)
    figures = summary_of(out)["figures"]
    assert figures["theirs"]["dice"]["value"] == figures["theirs"]["box_iou"]["value"] == 1
    assert figures["embedded"]["dice"]["value"] < 0.5  # it does not know white matter lesions
    assert (figures["embedded"]["dice"]["records"], figures["embedded"]["dice"]["patients"]) == (8, 2)
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "8 records of 2 patients" in report
    assert "2 patients are few" in report
    assert "left out: 4 of another split" in report
    assert "embedded less theirs" in report
    assert report.count("its words come from a template") == 1
    (weights,) = summary_of(out)["models"][1]["weights_sha256"]
    assert f"weights {weights[:12]}" in report
    assert str(tmp_path) not in report + (out / "summary.json").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    assert {line["model"] for line in lines} == {"theirs", "embedded"}
    with Image.open(out / "pictures-theirs.png") as sheet:
        assert sheet.width >= 600
    assert (out / "tables" / "medreasoner.csv").is_file()


def test_answers_given_here_are_predictions_elsewhere(tmp_path, heads):
    out = run(tmp_path, HEAD + OURS)
    again = run(
        tmp_path,
        HEAD + '[[models]]\nname = "kept"\npredictions = "evaluation/answers/embedded.jsonl"\n',
        out=tmp_path / "again",
    )
    first, second = (summary_of(folder)["figures"] for folder in (out, again))
    assert first["embedded"] == second["kept"]


def test_what_is_missing_in_a_file_of_predictions_counts_as_refused(tmp_path, heads):
    test = [r for r in heads if r.split == "test"]
    write_predictions(tmp_path / "theirs.jsonl", [exact(r) for r in test[:6]])
    out = run(tmp_path, HEAD + THEIRS)
    figures = summary_of(out)["figures"]["theirs"]
    assert (figures["dice"]["value"], figures["refused"]["value"]) == (0.75, 0.25)
    assert "no answer to 2 records" in (out / "report.md").read_text(encoding="utf-8")


def test_one_record_is_evaluated_without_an_interval(tmp_path, heads):
    write_records(tmp_path / "records.jsonl", [heads[-1]])
    out = run(tmp_path, HEAD + THEIRS)
    assert summary_of(out)["figures"]["theirs"]["dice"] == {
        "value": 1.0,
        "records": 1,
        "patients": 1,
        "interval": None,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "samples = 3\n" + THEIRS, "unknown key 'samples'"),
        (HEAD, "'models' is missing"),
        (HEAD + '[[models]]\nname = "x"\n', "either id or predictions"),
        (HEAD + OURS + OURS, "two models are called 'embedded'"),
        (HEAD + '[[models]]\nid = "embeded"\n', "'embeded' is not known"),
        (HEAD + '[[models]]\nid = "embedded"\nadapter = "none"\n', "none holds no adapter.json"),
        (HEAD.replace("records.jsonl", "no.jsonl") + OURS, "no.jsonl can't be read"),
        (HEAD.replace('images = "."', 'images = "nowhere"') + OURS, "nowhere, which is no folder"),
        (HEAD.replace('images = "."', 'images = {other = "."}') + OURS, "no folder for the source 'toy'"),
        (HEAD + 'splits = ["validation"]\n' + OURS, "no record of validation .*4 train"),
        (HEAD + THEIRS.replace("theirs.jsonl", "no.jsonl"), "predictions 'no.jsonl' of theirs"),
        (HEAD + OURS.replace("embedded", "embedded@x") + 'adapter = "y"\n', "names two adapters"),
        ("records = [\n", "can't be read as TOML"),
    ],
)
def test_faults_are_told_in_one_line_before_anything_is_asked_or_written(tmp_path, heads, text, words):
    with pytest.raises(MedReasonError, match=words) as fault:
        run(tmp_path, text)
    assert "\n" not in str(fault.value)
    assert str(tmp_path) not in str(fault.value)
    assert not (tmp_path / "evaluation").exists()


def test_a_patient_asked_and_learnt_from_is_named(tmp_path, heads):
    mixed = [replace(r, split="train") if r is heads[-1] else r for r in heads]
    write_records(tmp_path / "records.jsonl", mixed)
    with pytest.raises(RunError, match="patient c is in train and in test"):
        run(tmp_path, HEAD + THEIRS)


def test_records_named_twice_are_refused(tmp_path, heads):
    with pytest.raises(RunError, match="are there twice"):
        run(tmp_path, HEAD.replace('["records.jsonl"]', '["records.jsonl", "records.jsonl"]') + THEIRS)


def test_predictions_for_other_records_are_refused(tmp_path, heads):
    write_predictions(tmp_path / "theirs.jsonl", [exact(replace(heads[-1], id="other"))])
    with pytest.raises(RunError, match=r"theirs.jsonl of theirs has no answer to any"):
        run(tmp_path, HEAD + THEIRS)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"mask_runs": (3, 4)}, "run lengths"),
        ({"mask_runs": None, "mask": "none.png"}, "none.png can't be read"),
        ({"mask_runs": None, "probability": "small.png"}, "small.png has"),
    ],
)
def test_a_faulty_picture_of_another_program_is_told_before_a_model_is_asked(tmp_path, heads, mask, words):
    Image.new("L", (4, 3)).save(tmp_path / "small.png")
    write_predictions(tmp_path / "theirs.jsonl", [exact(heads[-2]), exact(heads[-1], **mask)])
    with pytest.raises(DataSetError, match=words):
        run(tmp_path, HEAD + OURS + THEIRS)
    assert not (tmp_path / "evaluation").exists()


def test_an_answer_is_on_the_disk_before_the_next_one_is_asked_for(tmp_path, monkeypatch):
    """When a file is flushed to the disk, the answer has left the program already."""
    flushed = []
    entrant = Contestant(ModelChoice(id="embedded"), {"id": "embedded"}, None, "")
    kept = AnswerFile(tmp_path / "out", entrant, resume=False)
    monkeypatch.setattr("os.fsync", lambda _: flushed.append(kept.file.read_bytes().count(b"\n")))
    for name in "ab":
        kept.add(Prediction(name), None)
    assert flushed == [1, 2]


def test_patients_that_a_model_has_learnt_from_are_told_in_the_heading(tmp_path, heads):
    """Another file of records has patient b to learn from."""
    write_records(tmp_path / "theirs_train.jsonl", in_split(heads, "b", "train"))
    out = run(tmp_path, HEAD + THEIRS + 'learnt_from = ["theirs_train.jsonl"]\n')
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "4 of 8 records are of patients that it has learnt from" in report
    assert summary_of(out)["models"][0]["records_of_learnt_patients"] == 4
    clean = run(tmp_path, HEAD + THEIRS + 'learnt_from = ["records.jsonl"]\n', out=tmp_path / "clean")
    assert "none that it has learnt from" in (clean / "report.md").read_text(encoding="utf-8")


def test_answers_are_not_mixed_with_those_of_another_model(tmp_path, heads):
    out = run(tmp_path, HEAD + OURS)
    with pytest.raises(RunError, match="add --resume"):
        run(tmp_path, HEAD + OURS)
    other = HEAD + '[[models]]\nid = "embedded-pair"\nname = "embedded"\n'
    with pytest.raises(RunError, match="another model"):
        run(tmp_path, other, resume=True)
    file = out / "answers" / "embedded.jsonl"
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text(
        "".join(json.dumps(one | {"weights_sha256": "0" * 64}) + "\n" for one in kept[:3]), encoding="utf-8"
    )
    with pytest.raises(RunError, match="other weights"):
        run(tmp_path, HEAD + OURS, resume=True)


def test_a_model_can_be_added_to_an_evaluation(tmp_path, heads):
    out = run(tmp_path, HEAD + OURS)
    before = (out / "answers" / "embedded.jsonl").read_bytes()
    run(tmp_path, HEAD + OURS + '[[models]]\nid = "embedded-pair"\n', resume=True)
    assert (out / "answers" / "embedded.jsonl").read_bytes() == before
    assert list(summary_of(out)["figures"]) == ["embedded", "embedded-pair"]


@pytest.mark.skipif(os.name != "posix", reason="the size of files can't be limited here")
def test_a_full_disk_is_told_and_what_was_answered_is_kept(tmp_path, heads):
    """No file may grow over some bytes more than three answers take."""
    import resource

    out = run(tmp_path, HEAD + OURS)
    file = out / "answers" / "embedded.jsonl"
    whole = file.read_bytes()
    three = b"".join(whole.splitlines(keepends=True)[:3])
    file.write_bytes(three)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(three) + 40, limits[1]))
    try:
        with pytest.raises(MedReasonError, match="File too large"):
            run(tmp_path, HEAD + OURS, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes().startswith(three)
    run(tmp_path, HEAD + OURS, resume=True)
    assert file.read_bytes().count(b"\n") == whole.count(b"\n")


def test_a_folder_for_results_that_can_not_be_made_is_named(tmp_path, heads):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(RunError, match="the folder taken for results can't be made"):
        run(tmp_path, HEAD + OURS, out=tmp_path / "taken")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT] if os.name == "posix" else [signal.SIGTERM])
def test_a_stopped_evaluation_goes_on_with_what_it_has(tmp_path, how):
    """Killed while it writes a line, and asked to end: the same scores as an unbroken one."""
    data_set(tmp_path, tuple((f"p{n}", "test") for n in range(40)))
    (tmp_path / "eval.toml").write_text(HEAD + OURS, encoding="utf-8")
    file = tmp_path / "evaluation" / "answers" / "embedded.jsonl"
    command = [sys.executable, "-m", "napari_medreason_training", "eval", str(tmp_path / "eval.toml")]
    # Where the tests run in the background Ctrl+C is ignored, and the child would inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, ours)
    _wait_for(file, process)
    process.send_signal(how)
    words = process.communicate(timeout=60)[1]
    if how == signal.SIGINT:
        assert process.returncode == 1
        assert "the answers so far are kept" in words
        assert "Traceback" not in words
    kept = file.read_bytes()
    done = kept[: kept.rfind(b"\n") + 1]
    assert 0 < done.count(b"\n") < 4 * 40
    file.write_bytes(done + b'{"record": "cut o')
    out = evaluate(tmp_path / "eval.toml", resume=True)
    assert file.read_bytes().startswith(done)
    whole = evaluate(tmp_path / "eval.toml", tmp_path / "whole")
    assert _scores(out) == _scores(whole)


def _wait_for(file, process):
    """Until the first answers are there."""
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def _scores(out):
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    for line in lines:
        line["values"].pop("seconds", None)
    return lines
