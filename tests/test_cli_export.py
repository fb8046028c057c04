"""medreason export: every way, what it prints, and what it refuses."""

from __future__ import annotations

import json
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_medreason import cli, io
from napari_medreason.core.cautions import kind_of
from napari_medreason.io import proof
from napari_medreason.io.mask_on_study import load_mask
from napari_medreason_sample_data import brain_file, ct_folder, truth


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


@pytest.fixture
def liver(tmp_path):
    """The liver of the sample CT as label 4, stored in another order than the series."""
    volume = io.read(truth("ct"))
    (value,) = (
        int(key)
        for key, entry in json.loads((truth("ct").parent / "labels.json").read_text("utf-8"))["ct"].items()
        if entry["structure"] == "liver"
    )
    labels = (volume.voxels == value).astype(np.uint8) * 4
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, labels.shape[2] - 1
    path = tmp_path / "liver.nii.gz"
    nib.save(nib.Nifti1Image(np.ascontiguousarray(labels[:, :, ::-1]).T, affine @ flip), path)
    return path, labels


def test_one_mask_goes_through_every_form_and_comes_back(medreason, liver, tmp_path):
    mask, labels = liver
    steps = [("dicom-seg", "a.seg.dcm"), ("rtstruct", "b.rtstruct.dcm"), ("nrrd", "c.seg.nrrd")]
    source, names = mask, ("--names", "4 liver")
    for form, name in steps:
        code, printed, errors = medreason(
            "export", source, tmp_path / name, "--to", form, "--image", ct_folder(), *names
        )
        assert (code, errors) == (0, "")
        assert printed.startswith(f"Wrote {name}: 1 ")
        assert printed.rstrip().endswith("read back: identical.")
        source, names = tmp_path / name, ()
    code, printed, _ = medreason(
        "export", source, tmp_path / "d.nii.gz", "--to", "nifti", "--image", ct_folder(), "--json"
    )
    assert code == 0
    assert json.loads(printed)["identical"] is True
    study = io.read(ct_folder())
    found = io.read(tmp_path / "d.nii.gz")
    np.testing.assert_array_equal(found.voxels > 0, labels > 0)
    np.testing.assert_allclose(found.affine, study.affine, atol=1e-3)
    assert io.read(tmp_path / "c.seg.nrrd").label_names == {1: "liver"}


def test_a_report_and_a_picture_of_the_mask(medreason, liver, tmp_path):
    mask, labels = liver
    for form, name in (("report", "a.json"), ("overlay", "a.png")):
        code, printed, _ = medreason(
            "export", mask, tmp_path / name, "--to", form, "--image", ct_folder(), "--names", "4 liver"
        )
        assert code == 0
        assert printed.rstrip().endswith("read back: identical.")
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    (entry,) = report["labels"]
    study = io.read(ct_folder())
    assert (entry["label"], entry["name"], entry["snomed"]) == (4, "liver", "10200004")
    assert entry["voxels"] == int((labels > 0).sum())
    assert entry["volume_ml"] == pytest.approx(entry["voxels"] * np.prod(study.spacing_kji) / 1000)
    assert entry["center_lps"][0] < 0  # the liver is on the patient's right
    assert report["image"]["orientation"] == "LPS"
    fullest = int((labels > 0).sum(axis=(1, 2)).argmax())
    assert f"axial slice {fullest}" in printed
    with Image.open(tmp_path / "a.png") as picture:
        red, _, blue = np.asarray(picture.convert("RGB")).astype(int).reshape(-1, 3).T
    assert (red - blue > 100).sum() > 500  # the outline of the mask


def test_what_is_refused_leaves_no_file(medreason, liver, tmp_path):
    mask, _ = liver
    for arguments, words in (
        ((mask, "a.dcm", "--to", "dicom-seg", "--image", brain_file()), "another grid"),
        ((mask, "a.nii.gz", "--to", "dicom-seg", "--image", ct_folder()), "no name for"),
        ((truth("mr"), "a.dcm", "--to", "rtstruct", "--image", brain_file()), "no DICOM series"),
        ((tmp_path / "gone.nii", "a.nii", "--to", "nifti", "--image", ct_folder()), "no file"),
    ):
        first, out, *more = arguments
        code, printed, errors = medreason("export", first, tmp_path / out, *more)
        assert (code, printed) == (2, "")
        assert words in errors
        assert errors.count("\n") == 1
        assert not (tmp_path / out).exists()


def test_regions_of_dicom_objects_are_listed_on_their_study(medreason, liver, tmp_path):
    mask, _ = liver
    listed = []
    for form, name in (("nifti", "a.nii.gz"), ("dicom-seg", "a.dcm"), ("rtstruct", "b.dcm")):
        medreason("export", mask, tmp_path / name, "--to", form, "--image", ct_folder())
        code, printed, _ = medreason("label", tmp_path / name, "--image", ct_folder())
        assert code == 0
        rows = [json.loads(line) for line in printed.splitlines()]
        listed.append([{**row, "label": 0} for row in rows])
    assert len(listed[0]) > 20
    assert listed[1] == listed[0]
    assert listed[2] == listed[0]
    code, _, errors = medreason("label", tmp_path / "b.dcm")
    assert code == 2
    assert "give its image" in errors


def test_a_mask_that_does_not_say_how_it_lies_is_told(medreason, liver, tmp_path):
    _, labels = liver
    nameless = nib.Nifti1Image(labels.T, None)
    nameless.header.set_zooms(io.read(ct_folder()).spacing_kji[::-1])
    nib.save(nameless, tmp_path / "m.nii.gz")
    code, printed, _ = medreason(
        "export", tmp_path / "m.nii.gz", tmp_path / "a.nrrd", "--to", "nrrd", "--image", ct_folder()
    )
    assert code == 0
    assert "does not say how it lies in the patient" in printed
    on_study = load_mask(tmp_path / "m.nii.gz", io.read(ct_folder()))
    assert kind_of(on_study.warnings[-1]) == "orientation"
    np.testing.assert_array_equal(on_study.voxels, labels)


def test_an_empty_mask_is_refused(medreason, tmp_path):
    study = io.read(ct_folder())
    io.write(tmp_path / "e.nii.gz", np.zeros(study.shape_kji, np.uint8), like=study)
    code, _, errors = medreason(
        "export", tmp_path / "e.nii.gz", tmp_path / "a.dcm", "--to", "dicom-seg", "--image", ct_folder()
    )
    assert code == 2
    assert "no label is drawn" in errors


def test_a_failed_proof_is_code_1_and_keeps_the_file(medreason, liver, tmp_path, monkeypatch):
    mask, _ = liver
    monkeypatch.setattr(proof, "_voxel_differences", lambda found, meant: ("3 voxels have other values",))
    out = tmp_path / "a.nii.gz"
    code, printed, errors = medreason("export", mask, out, "--to", "nifti", "--image", ct_folder())
    assert (code, printed) == (1, "")
    assert "3 voxels have other values" in errors
    assert out.exists()
