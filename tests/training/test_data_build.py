"""Building records from images with masks, and going on after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.io import atomic
from napari_medreason.io.records import check_file, read_records, write_records
from napari_medreason_training.data.build import build
from napari_medreason_training.data.config import SplitConfig, read_build_config
from napari_medreason_training.data.patients import split_of

from .data_cases import PAIRS, config_file, image, label_map, pair_folder, save


def run(config: Path, system: str = "medpos"):
    seen = []
    result = build(system, read_build_config(config), config.parent, seen.append)
    return result, seen


def test_records_of_every_named_region_with_words_that_fit_the_mask(tmp_path):
    result, progress = run(config_file(tmp_path))
    records = list(read_records(result.folder / "records.jsonl"))
    assert {record.structure for record in records} == {"liver", "spleen"}
    assert progress[-1].records == len(records) == result.report.count
    assert result.report.sound
    for record in records:
        assert record.review.state == "waiting for review"
        assert record.position.label in record.answer
        assert record.label in record.question + record.answer
        assert record.patient_position["side"] in ("left", "right", "midline")
    assert result.dropped["region: label without a name"] == 4


def test_the_liver_of_a_patient_stored_back_to_front_gives_the_same_words(tmp_path):
    config = config_file(tmp_path)
    first = {
        (r.question, r.answer, r.box_plane) for r in read_records(run(config)[0].folder / "records.jsonl")
    }
    for path in (tmp_path / "toy").rglob("*.nii.gz"):
        import nibabel

        stored = nibabel.load(path)
        turned = np.asarray(stored.dataobj)[::-1, ::-1].copy()
        affine = stored.affine @ np.array(
            [[-1, 0, 0, turned.shape[0] - 1], [0, -1, 0, turned.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]]
        )
        save(path, turned, affine)
    assert {
        (r.question, r.answer, r.box_plane) for r in read_records(run(config)[0].folder / "records.jsonl")
    } == first


def test_same_seed_same_bytes_and_another_seed_other_wordings(tmp_path):
    config = config_file(tmp_path)
    first = (run(config)[0].folder / "records.jsonl").read_bytes()
    card = (tmp_path / "out" / "card.md").read_bytes()
    assert (run(config)[0].folder / "records.jsonl").read_bytes() == first
    assert (tmp_path / "out" / "card.md").read_bytes() == card
    config_file(tmp_path, "seed = 2")
    assert (run(config)[0].folder / "records.jsonl").read_bytes() != first


def test_records_checked_and_written_again_are_equal(tmp_path):
    path = run(config_file(tmp_path))[0].folder / "records.jsonl"
    again = tmp_path / "again.jsonl"
    write_records(again, read_records(path))
    assert again.read_bytes() == path.read_bytes()
    assert check_file(again).sound


def test_every_patient_is_in_one_split_and_test_has_wordings_of_its_own(tmp_path):
    pair_folder(tmp_path / "toy", patients=6)
    path = run(config_file(tmp_path, "[split]\ntest = 0.34\nvalidation = 0.17"))[0].folder / "records.jsonl"
    records = list(read_records(path))
    splits = {record.patient: record.split for record in records}
    assert all(splits[record.patient] == record.split for record in records)
    assert sorted(splits.values()) == ["test", "test", "train", "train", "train", "validation"]
    used = {split: {r.template.id for r in records if r.split == split} for split in ("train", "test")}
    assert not used["train"] & used["test"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 57])
def test_split_sizes_follow_the_shares_and_one_patient_is_left_for_training(count):
    splits = split_of([f"p-{number}" for number in range(count)], SplitConfig(0.1, 0.2), seed=3)
    sizes = [list(splits.values()).count(name) for name in ("train", "validation", "test")]
    assert sum(sizes) == count
    assert sizes[0] >= min(count, 1)
    assert sizes[2] == (0 if count < 2 else max(1, round(0.2 * count)))
    assert splits == split_of(
        [f"p-{number}" for number in reversed(range(count))], SplitConfig(0.1, 0.2), seed=3
    )


def test_a_copy_of_a_case_is_left_out_and_counted(tmp_path):
    folder = pair_folder(tmp_path / "toy", patients=2)
    for kind, ending in (("images", ""), ("labels", "_seg")):
        content = (folder / kind / f"p0{ending}.nii.gz").read_bytes()
        (folder / kind / f"p9{ending}.nii.gz").write_bytes(content)
    result, _ = run(config_file(tmp_path))
    assert result.dropped["case: copy of another case"] == 1


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((24, 20, 6), np.uint8), None),
        (np.zeros((10, 20, 6), np.uint8), "case: mask and image differ in size"),
        (np.full((24, 20, 6), 0.3, np.float32), "case: values that are no labels"),
        (np.full((24, 20, 6), -1, np.int16), "case: values that are no labels"),
        (np.full((24, 20, 6), 2**31 - 1, np.int32), "region: label without a name"),
    ],
)
def test_a_bad_mask_costs_its_case_only_and_is_counted(tmp_path, array, reason):
    folder = pair_folder(tmp_path / "toy", patients=2)
    save(folder / "images" / "bad.nii.gz", image(label_map(), 9))
    save(folder / "labels" / "bad_seg.nii.gz", array)
    result, _ = run(config_file(tmp_path))
    assert result.report.count == 14
    assert (reason is None) or result.dropped[reason] >= 1


def test_a_damaged_file_is_counted_and_the_others_are_built(tmp_path):
    folder = pair_folder(tmp_path / "toy", patients=2)
    (folder / "labels" / "p1_seg.nii.gz").write_bytes(b"not a NIfTI file")
    result, _ = run(config_file(tmp_path))
    assert result.dropped["case: mask can't be read"] == 1
    assert result.report.count == 7


def test_a_full_disk_is_told_and_the_next_start_goes_on_with_the_same_result(tmp_path, monkeypatch):
    config = config_file(tmp_path)
    whole = (run(config)[0].folder / "records.jsonl").read_bytes()
    (tmp_path / "out" / "records.jsonl").unlink()
    flushes = []

    def full_at_the_fifth(path):
        flushes.append(path)
        if len(flushes) == 5:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_flush", full_at_the_fifth)
        with pytest.raises(ExportError, match="No space left on device"):
            run(config)
    assert not (tmp_path / "out" / "records.jsonl").exists()
    result, progress = run(config)
    assert progress[-1].resumed == 2
    assert (result.folder / "records.jsonl").read_bytes() == whole


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path):
    pair_folder(tmp_path / "toy", patients=12)
    config = config_file(tmp_path)
    command = [sys.executable, "-m", "napari_medreason_training", "dataset", "build", "medpos", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and len(list((tmp_path / "out").glob("work/part-*.json"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list((tmp_path / "out").glob("work/part-*.json")))
    result, progress = run(config)
    assert done >= 2
    assert progress[-1].resumed >= 2
    killed = (result.folder / "records.jsonl").read_bytes()
    assert (run(config)[0].folder / "records.jsonl").read_bytes() == killed


@pytest.mark.parametrize(
    ("text", "sources", "words"),
    [
        ("sede = 3", PAIRS, "unknown key 'sede'; accepted are out, sources, seed"),
        ("", PAIRS + "colour = 1\n", "unknown key 'colour'"),
        ("", PAIRS.replace('"pairs"', '"folders"'), "accepted is 'pairs' or 'nnunet'"),
        ("", PAIRS.replace('root = "toy"', 'root = "tox"'), "there is no folder 'tox'"),
        ("", PAIRS.replace("_seg", "_mask"), "no image with a mask was found"),
        ("", PAIRS.replace("{1 =", "{one ="), "labels of 'toy' has the key 'one'"),
        ("", "sources = []", "no source is named"),
        ("[split]\ntest = 1.2", PAIRS, "split shares"),
        ("out = 3", PAIRS, "not valid TOML"),
        ("[regions]\naxes = ['oblique']", PAIRS, "'axial' or 'coronal' or 'sagittal'"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(tmp_path, text, sources, words):
    config = config_file(tmp_path, text, sources)
    with pytest.raises(DataSetError) as caught:
        run(config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_the_card_tells_counts_sources_and_what_was_left_out(tmp_path):
    result, _ = run(config_file(tmp_path, "", PAIRS + 'licence = "CC BY 4.0"\n'))
    card = (result.folder / "card.md").read_text(encoding="utf-8")
    for words in ("CC BY 4.0", f"{result.report.count} records", "label without a name", "not for diagnosis"):
        assert words in card
    assert str(tmp_path) not in card + (result.folder / "records.jsonl").read_text(encoding="utf-8")
    assert json.loads((result.folder / "left_out.json").read_text()) == result.dropped


def test_three_planes_and_limits_are_counted(tmp_path):
    text = '[regions]\naxes = ["axial", "coronal", "sagittal"]\nslices_per_structure = 2\nslices_per_case = 3'
    result, _ = run(config_file(tmp_path, text))
    records = list(read_records(result.folder / "records.jsonl"))
    planes = {(r.patient, r.image.axis, r.image.index) for r in records}
    assert len(planes) == 12
    assert result.dropped["region: beyond slices_per_structure"] > 0
    assert result.dropped["region: beyond slices_per_case"] > 0


def test_parquet_holds_the_same_records(tmp_path):
    pytest.importorskip("datasets")
    from napari_medreason_training.data.parquet import read_parquet

    result, _ = run(config_file(tmp_path, "parquet = true"))
    again = list(read_parquet(result.folder / "records.parquet"))
    assert again == list(read_records(result.folder / "records.jsonl"))


def test_a_patient_of_two_sources_of_one_cohort_is_one_person_in_one_split(tmp_path):
    second = PAIRS.replace('name = "toy"', 'name = "again"').replace(
        'mask_ending = "_seg"', 'mask_ending = "_two"'
    )
    folder = pair_folder(tmp_path / "toy")
    for path in sorted((folder / "labels").glob("*_seg.nii.gz")):
        labels = label_map(2)
        labels[0, 0 : 2 + len(list(folder.rglob("*_two*"))), 0] = 2
        save(path.with_name(path.name.replace("_seg", "_two")), labels)
    config = config_file(
        tmp_path,
        SPLIT,
        PAIRS + 'cohort = "c"\ninclude = "_seg"\n' + second + 'cohort = "c"\ninclude = "_two"\n',
    )
    records = list(read_records(run(config)[0].folder / "records.jsonl"))
    assert {record.source for record in records} == {"toy", "again"}
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.patient, set()).add(record.split)
    assert len(splits) == 4
    assert all(len(names) == 1 for names in splits.values())


SPLIT = "[split]\ntest = 0.5\n"
