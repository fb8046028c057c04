"""The released evaluation of MedReasoner: known answers of the public code, and some by hand."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.released_answers import box_iou, circle_pdice, released_score

TRUTH = json.dumps({"bbox_2d": [10, 20, 30, 40], "point_2d": [[12, 30], [28, 30]]})
PERFECT = (
    "<think> Round. </think><answer>{'bbox': [10, 20, 30, 40], 'points_1': [12, 30], 'points_2': [28, 30]}"
)


def known_cases():
    root = os.environ.get("MEDREASON_TEST_DATA")
    file = Path(root or ".").parent / "reference" / "cases" / "medreasoner_rewards.json"
    if not root or not file.is_file():
        pytest.skip("MEDREASON_TEST_DATA names no folder with reference/cases beside it")
    return json.loads(file.read_text())["cases"]


def plain(value):
    return math.nan if isinstance(value, dict) and value.get("nonfinite") == "nan" else value


@pytest.mark.data
def test_all_known_answers_of_the_released_evaluation_are_reproduced():
    cases = known_cases()
    assert len(cases) >= 100
    for case in cases:
        for think in (True, False):
            expected = case[f"eval_think_{think}"]
            ours = released_score(case["prediction"], case["ground_truth"], think=think)
            assert ours.failed == expected["failed"], case["tag"]
            assert ours.iou == pytest.approx(plain(expected["iou"]), abs=1e-4, nan_ok=True), case["tag"]
            assert ours.pdice == pytest.approx(plain(expected["pdice"]), abs=1e-4, nan_ok=True), case["tag"]
            assert ours.think == expected.get("think"), case["tag"]
            if not ours.failed:
                assert repr(ours.box) == repr(_values(expected["bbox"])), case["tag"]
                assert repr(ours.points) == repr(_values(expected["points"])), case["tag"]


def _values(value):
    return [_values(one) for one in value] if isinstance(value, list) else plain(value)


def test_a_perfect_answer_scores_one_and_two():
    score = released_score(PERFECT + "</answer>", TRUTH)
    assert (score.failed, score.think, score.iou, score.pdice) == (False, "Round.", 1.0, 2.0)
    assert released_score(PERFECT + "</answer>", TRUTH, think=False).think == ""


@pytest.mark.parametrize(
    "text", ["", PERFECT, "<answer>{}</answer>", "I can't help.", PERFECT.replace("[12, 30]", "[1]")]
)
def test_what_can_not_be_scored_is_a_refusal_with_zeros(text):
    score = released_score(text, TRUTH)
    assert (score.failed, score.iou, score.pdice) == (True, 0.0, 0.0)


def test_iou_and_pdice_by_hand():
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_iou((10, 0, 0, 10), (0, 0, 10, 10)) == 0
    # Two circles of radius 1 at distance 1: the lens is 2 pi / 3 - sqrt(3) / 2.
    lens = 2 * math.pi / 3 - math.sqrt(3) / 2
    pdice = circle_pdice([[-1, 0], [1, 0]], [[0, 0], [2, 0]])
    assert pdice == pytest.approx(2 * lens / (2 * math.pi - lens), rel=1e-5)
    assert circle_pdice([[0, 0], [2, 0]], [[9, 9], [9, 8]]) == 0


@settings(deadline=None, max_examples=50)
@given(st.text(), st.sampled_from(["NaN", "1e999", "true", "null", "[]", '"a"', "9" * 400, "{"]))
def test_no_prediction_raises(text, value):
    released_score(text, TRUTH)
    released_score(PERFECT.replace("20", value) + "</answer>", TRUTH)
    released_score(PERFECT.replace("28", value) + "</answer>", TRUTH)
