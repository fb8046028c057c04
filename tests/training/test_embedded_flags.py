"""Flags on answers are counted on right and on wrong ones, and on mirrored copies of a scan."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.core.plane import cut
from napari_medreason.core.volume import default_window
from napari_medreason.io import read
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason_sample_data import ct_folder, label_names, truth
from napari_medreason_training import evaluate_flags
from napari_medreason_training.evaluate_flags import Raised, count
from napari_medreason_training.held_out import HeldOut, held_out, load, members_of


def test_shares_are_of_the_answers_that_a_test_judged():
    figures = Raised(right=[False, False, True, False], wrong=[]).figures()
    assert figures["right"] == {"answers": 4, "flags": 1, "share": 0.25}
    assert figures["wrong"] == {"answers": 0, "flags": 0, "share": None}


@pytest.fixture(scope="module")
def sample():
    members = {name: members_of(label_names("ct"))[name] for name in ("liver", "lung")}
    scan = HeldOut("sample", "body_ct", "", "", members, ("axial",), 1, "phantom")
    return scan, read(ct_folder()), read(truth("ct"))


@pytest.mark.data
def test_the_flag_about_orientation_rises_on_mirrored_copies_only(tmp_path, monkeypatch):
    folder = os.environ.get("MEDREASON_TEST_DATA")
    if not folder:
        pytest.skip("MEDREASON_TEST_DATA does not name the folder of real test images")
    scan = next(scan for scan in held_out(Path(folder), ()) if scan.name == "abdomen CT")
    scan = replace(scan, members={"liver": scan.members["liver"]})
    thin = [replace(v, voxels=v.voxels[9:12]) for v in load(Path(folder), scan)]
    monkeypatch.setattr(evaluate_flags, "held_out", lambda *_: [scan])
    monkeypatch.setattr(evaluate_flags, "load", lambda *_: tuple(thin))
    out = tmp_path / "flags.json"
    evaluate_flags.evaluate_flags(tmp_path, out, step=2)
    (measured,) = json.loads(out.read_text())["scans"]
    liver = {copy: measured[copy]["orientation"]["with a usual side"] for copy in ("as it is", "mirrored")}
    judged = {copy: liver[copy]["right"]["answers"] + liver[copy]["wrong"]["answers"] for copy in liver}
    raised = {copy: liver[copy]["right"]["flags"] + liver[copy]["wrong"]["flags"] for copy in liver}
    assert judged["as it is"] == judged["mirrored"] > 0
    assert raised == {"as it is": 0, "mirrored": judged["mirrored"]}


def test_a_side_that_is_asked_is_judged_by_that_side(sample):
    """With the labels of one lung only, the answer about the other one is wrong."""
    scan, image, labels = sample
    area = np.isin(labels.voxels, list(scan.members["lung"])).sum((1, 2))
    plane = cut(image, "axial", int(area.argmax()), default_window(image))
    left = next(value for value, named in label_names("ct").items() if named == ("lung", "left"))
    only = np.where(cut(labels, "axial", int(area.argmax()), default_window(image)).image == left, left, 0)
    counts = {}
    lungs = HeldOut("s", "body_ct", "", "", {"lung": frozenset({left})}, ("axial",), 1, "")
    count(Perceiver(), lungs, plane, only.astype(np.int64), counts)
    sided = counts["side"]["one of a pair"]
    assert (len(sided.right), len(sided.wrong)) == (1, 1)
