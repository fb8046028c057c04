"""Records to the released forms and back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medreason.core.medpos import locate
from napari_medreason.core.record import Record
from napari_medreason.errors import DataSetError
from napari_medreason.io.records import check_file, read_records
from napari_medreason_training.data import released_mlmr_sd
from napari_medreason_training.data.build import build
from napari_medreason_training.data.config import read_build_config
from napari_medreason_training.data.released import from_released, to_released
from napari_medreason_training.data.released_medpos import image_path

from .data_cases import config_file, pair_folder

SPLITS = "[split]\ntest = 0.25\nvalidation = 0.25\n"


def built(folder: Path, system: str) -> Path:
    pair_folder(folder / "toy", patients=4)
    config = config_file(folder, SPLITS)
    return build(system, read_build_config(config), folder, lambda _progress: None).folder / "records.jsonl"


def shared(record: Record, *names: str) -> tuple:
    """What a form can hold of a record."""
    return (record.question, record.split, record.image.shape, record.mask_runs, record.box_plane,
            record.key_points_plane, *(getattr(record, name) for name in names))  # fmt: skip


def round_trip(system: str, records: Path, folder: Path, root: Path) -> tuple[list[Record], list[Record]]:
    count, _ = to_released(system, records, folder / "released", root=root)
    again, _ = from_released(system, folder / "released", folder / "again.jsonl", root=folder / "released")
    assert count == again or system == "mlmr-sd"  # its training list has one question of a length per mask
    assert check_file(folder / "again.jsonl").sound
    return list(read_records(records)), list(read_records(folder / "again.jsonl"))


def test_medpos_there_and_back(tmp_path):
    before, after = round_trip("medpos", built(tmp_path, "medpos"), tmp_path, tmp_path / "toy")
    assert sorted(shared(r, "answer", "source") for r in before) == sorted(
        shared(r, "answer", "source") for r in after
    )
    with (tmp_path / "released" / "annotation" / "toy.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        mask = np.asarray(Image.open(tmp_path / "released" / row["image_path"])) > 0
        assert row["position"] == locate(mask, rule="released").label
        assert (tmp_path / "released" / image_path(row["image_path"])).is_file()


def test_mlmr_sd_there_and_back(tmp_path):
    before, after = round_trip("mlmr-sd", built(tmp_path, "mlmr-sd"), tmp_path, tmp_path / "toy")
    evaluation = [r for r in before if r.split != "train"]
    assert evaluation
    assert sorted(shared(r, "structure", "length") for r in evaluation) == sorted(
        shared(r, "structure", "length") for r in after if r.split != "train"
    )
    assert {r.mask_runs for r in before} == {r.mask_runs for r in after}
    asked = {(r.structure, r.length, r.question) for r in before}
    assert all((r.structure, r.length, r.question) in asked for r in after)


def test_the_box_of_mlmr_sd_is_the_last_pixel_over_the_size(tmp_path):
    records = built(tmp_path, "mlmr-sd")
    to_released("mlmr-sd", records, tmp_path / "released", root=tmp_path / "toy")
    line = json.loads((tmp_path / "released" / "test.jsonl").read_text().splitlines()[0])
    mask = np.asarray(Image.open(tmp_path / "released" / "SAMed2Dv1" / line["mask"]))
    assert set(np.unique(mask)) == {0, 255}
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    expected = [columns.min() / width, rows.min() / height, columns.max() / width, rows.max() / height]
    assert line["bbox"] == pytest.approx(expected)
    train = json.loads((tmp_path / "released" / "train.json").read_text())
    assert all(name in ("liver", "spleen") for masks in train.values() for name in masks.values())


def test_questions_beyond_the_pools_are_counted_as_left_out(tmp_path, monkeypatch):
    records = built(tmp_path, "mlmr-sd")
    whole, beyond = to_released("mlmr-sd", records, tmp_path / "ten", root=tmp_path / "toy")
    monkeypatch.setattr(released_mlmr_sd, "POOLS", 1)
    count, left_out = to_released("mlmr-sd", records, tmp_path / "one", root=tmp_path / "toy")
    assert [path.name for path in (tmp_path / "one").glob("pool_*")] == ["pool_00.json"]
    held = 2 * len(json.loads((tmp_path / "one" / "pool_00.json").read_text()))
    lines = [(tmp_path / "one" / name).read_text().splitlines() for name in ("val.jsonl", "test.jsonl")]
    assert count == held + 2 * sum(map(len, lines)) < whole
    assert count + sum(left_out.values()) == whole + sum(beyond.values())


@pytest.mark.parametrize("text", ["[1]", '{"a": 1}', "{", "\xff"])
def test_a_training_list_of_another_form_is_told_in_one_line(tmp_path, text):
    (tmp_path / "train.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataSetError, match=r"train\.json") as caught:
        from_released("mlmr-sd", tmp_path, tmp_path / "r.jsonl", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_the_name_of_a_u_mrg_file_says_the_split(tmp_path):
    datasets = pytest.importorskip("datasets")
    to_released("u-mrg", built(tmp_path, "u-mrg"), tmp_path / "released", root=tmp_path / "toy")
    table = datasets.Dataset.from_parquet(
        str(tmp_path / "released" / "train.parquet"), cache_dir=str(tmp_path / "cache")
    )
    (tmp_path / "copied").mkdir()
    table.to_parquet(str(tmp_path / "copied" / "test-00000.parquet"))
    from_released("u-mrg", tmp_path / "copied", tmp_path / "r.jsonl", root=tmp_path / "copied")
    assert {record.split for record in read_records(tmp_path / "r.jsonl")} == {"test"}


def test_u_mrg_there_and_back(tmp_path):
    pytest.importorskip("datasets")
    names = ("structure", "answer", "reasoning", "short_description", "long_description", "super_category")
    before, after = round_trip("u-mrg", built(tmp_path, "u-mrg"), tmp_path, tmp_path / "toy")
    assert sorted(shared(r, *names) for r in before) == sorted(shared(r, *names) for r in after)


def test_u_mrg_is_in_pixels_of_the_square_picture(tmp_path):
    datasets = pytest.importorskip("datasets")
    records = built(tmp_path, "u-mrg")
    to_released("u-mrg", records, tmp_path / "released", root=tmp_path / "toy")
    table = datasets.Dataset.from_parquet(
        str(tmp_path / "released" / "train.parquet"), cache_dir=str(tmp_path / "cache")
    )
    row = table[0]
    assert row["data_source"] == "umrg"
    assert row["images"][0].size == (840, 840)
    mask = np.asarray(row["masks"][0]) > 0
    truth = json.loads(row["reward_model"]["ground_truth"])
    rows, columns = np.nonzero(mask)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.array(truth["bbox_2d"]) - edges).max() <= 1
    assert all(mask[y, x] for x, y in truth["point_2d"])


@pytest.mark.parametrize("system", ["medpos", "mlmr-sd"])
def test_a_released_set_keeps_every_question_of_every_mask(tmp_path, system):
    to_released(system, built(tmp_path, system), tmp_path / "one", root=tmp_path / "toy")
    from_released(system, tmp_path / "one", tmp_path / "records.jsonl", root=tmp_path / "one")
    again = [r for r in read_records(tmp_path / "records.jsonl") if r.split != "train"]
    assert again
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "one").glob("*.jsonl"))]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    asked = {(line["mask"], line[length]) for line in lines for length in ("short", "long")}
    if lines:
        assert {(r.image.mask_path.removeprefix("SAMed2Dv1/"), r.question) for r in again} == asked
    assert {r.review.state for r in again} == {"waiting for review"}


def test_what_a_form_can_t_hold_is_counted(tmp_path):
    records = built(tmp_path, "medpos")
    for path in (tmp_path / "toy" / "images").glob("p1*"):
        path.unlink()
    _, left_out = to_released("medpos", records, tmp_path / "released", root=tmp_path / "toy")
    without = [record for record in read_records(records) if record.image.path.endswith("p1.nii.gz")]
    assert left_out == {"record: image not found": len(without)}
    expected = r"no record of records.jsonl can be written as u-mrg|Parquet needs the datasets library"
    with pytest.raises(DataSetError, match=expected):
        to_released("u-mrg", records, tmp_path / "other", root=tmp_path / "toy")


def test_rows_that_fell_apart_at_unquoted_commas_are_counted(tmp_path):
    folder = tmp_path / "set"
    (folder / "train_masks").mkdir(parents=True)
    mask = np.zeros((8, 8), np.uint8)
    mask[1:3, 1:4] = 255
    Image.fromarray(mask).save(folder / "train_masks" / "a_Segmentation.png")
    (tmp_path / "set.csv").write_text(
        "image_path,split,position,question,answer\n"
        "set\\train_masks\\a_Segmentation.png,train,top left,Where is it?,In the top left.\n"
        "set/train_masks/a_Segmentation.png,train,top left,Where, please, is it?,In the top left.\n"
        "set/train_masks/b.png,train,top left,Where is it?,There.\n"
    )
    count, left_out = from_released("medpos", tmp_path / "set.csv", tmp_path / "r.jsonl", root=tmp_path)
    assert count == 1
    assert left_out == {"row: unquoted commas or an unknown split": 1, "row: mask not found": 1}
    (record,) = read_records(tmp_path / "r.jsonl")
    assert record.position.label == "top left"
    assert record.image.path == "set/train_images/a.png"


@pytest.mark.parametrize("system", ["medpos", "mlmr-sd", "u-mrg"])
def test_a_folder_without_the_form_is_told_in_one_line(tmp_path, system):
    with pytest.raises(DataSetError) as caught:
        from_released(system, tmp_path, tmp_path / "r.jsonl", root=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r.jsonl").exists()
