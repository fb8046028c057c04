"""The command line as a script sees it: agreed JSON, files in the study's geometry, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from napari_medreason import cli
from napari_medreason.models import available
from napari_medreason.napari_hooks import DEMO_SLICE
from napari_medreason_sample_data import brain_file, ct_folder, real_slice_file

ANSWER_KEYS = {
    "status", "answer", "reasoning", "present", "confidence", "box", "points", "mask", "overlay",
    "position", "plane", "model", "weights_sha256", "seconds",
}  # fmt: skip


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


def test_ask_writes_mask_overlay_and_json_of_the_agreed_form(medreason, tmp_path):
    out = tmp_path / "answer"
    code, printed, _ = medreason(
        "ask", ct_folder(), "Where is the liver?", "--slice", DEMO_SLICE, "--out", out, "--json"
    )
    report = json.loads(printed)
    assert code == 0
    assert report.keys() >= ANSWER_KEYS
    assert (report["status"], report["present"], report["model"]) == ("found", True, "embedded")
    assert report["plane"] | {"spacing": None} == {
        "axis": "axial", "index": DEMO_SLICE, "shape": [256, 256], "orientation": ["L", "P"], "spacing": None,
    }  # fmt: skip
    assert set(report["seconds"]) == {"load", "reason", "segment"}
    assert json.loads((out / "answer.json").read_text(encoding="utf-8")) == report
    with Image.open(report["overlay"]) as overlay:
        assert max(overlay.size) >= 700


def test_the_mask_file_is_the_answered_slice_and_nothing_else(medreason, tmp_path):
    code, printed, _ = medreason(
        "ask", brain_file(), "brainstem", "--plane", "sagittal", "--out", tmp_path / "out", "--json"
    )
    report, source = json.loads(printed), nibabel.load(brain_file())
    assert (code, report["status"]) == (0, "found")
    mask = nibabel.load(report["mask"])
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-5)
    assert mask.shape == source.shape
    voxels = np.asarray(mask.dataobj)
    left_axis = int(np.argmax(np.abs(source.affine[0, :3])))
    others = tuple(axis for axis in range(3) if axis != left_axis)
    assert list(np.flatnonzero(voxels.any(axis=others))) == [report["plane"]["index"]]
    x0, y0, x1, y1 = report["box"]
    assert voxels.sum() == report["position"]["area_px"] <= (x1 - x0) * (y1 - y0)
    assert all(x0 <= x < x1 and y0 <= y < y1 for x, y in report["points"])


def test_no_mask_of_an_earlier_answer_stands_beside_one_that_found_nothing(medreason, tmp_path):
    liver = ("ask", ct_folder(), "Where is the liver?", "--out", tmp_path)
    assert medreason(*liver, "--slice", DEMO_SLICE)[0] == 0
    assert (tmp_path / "mask.nii.gz").is_file()
    _, printed, _ = medreason(*liver, "--slice", 0, "--json")
    assert not json.loads(printed)["present"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.json", "overlay.png"]


def test_a_file_in_place_of_the_answer_folder_is_one_line_and_kept(medreason, tmp_path):
    out = tmp_path / "notes"
    out.write_text("mine", encoding="utf-8")
    code, printed, error = medreason("ask", real_slice_file(), "liver", "--out", out)
    assert (code, printed) == (2, "")
    assert [line for line in error.splitlines() if not line.startswith("warning")] == [
        "medreason: notes can't be used as the folder for the answer: a file has this name; "
        "name another folder"
    ]
    assert out.read_text(encoding="utf-8") == "mine"


def test_asking_twice_gives_the_same_answer(medreason):
    reports = [
        json.loads(medreason("ask", ct_folder(), "spleen", "--slice", DEMO_SLICE, "--json")[1])
        for _ in range(2)
    ]
    assert [report | {"seconds": 0} for report in reports] == [reports[0] | {"seconds": 0}] * 2


def test_what_is_not_known_is_said_with_what_is(medreason):
    code, printed, _ = medreason("ask", ct_folder(), "Where is the flux capacitor?", "--json")
    report = json.loads(printed)
    assert (code, report["status"], report["present"], report["mask"]) == (0, "unknown", False, None)
    assert report["box"] is None
    assert report["points"] is None


def test_without_json_the_answer_is_for_people(medreason):
    code, printed, _ = medreason("ask", ct_folder(), "Where is the liver?", "--slice", DEMO_SLICE)
    assert code == 0
    assert "liver" in printed
    assert "Research use only" in printed


def test_demo_headless_is_the_main_job_without_a_window(medreason, tmp_path):
    code, _, _ = medreason("demo", "--headless", tmp_path)
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mask.nii.gz", "overlay.png", "answer.json"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_demo_without_a_display_says_what_to_do(medreason, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    code, _, error = medreason("demo")
    assert code == 2
    assert "--headless" in error


def test_info_gives_the_geometry_card(medreason):
    code, printed, _ = medreason("info", ct_folder(), "--json")
    card = json.loads(printed)
    assert code == 0
    assert (card["modality"], card["orientation"], card["frames"]) == ("CT", "LPS", 1)
    assert card["shape"][1:] == [256, 256]
    (series,) = card["series"]
    assert (series["uid"], series["shape"]) == (card["series_uid"], card["shape"])


def test_convert_keeps_voxels_and_geometry(medreason, tmp_path):
    code, _, _ = medreason("convert", brain_file(), tmp_path / "copy.nii.gz")
    source, copy = nibabel.load(brain_file()), nibabel.load(tmp_path / "copy.nii.gz")
    assert code == 0
    np.testing.assert_allclose(copy.affine, source.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(copy.dataobj), np.asarray(source.dataobj))


def test_models_list_names_every_model(medreason):
    code, printed, _ = medreason("models", "list")
    assert code == 0
    assert all(id_ in printed for id_ in available())


def test_4d_needs_a_frame_and_takes_one(medreason, tmp_path):
    path = tmp_path / "four.nii.gz"
    frames = np.random.default_rng(0).integers(0, 900, (40, 40, 8, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(frames, np.diag([-2.0, -2.0, 4.0, 1.0])), path)
    code, printed, error = medreason("ask", path, "brainstem", "--json")
    assert (code, printed) == (2, "")
    assert "--frame" in error
    out = tmp_path / "out"
    code, printed, _ = medreason("ask", path, "brain", "--frame", 2, "--slice", 4, "--out", out, "--json")
    assert code == 0
    assert json.loads(printed)["plane"]["index"] == 4


def bad_inputs(folder: Path) -> dict[str, list]:
    """Name -> arguments of an `ask` whose input is at fault."""

    def nifti(name: str, voxels: np.ndarray) -> Path:
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name)
        return folder / name

    (folder / "empty").mkdir()
    (folder / "text.nii.gz").write_text("this is no image")
    truncated = folder / "truncated.dcm"
    truncated.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes()[:6000])
    headless = folder / "headless.dcm"
    headless.write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 8)
    colours = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(colours).save(folder / "photo.jpg")
    rgb = np.zeros((5, 6, 7), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    sample = ct_folder()
    return {
        "missing file": [folder / "nothing.nii.gz", "liver"],
        "empty folder": [folder / "empty", "liver"],
        "truncated DICOM": [truncated, "liver"],
        "random bytes after a DICOM preamble": [headless, "liver"],
        "text renamed": [folder / "text.nii.gz", "liver"],
        "colour photograph": [folder / "photo.jpg", "liver"],
        "RGB volume": [nifti("rgb.nii.gz", rgb), "liver"],
        "volume of NaN": [nifti("nan.nii.gz", np.full((9, 9, 9), np.nan, np.float32)), "liver"],
        "empty question": [sample, "   "],
        "long question": [sample, "liver " * 1667],
        "unknown model": [sample, "liver", "--model", "oracle"],
        "slice outside": [sample, "liver", "--slice", "9999"],
        "unknown window": [sample, "liver", "--window", "pretty"],
        "unknown series": [sample, "liver", "--series", "1.2.3"],
    }


CASES = [
    "missing file", "empty folder", "truncated DICOM", "random bytes after a DICOM preamble",
    "text renamed", "colour photograph", "RGB volume", "volume of NaN", "empty question",
    "long question", "unknown model", "slice outside", "unknown window", "unknown series",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_bad_input_gets_one_line_exit_2_and_writes_nothing(medreason, tmp_path, case):
    arguments = bad_inputs(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    code, printed, error = medreason("ask", *arguments, "--out", tmp_path / "out", "--json")
    assert code == 2, error
    assert printed == ""
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("medreason: ")
    assert len(lines[0]) > 30
    assert sorted(tmp_path.rglob("*")) == before


def test_a_one_pixel_image_is_answered_not_crashed(medreason, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((1, 1, 1), np.int16), np.eye(4)), tmp_path / "one.nii.gz")
    code, printed, error = medreason("ask", tmp_path / "one.nii.gz", "liver", "--json")
    assert code in (0, 2), error
    if code == 0:
        assert json.loads(printed)["status"] != "found"


def test_no_patient_tag_is_printed(medreason, tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientName, dataset.PatientID = "Secret^Person", "ID-774411"
    dataset.save_as(tmp_path / "one.dcm")
    for command in (["info", tmp_path / "one.dcm"], ["info", tmp_path / "one.dcm", "--json"]):
        _, printed, error = medreason(*command)
        assert "Secret" not in printed + error
        assert "774411" not in printed + error


def test_the_installed_command_runs():
    program = Path(sys.executable).with_name("medreason")
    run = subprocess.run([program, "models", "list", "--json"], capture_output=True, text=True, check=True)
    assert {"embedded", "embedded-pair"} <= {model["id"] for model in json.loads(run.stdout)["models"]}
