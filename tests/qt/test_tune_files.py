"""What the Fine-tune dock keeps, guesses and leaves out: records, images nearby, masks made anew."""

import dataclasses

import numpy as np
import pytest

from napari_medreason import jobs
from napari_medreason._qt.tune_check import run_check
from napari_medreason._qt.tune_form_files import (
    RunWish,
    guessed_images,
    keep_form,
    remembered,
    start_run,
)
from napari_medreason._qt.tune_records import RecordReader, RecordSet, SplitPlan, prepared
from napari_medreason._qt.tune_records_made import delete_made, records_root
from napari_medreason.core.record import runs_of, with_id
from napari_medreason.core.run_config import RunConfig
from napari_medreason.errors import CancelledError, ExportError, RunError
from napari_medreason.io.records import read_records, write_records

from ..training.tuning_records import data_set

CONFIG = RunConfig("embedded", ("records.jsonl",), "images", name="kept")
FIVE = tuple((patient, "train") for patient in "abcde")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Runs and records in a folder of this test."""
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MEDREASON_RECORDS", str(tmp_path / "made"))


def made_set(folder, patients):
    folder.mkdir(parents=True)
    data_set(folder, patients)
    return RecordSet(folder / "records.jsonl", folder)


def changed_records(one, **changes):
    """Write the records of a set anew."""
    write_records(
        one.file, [with_id(dataclasses.replace(record, **changes)) for record in read_records(one.file)]
    )


def test_records_of_two_folders_and_their_split_are_remembered(tmp_path):
    sets = (
        made_set(tmp_path / "one", FIVE[:2]),
        dataclasses.replace(made_set(tmp_path / "two", FIVE[2:]), patient="7"),
    )
    plan = SplitPlan("drawn", 0.1, 0.3)
    keep_form(RunWish(CONFIG, sets, plan), tmp_path / "settings" / "form.toml")
    kept = remembered(tmp_path / "settings" / "form.toml")
    assert kept is not None
    assert kept[0].name == "kept"
    assert tuple(kept[1]) == sets
    assert kept[2] == plan
    beside = tmp_path / "settings" / "form.records.json"
    beside.write_text('{"sets": 3}', "utf-8")
    assert remembered(tmp_path / "settings" / "form.toml") is None


def test_images_that_could_be_either_are_asked_for(tmp_path):
    for name in ("one", "two"):
        made_set(tmp_path / name, FIVE[:1])
    (tmp_path / "records").mkdir()
    (tmp_path / "one" / "records.jsonl").rename(tmp_path / "records" / "records.jsonl")
    assert guessed_images(tmp_path / "records" / "records.jsonl") is None
    assert guessed_images(tmp_path / "two" / "records.jsonl") == tmp_path / "two"
    (tmp_path / "one" / "a.nii.gz").unlink()
    assert guessed_images(tmp_path / "records" / "records.jsonl") == tmp_path / "two"


def test_a_mask_that_was_corrected_since_is_not_learnt_from(tmp_path):
    earlier, later = (made_set(tmp_path / "made" / name, FIVE[:1]) for name in ("1", "2"))
    elsewhere = made_set(tmp_path / "elsewhere", FIVE[1:2])
    changed_records(earlier, patient="study-0a")
    corrected = [record.mask_runs for record in read_records(earlier.file)]
    whole = next(iter(read_records(earlier.file))).image.shape
    changed_records(later, patient="study-0a", mask_runs=runs_of(np.ones(whole, bool)))
    found = prepared([earlier, later, elsewhere], SplitPlan("kept"), RecordReader())
    assert found.outdated == 4
    assert not found.files
    assert {record.patient for record in found.records} == {"study-0a", "b"}
    assert not {r.mask_runs for r in found.records if r.patient == "study-0a"} & set(corrected)
    changed_records(later, structure="brainstem")  # another structure of the study: both are wanted
    assert prepared([earlier, later], SplitPlan("kept"), RecordReader()).outdated == 0


def test_two_studies_of_one_patient_stay_together(tmp_path):
    sets = [made_set(tmp_path / name, [(name, "train")]) for name in "abc"]
    named = [dataclasses.replace(one, patient="7") for one in sets[:2]]
    check = run_check([*named, sets[2]], SplitPlan("drawn"), None, RecordReader())
    assert {record.patient for record in check.prepared.records} == {"7", "c"}
    assert sum(count.patients for count in check.data.splits.values()) == 2
    assert check.contents == {one.file: "white matter lesion, 4 records" for one in sets}
    alone = prepared(named[:1], SplitPlan("kept"), RecordReader())
    assert not alone.files  # the file itself names another patient


def test_a_start_that_was_cancelled_leaves_nothing(tmp_path, monkeypatch):
    wish = RunWish(CONFIG, (made_set(tmp_path / "set", FIVE),), SplitPlan())
    asked = []

    def after_the_records_are_written():
        asked.append(len(list((tmp_path / "runs").glob("*/records.jsonl"))))
        return asked[-1] > 0

    for cancelled in (lambda: True, after_the_records_are_written):
        with pytest.raises(CancelledError):
            start_run(wish, RecordReader(), cancelled=cancelled)
        assert not list((tmp_path / "runs").glob("*"))
    assert asked[-1] == 1

    def no_process(*_args, **_options):
        raise RunError("the run can't be started")

    monkeypatch.setattr(jobs, "start", no_process)
    with pytest.raises(RunError):
        start_run(wish, RecordReader())
    assert not list((tmp_path / "runs").glob("*"))


def test_only_copies_that_were_made_here_can_be_deleted(tmp_path):
    own, made = (
        made_set(tmp_path / "own" / "set", FIVE[:1]),
        made_set(tmp_path / "made" / "set", FIVE[:1]),
    )
    with pytest.raises(ExportError, match="not made here"):
        delete_made(own.file)
    assert own.file.exists()
    delete_made(made.file)
    assert list(records_root().iterdir()) == []
