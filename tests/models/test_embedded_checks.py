"""The mirror test and the fit to anatomy, on answers of the shipped weights."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.core.plane import cut, slice_count
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Window, default_window
from napari_medreason.io import read
from napari_medreason.models.embedded import checks
from napari_medreason.models.embedded.model import EmbeddedModel
from napari_medreason_sample_data import brain_file, ct_folder, label_names, truth


@pytest.fixture(scope="module")
def model():
    return EmbeddedModel()


@pytest.fixture(scope="module")
def trunk():
    return read(ct_folder())


@pytest.fixture(scope="module")
def lung_slice(trunk):
    """Axial slice with most of the smaller lung."""
    labels = read(truth("ct"))
    values = [value for value, (name, _) in label_names("ct").items() if name == "lung"]
    area = np.min([(labels.voxels == value).sum((1, 2)) for value in values], axis=0)
    return cut(trunk, "axial", int(area.argmax()), default_window(trunk))


@pytest.fixture(scope="module")
def head_slice():
    head = read(brain_file())
    return cut(head, "axial", slice_count(head, "axial") // 2, default_window(head))


def ask(model, text, plane, **hints):
    return model.ask(Question(text, plane, **hints), on_text=lambda _: None, cancelled=lambda: False)


def by_name(answer):
    return {check.name: check for check in answer.checks}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_right_answer_about_one_of_a_pair_passes(model, lung_slice, side):
    found = by_name(ask(model, f"{side} lung", lung_slice))
    assert "mirror" not in found  # a mirrored trunk is no trunk
    assert found["side"].passed
    assert side in found["side"].words
    assert found["region"].passed


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_right_answer_about_a_half_of_the_brain_passes_the_mirror_test(model, head_slice, side):
    assert by_name(ask(model, f"{side} cerebral white matter", head_slice))["mirror"].passed


def test_a_model_that_ignores_the_side_fails_the_mirror_test(model, head_slice, monkeypatch):
    """Whatever is asked, it answers with the same half of the image."""
    half = np.zeros(head_slice.grid.shape, bool)
    half[:, : half.shape[1] // 2] = True
    found = replace(_answer(model, "right cerebral white matter", head_slice), mask=half)
    monkeypatch.setattr(checks, "look", lambda *_: found)
    check = next(c for c in checks.checks(model.perceiver, head_slice, found) if c.name == "mirror")
    assert not check.passed
    assert "mirrored" in check.words


def test_an_averaged_answer_is_not_compared_with_its_own_half(model, head_slice):
    """Heads are answered from both views; the mirror test takes each view alone."""
    averages = []
    perceive = model.perceiver.perceive

    def spied(image, expert=None, *, averaged=True):
        averages.append(averaged)
        return perceive(image, expert, averaged=averaged)

    found = _answer(model, "left cerebral white matter", head_slice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.perceiver, "perceive", spied)
        made = checks.checks(model.perceiver, head_slice, found)
    assert "mirror" in {check.name for check in made}
    assert averages.count(False) == 2


def test_what_is_not_found_on_the_mirrored_image_fails_the_mirror_test(model, lung_slice):
    found = _answer(model, "right lung", lung_slice)
    assert checks.mirror_check(found, replace(found, mask=found.mask[:, ::-1])).passed
    assert not checks.mirror_check(found, replace(found, status="absent", mask=None)).passed


def test_the_other_side_is_asked_on_the_mirrored_image(model, head_slice, monkeypatch):
    asked = []
    found = _answer(model, "right cerebral white matter", head_slice)

    def look(_seen, plane, structure, side):
        mirrored = np.array_equal(plane.image, head_slice.image[:, ::-1])
        asked.append((structure, side, mirrored))
        return replace(found, mask=found.mask[:, ::-1]) if mirrored else found

    monkeypatch.setattr(checks, "look", look)
    assert {check.name: check.passed for check in checks.checks(model.perceiver, head_slice, found)}["mirror"]
    assert asked == [("cerebral_white_matter", "right", False), ("cerebral_white_matter", "left", True)]


@pytest.mark.parametrize(
    ("here", "there", "passed"),
    [
        ({"liver": 9000.0, "kidney": 900.0}, {"liver": 8000.0, "kidney": 9000.0}, True),
        ({"liver": 4000.0}, {"liver": 9000.0, "spleen": 1000.0}, False),
        ({}, {"liver": 9000.0}, False),
        ({}, {"liver": 90.0}, True),
    ],
)
def test_what_is_seen_better_mirrored_raises_doubts_about_the_orientation(here, there, passed):
    check = checks.orientation_check(here, there)
    assert check.passed == passed
    assert ("the liver" in check.words) != passed


def test_no_test_of_orientation_without_anything_that_has_a_usual_side():
    assert checks.orientation_check({"kidney": 900.0}, {"kidney": 9000.0}) is None


@pytest.mark.data
def test_a_study_with_left_and_right_exchanged_is_noticed(model):
    """Pixels flipped under the same orientation: the liver lies on the wrong side, found there or not."""
    folder = os.environ.get("MEDREASON_TEST_DATA")
    if not folder:
        pytest.skip("MEDREASON_TEST_DATA does not name the folder of real test images")
    study = read(Path(folder) / "conformance/totalsegmentator/example_ct_dicom.zip")
    plane = cut(study, "axial", 10, default_window(study))
    flipped = replace(plane, image=np.ascontiguousarray(plane.image[:, ::-1]))
    assert all(check.passed for check in ask(model, "liver", plane).checks)
    failed = [check for check in ask(model, "liver", flipped).checks if not check.passed]
    assert any("check the orientation of the study" in check.words for check in failed)


def test_a_liver_on_the_patients_left_is_flagged(model, lung_slice):
    found = replace(_answer(model, "right lung", lung_slice), structure="liver", side="", told_side="")
    left = replace(found, mask=found.mask[:, ::-1])
    side = {check.name: check for check in checks.checks(model.perceiver, lung_slice, left, drawn=True)}[
        "side"
    ]
    assert not side.passed
    assert side.words.startswith("The liver usually lies on the patient's right")


def test_no_tests_of_sides_without_orientation_or_on_sagittal_planes(model, trunk, lung_slice):
    stored = replace(trunk, orientation_known=False)
    unknown = cut(stored, "axial", lung_slice.grid.index, Window(-160, 240))
    sagittal = cut(trunk, "sagittal", trunk.shape_kji[2] // 3, Window(-160, 240))
    for plane in (unknown, sagittal):
        answer = ask(model, "lung", plane)
        assert answer.status == "found"
        assert not {"mirror", "side", "orientation"} & set(by_name(answer))


def test_a_mask_that_the_user_drew_is_not_put_to_the_mirror_test(model, lung_slice):
    x0, y0, x1, y1 = ask(model, "right lung", lung_slice).box
    drawn = ask(model, "right lung", lung_slice, box=(x0, y0, x1, y1))
    assert set(by_name(drawn)) >= {"side", "region"}
    assert "mirror" not in by_name(drawn)


def test_what_is_not_found_is_not_tested(model, lung_slice):
    assert ask(model, "prostate", lung_slice).checks == ()


def _answer(model, text, plane):
    from napari_medreason.models.embedded.answering import answer

    return answer(Question(text, plane), model.perceiver)
