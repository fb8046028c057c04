import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.record import (
    ImageReference,
    PositionWords,
    Record,
    Review,
    from_line,
    mask_of,
    runs_of,
    to_line,
    with_id,
)
from napari_medreason.core.record_check import problems
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.io import atomic
from napari_medreason.io.records import check_file, read_records, write_records


def sample(question: str = "Where is the liver?", **changes: object) -> Record:
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    record = Record(
        id="",
        system="medpos",
        source="toy",
        patient="p-1",
        split="train",
        image=ImageReference("a.nii.gz", "a_seg.nii.gz", "axial", 3, (6, 8), (1.5, 1.0), ("L", "P"), "CT"),
        structure="liver",
        label="liver",
        value=1,
        side="",
        super_category="abdomen anatomies",
        healthy=None,
        approach="position",
        length="",
        question=question,
        reasoning="",
        answer="The liver lies near the center of the image.",
        short_description="",
        long_description="",
        box_plane=mask_box(mask),
        key_points_plane=key_points(mask),
        mask_runs=runs_of(mask),
        position=PositionWords("paper", "near the center", True),
        patient_position={"side": "right", "level": 0.5},
    )
    return with_id(replace(record, **changes))


@given(
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.text(min_size=1, max_size=30).filter(str.strip),
)
@settings(max_examples=40, deadline=None)
def test_a_record_with_any_mask_and_words_comes_back_the_same(mask, question):
    record = sample(question, mask_runs=runs_of(mask))
    again = from_line(to_line(record))
    assert again == record
    assert "\n" not in to_line(record)
    np.testing.assert_array_equal(mask_of(again.mask_runs, mask.shape), mask)


def test_an_unknown_key_is_named_with_file_and_line(tmp_path):
    line = json.loads(to_line(sample())) | {"anwser": "typo"}
    path = tmp_path / "records.jsonl"
    path.write_text(to_line(sample()) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(DataSetError, match=r"records.jsonl, line 2: unknown key 'anwser'; accepted are id, "):
        list(read_records(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "dev"}, "split: found 'dev'; accepted is 'train' or 'validation' or 'test'"),
        ({"value": True}, "value: found True; accepted is a whole number"),
        ({"box_plane": [1, 2, 3]}, "a list of 4"),
        ({"mask_runs": [3, "x"]}, "mask_runs: found 'x'"),
        ({"image": {"path": "a"}}, "image: the key 'mask_path' is missing"),
    ],
)
def test_a_badly_typed_value_is_refused_with_what_is_accepted(change, words):
    line = json.dumps(json.loads(to_line(sample())) | change)
    with pytest.raises(DataSetError) as caught:
        from_line(line, "line 1")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ['{"id": NaN}', '{"id": "a", "id": "b"}', "{", "[" * 100_000, ""])
def test_text_that_is_no_strict_json_is_refused_in_one_line(text):
    with pytest.raises(DataSetError) as caught:
        from_line(text, "line 7")
    assert "line 7" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask_runs": (10, 5, 33)}, "box_plane is"),
        ({"mask_runs": (10, 5)}, "run lengths add up to 15"),
        ({"mask_runs": (48,)}, "the mask is empty"),
        ({"key_points_plane": ((0.0, 0.0), (3.0, 2.0))}, "key point [0.0, 0.0] lies outside"),
        ({"structure": "lvier"}, "not in the anatomy vocabulary"),
        ({"answer": "The {structure} is here."}, "slot that was not filled"),
        ({"patient": ""}, "patient is empty"),
        ({"review": Review("accepted")}, "accepted without reviewer and date"),
        (
            {"image": replace(sample().image, path="/home/someone/a.nii.gz")},
            "must be relative",
        ),
        ({"image": replace(sample().image, path="../a.nii.gz")}, "must be relative"),
    ],
)
def test_the_check_says_what_is_wrong_with_a_record(changes, words):
    assert problems(sample()) == ()
    assert any(words in fault for fault in problems(sample(**changes)))


def test_a_changed_question_needs_a_new_id_but_a_review_does_not():
    record = sample()
    accepted = replace(record, review=Review("accepted", "reader one", "2026-01-02"))
    assert problems(accepted) == ()
    assert any("does not follow" in fault for fault in problems(replace(record, question="And now?")))


def test_a_file_is_checked_as_a_whole(tmp_path):
    path = tmp_path / "records.jsonl"
    record = sample()
    other = sample("Show me the liver.", split="test")
    assert write_records(path, [record, record, other]) == 3
    report = check_file(path)
    assert report.count == 3
    assert [line for line, _ in report.faults] == [2, 3]
    assert "occurs twice" in report.faults[0][1]
    assert "patient 'p-1' is in train and in test" in report.faults[1][1]
    assert report.counts["split"] == {"test": 1, "train": 2}


def test_a_damaged_line_is_counted_and_the_rest_is_checked(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("no json\n" + to_line(sample()) + "\n", encoding="utf-8")
    report = check_file(path)
    assert (report.count, report.fault_count) == (1, 1)
    path.write_bytes(to_line(sample()).encode() + b"\n\xff\xfe\n")
    with pytest.raises(DataSetError, match="not UTF-8"):
        check_file(path)


def test_a_full_disk_leaves_the_older_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    write_records(path, [sample()])
    before = path.read_bytes()

    def full(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(ExportError, match="No space left on device; check space"):
        write_records(path, [sample("Another?")])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["records.jsonl"]
