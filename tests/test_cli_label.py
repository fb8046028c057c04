"""`medreason label` as a script sees it."""

import csv
import io
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_medreason import cli
from napari_medreason.io.region_files import CSV_COLUMNS, MEDPOS_COLUMNS

KEYS = [
    "label", "axis", "slice", "box", "center", "near_center", "position", "area_px", "area_mm2",
    "key_points", "patient",
]  # fmt: skip
RAS = np.diag([0.8, 0.8, 2.0, 1.0])


@pytest.fixture
def medreason(monkeypatch, capsys):
    """Run `medreason …` in this process; gives exit code, standard output and standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medreason", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


def nifti(path: Path, voxels_ijk, affine_ras=RAS, *, known=True) -> Path:
    image = nibabel.Nifti1Image(voxels_ijk, affine_ras)
    image.set_sform(affine_ras, code=int(known))
    image.set_qform(affine_ras, code=int(known))
    nibabel.save(image, path)
    return path


def two_labels(dtype=np.uint8):
    """(i, j, k) in RAS: label 1 on the patient's right (high i), label 3 on the left, one pixel."""
    voxels = np.zeros((40, 30, 6), dtype)
    voxels[30:36, 4:10, 2:4] = 1
    voxels[3, 20, 4] = 3
    return voxels


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_json_object_per_label_and_slice(medreason, tmp_path):
    code, out, err = medreason("label", nifti(tmp_path / "mask.nii.gz", two_labels()))
    records = lines_of(out)
    assert code == 0
    assert [list(record) for record in records] == [KEYS] * 3
    assert [(record["label"], record["slice"]) for record in records] == [(1, 2), (1, 3), (3, 4)]
    # The plane grows to the left and to posterior: x = 39 - i, y = 29 - j.
    assert records[0]["box"] == [4, 20, 10, 26]
    assert records[0]["area_mm2"] == pytest.approx(36 * 0.64)
    assert records[0]["patient"]["reference"] == "field of view"
    assert [records[0]["patient"]["side"], records[2]["patient"]["side"]] == ["right", "left"]
    assert records[2]["key_points"][0] == records[2]["key_points"][1]
    assert "1 region is a single pixel" in err


def test_the_plane_is_shown_from_the_patients_feet(medreason, tmp_path):
    voxels = np.zeros((40, 30, 1), np.uint8)
    voxels[36:39, 26:29, 0] = 1
    _, out, _ = medreason("label", nifti(tmp_path / "mask.nii.gz", voxels))
    (record,) = lines_of(out)
    assert record["patient"]["side"] == "right"
    assert record["patient"]["anterior_posterior"] == "anterior"
    assert record["position"] == "top left"
    assert record["box"] == [1, 1, 4, 4]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint32])
def test_whole_numbers_of_any_dtype(medreason, tmp_path, dtype):
    voxels = two_labels(dtype)
    if dtype is np.uint32:
        voxels[voxels == 3] = 2**31
    code, out, _ = medreason("label", nifti(tmp_path / "mask.nii", voxels))
    assert code == 0
    assert {record["label"] for record in lines_of(out)} == {1, 2**31 if dtype is np.uint32 else 3}


@pytest.mark.parametrize(("value", "words"), [(-1, "negative"), (0.5, "0.5"), (np.nan, "NaN")])
def test_what_is_no_label_map_is_refused_in_one_line(medreason, tmp_path, value, words):
    voxels = two_labels(np.float32)
    voxels[10, 10, 1] = value
    code, out, err = medreason("label", nifti(tmp_path / "mask.nii", voxels), "--out", tmp_path / "o.jsonl")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()


def test_an_empty_map_gives_no_line_and_says_so(medreason, tmp_path):
    code, out, err = medreason("label", nifti(tmp_path / "mask.nii", np.zeros((9, 9, 3), np.uint8)))
    assert (code, out) == (0, "")
    assert "no label" in err


def test_unknown_orientation_gives_null_and_the_reason(medreason, tmp_path):
    code, out, err = medreason("label", nifti(tmp_path / "mask.nii", two_labels(), known=False))
    assert code == 0
    assert all(record["patient"] is None for record in lines_of(out))
    assert "orientation of this label map is unknown" in err


def test_a_picture_has_words_but_no_millimetres(medreason, tmp_path):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[2:6, 20:26] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    _, out, _ = medreason("label", tmp_path / "mask.png", "--rule", "released")
    (record,) = lines_of(out)
    assert (record["label"], record["position"], record["box"]) == (255, "top right", [20, 2, 26, 6])
    assert record["area_mm2"] is None
    assert record["patient"] is None


def body_image(tmp_path, shape=(40, 30, 6), affine=RAS):
    i, j, _ = np.indices(shape)
    inside = ((i - 14) / 11) ** 2 + ((j - 15) / 11) ** 2 <= 1
    return nifti(tmp_path / "image_ct.nii.gz", np.where(inside, 40, -1000).astype(np.int16), affine)


