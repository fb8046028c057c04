"""The rewards of MedReasoner against hand-computed values and the released code's results."""

import json
from math import hypot, isfinite, log, pi

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason_training.rewards import score

from .known_answers import known_answers

TRUTH = '{"bbox_2d": [100, 100, 200, 300], "point_2d": [[150, 150], [150, 250]]}'


def answer(box, first=(150, 150), second=(150, 250), think="It is dark."):
    fields = json.dumps({"bbox": box, "points_1": list(first), "points_2": list(second)})
    return f"<think>{think}</think><answer>{fields}</answer>"


PERFECT = answer([100, 100, 200, 300])


def test_released_rewards_are_reproduced(real_data):
    cases = known_answers(real_data, "medreasoner_rewards.json")["cases"]
    assert len(cases) == 100
    for case in cases:
        for name, variant in (("soft", "soft"), ("hard", "hard"), ("base", "base_as_released")):
            got = score(case["prediction"], case["ground_truth"], variant)
            assert got == pytest.approx(case[name], abs=1e-4, nan_ok=True), (case["tag"], name)


def test_best_answer_gets_all_of_each_variant():
    best = {"soft": 4, "hard": 8, "base": 5, "base_as_released": 3}
    assert {variant: score(PERFECT, TRUTH, variant)["score"] for variant in best} == best
    assert score(PERFECT, TRUTH, "hard", sound=True)["score"] == pytest.approx(8)


def test_half_a_box_by_hand():
    """The box's right half: IoU 1/2, its area is not above half, the true points are on its edge."""
    got = score(answer([150, 100, 200, 300]), TRUTH, "soft")
    reward = 0.9 * log(3 * 0.5 + 1) / log(4) + 0.1
    assert got["bbox_area_valid"] == 0.5
    assert got["bbox_position_valid"] == 1.0
    assert got["bbox_iou"] == pytest.approx(0.7 * reward + 0.3 * reward * 0.75, abs=1e-4)


def test_circles_by_hand():
    """Same middle, a quarter of the area: the released term counts the union, the sound one both areas."""
    inner = answer([100, 100, 200, 300], (150, 175), (150, 225))
    released, sound = (score(inner, TRUTH, "soft", sound=flag)["points_dice"] for flag in (False, True))
    small, large = pi * 25**2, pi * 50**2
    assert released == pytest.approx(0.9 * log(3 * 2 * small / large + 1) / log(4) + 0.1, abs=1e-4)
    assert sound == pytest.approx(0.9 * log(3 * 2 * small / (small + large) + 1) / log(4) + 0.1, abs=1e-4)


@pytest.mark.parametrize(
    ("prediction", "think", "form"),
    [
        ("", 0, 0),
        ("<think> </think>", 0.2, 0),
        ("<think>a</think><answer>left lung</answer>", 1, 0.2),
        ('<answer>{"bbox": [1, 2, 3, 4]}</answer>', 0, 0.4),
        ('<answer>{"bbox": [1, 2, 3], "points_1": [1], "points_2": [1, 2]}</answer>', 0, 0.4),
        ('<answer>{"bbox": [1, 2, 3], "points_1": [1, 2], "points_2": [1, 2]}</answer>', 0, 0.6),
        ("<answer>{'bbox': [1, 2, 3, 4], 'points_1': [1, 2], 'points_2': [1, 2]}</answer>", 0, 1),
    ],
)
def test_steps_of_the_format(prediction, think, form):
    for sound in (False, True):
        got = score(prediction, TRUTH, "hard", sound=sound)
        assert (got["format_think"], got["format_seg"]) == (think, form)


@pytest.mark.parametrize(
    "box", ["[NaN, 1, 2, 3]", "[0, 0, Infinity, 9]", "[true, 0, 9, 9]", "[9, 9, 1, 1]", "[1, 1, 1, 9]"]
)
def test_sound_rewards_pay_nothing_for_a_box_that_is_none(box):
    text = PERFECT.replace("[100, 100, 200, 300]", box)
    got = score(text, TRUTH, "hard", sound=True)
    assert got["format_seg"] == 0.6
    assert [got[key] for key in ("bbox_iou", "bbox_align", "bbox_scale")] == [0, 0, 0]
    assert got["points_dice"] == 1


def test_sound_rewards_read_apostrophes_and_keep_the_box_where_the_truth_has_no_points():
    text = PERFECT.replace('"bbox"', '"note": "the patient\'s left", "bbox"')
    assert score(text, TRUTH)["format_seg"] == 0.2
    assert score(text, TRUTH, sound=True)["score"] == pytest.approx(4)
    without = '{"bbox_2d": [100, 100, 200, 300]}'
    assert score(PERFECT, without)["bbox_iou"] == 0
    got = score(PERFECT, without, sound=True)
    assert (got["bbox_iou"], got["points_dice"]) == (1, 0)


def test_base_counts_boxes_only_where_the_fault_is_corrected():
    shifted = answer([105, 105, 205, 305])
    assert score(shifted, TRUTH, "base")["bbox_l1"] == 1
    assert score(shifted, TRUTH, "base_as_released")["bbox_l1"] == 0
    assert score(answer([110, 110, 210, 310]), TRUTH, "base")["bbox_l1"] == 0
    assert score(PERFECT + " ", TRUTH, "base")["thinking"] == 0


def test_other_variants_are_refused():
    with pytest.raises(ValueError, match="softer"):
        score(PERFECT, TRUTH, "softer")


numbers = st.one_of(st.integers(-50, 900), st.floats(allow_nan=True), st.booleans(), st.none(), st.text())
values = st.one_of(st.lists(numbers, max_size=5), numbers)


@settings(max_examples=60, deadline=None)
@given(values, values, values)
def test_sound_rewards_are_finite_and_bounded_whatever_is_answered(box, first, second):
    fields = json.dumps({"bbox": box, "points_1": first, "points_2": second})
    text = f"<think>a</think><answer>{fields}</answer>"
    for variant, most in (("soft", 4), ("hard", 8)):
        got = score(text, TRUTH, variant, sound=True)
        assert all(isfinite(value) for value in got.values())
        assert 0 <= got["score"] <= most + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(-90, 90), st.integers(-90, 90))
def test_a_box_farther_away_is_never_better(dx, dy):
    def moved(factor):
        return score(
            answer([100 + dx * factor, 100 + dy * factor, 200 + dx * factor, 300 + dy * factor]), TRUTH
        )

    assert hypot(dx, dy) == 0 or moved(1)["bbox_iou"] >= moved(2)["bbox_iou"]