def test_an_image_gives_positions_relative_to_the_body(medreason, tmp_path):
    affine = np.diag([6.0, 6.0, 8.0, 1.0])
    voxels = np.zeros((40, 30, 6), np.uint8)
    voxels[17:20, 14:17, 2] = 1
    mask = nifti(tmp_path / "mask.nii.gz", voxels, affine)
    alone = lines_of(medreason("label", mask)[1])[0]["patient"]
    code, out, _ = medreason("label", mask, "--image", body_image(tmp_path, affine=affine))
    seen = lines_of(out)[0]["patient"]
    assert code == 0
    assert (alone["side"], alone["reference"]) == ("left", "field of view")
    assert (seen["side"], seen["reference"]) == ("right", "body")
    assert seen["midline_mm"] == pytest.approx(24, abs=6)
    assert seen["surface_mm"] == pytest.approx(48, abs=12)


def test_a_mask_of_another_size_than_the_image_is_refused(medreason, tmp_path):
    mask = nifti(tmp_path / "mask.nii", two_labels())
    code, out, err = medreason("label", mask, "--image", body_image(tmp_path, shape=(40, 30, 7)))
    assert (code, out) == (2, "")
    assert "6 x 30 x 40" in err
    assert "7 x 30 x 40" in err


def test_an_image_that_lies_elsewhere_is_not_used(medreason, tmp_path):
    moved = RAS.copy()
    moved[:3, 3] = 500
    mask = nifti(tmp_path / "mask.nii", two_labels())
    code, out, err = medreason("label", mask, "--image", body_image(tmp_path, affine=moved))
    assert code == 0
    assert "866.0 mm apart" in err
    assert lines_of(out)[0]["patient"]["reference"] == "field of view"


def test_csv_has_a_row_per_region_and_empty_cells_for_the_unknown(medreason, tmp_path):
    mask = nifti(tmp_path / "mask.nii", two_labels(), known=False)
    _, out, _ = medreason("label", mask, "--format", "csv", "--plane", "coronal")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == list(CSV_COLUMNS)
    assert {row["axis"] for row in rows} == {"coronal"}
    assert rows[0]["side"] == ""
    assert [row["degenerate"] for row in rows if row["label"] == "3"] == ["True"]


def test_medpos_csv_is_quoted_and_has_no_empty_cell(medreason, tmp_path):
    folder = tmp_path / "set" / "test_masks"
    folder.mkdir(parents=True)
    pixels = np.zeros((50, 50), np.uint8)
    pixels[2:6, 30:36] = 255
    name = 'case 1, "left".png'
    Image.fromarray(pixels).save(folder / name)
    out = tmp_path / "labels.csv"
    code, printed, err = medreason("label", folder / name, "--format", "medpos-csv", "--out", out)
    assert (code, printed) == (0, "")
    assert "1 region" in err
    rows = list(csv.reader(io.StringIO(out.read_text(encoding="utf-8")), strict=True))
    assert rows[0] == list(MEDPOS_COLUMNS)
    row = dict(zip(*rows, strict=True))
    assert row["image_path"] == f"test_masks/{name}"
    assert (row["image_name"], row["split"], row["position"]) == (name, "test", "top right")
    assert "top right" in row["answer"]
    assert all(row.values())
    assert str(tmp_path) not in out.read_text(encoding="utf-8")


def test_medpos_csv_of_a_volume_names_slice_and_label(medreason, tmp_path):
    mask = nifti(tmp_path / "mask.nii.gz", two_labels())
    _, out, _ = medreason("label", mask, "--format", "medpos-csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["image_name"] for row in rows] == [
        "mask_axial_0002_label_1_0",
        "mask_axial_0003_label_1_0",
        "mask_axial_0004_label_3_0",
    ]
    assert {row["split"] for row in rows} == {"train"}


def test_parts_can_be_listed_one_by_one(medreason, tmp_path):
    voxels = two_labels()
    voxels[10:12, 10:12, 2] = 1
    mask = nifti(tmp_path / "mask.nii", voxels)
    areas = [
        [record["area_px"] for record in lines_of(medreason("label", mask, "--components", which)[1])]
        for which in ("all", "largest", "each")
    ]
    assert areas == [[40, 36, 1], [36, 36, 1], [36, 4, 36, 1]]


def test_a_4d_map_asks_for_a_frame(medreason, tmp_path):
    mask = nifti(tmp_path / "mask.nii", np.stack([two_labels(), two_labels() * 0], axis=3))
    code, _, err = medreason("label", mask)
    assert code == 2
    assert "--frame" in err
    assert len(lines_of(medreason("label", mask, "--frame", 0)[1])) == 3


def test_a_full_disk_leaves_nothing_behind(medreason, tmp_path, monkeypatch):
    mask = nifti(tmp_path / "mask.nii", two_labels())
    out = tmp_path / "regions.jsonl"
    out.write_text("before")

    def no_space(table, path):
        yield "{}\n"
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(sys.modules["napari_medreason.io.region_files"].LINES, "jsonl", no_space)
    code, _, err = medreason("label", mask, "--out", out)
    assert code == 2
    assert "No space left" in err
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.nii", "regions.jsonl"]
