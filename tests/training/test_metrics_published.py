"""Measures of the published tables: by hand, and against the released code's results."""

import numpy as np
import pytest

from napari_medreason.core.metrics import MaskOverlap, mask_overlap, mean_curves, threshold_curves
from napari_medreason.core.released_answers import ReleasedScore, released_score
from napari_medreason_training.metrics_medisee import (
    box_scores,
    mask_scores,
    released_dice,
    released_iou,
)
from napari_medreason_training.metrics_medreasoner import Scored, by_group, summary
from napari_medreason_training.metrics_text import mean_text_scores, text_scores

from .known_answers import known_answers


def test_released_protocol_over_thresholds_is_reproduced(real_data):
    cases = known_answers(real_data, "prsmed_model_and_eval.json")["seg_eval"]["cases"]
    for case in cases:
        shape = case["h"], case["w"]
        true = np.array(case["gt"]).reshape(shape) / 255 > 0.5
        probability = np.array(case["pred"], np.float64).reshape(shape) / 255
        curves = threshold_curves(probability, true, empty_as_released=True)
        assert curves.mean_dice == pytest.approx(case["dice_mean_over_thresholds"], abs=1e-9)
        assert curves.mean_iou == pytest.approx(case["iou_mean_over_thresholds"], abs=1e-9)
        assert curves.best_dice == pytest.approx(case["dice_max_over_thresholds"], abs=1e-9)
        assert curves.dice_at(0.5) == pytest.approx(case["dice_at_threshold_closest_to_half"], abs=1e-9)
        assert np.abs(true - probability).mean() == pytest.approx(case["mae"], abs=1e-9)
    assert mean_curves([curves]).mean_dice == curves.mean_dice


def test_released_validation_of_medisee_is_reproduced(real_data):
    for case in known_answers(real_data, "medisee_losses.json")["seg_metrics"]:
        found, true = (np.array(case[name]) > 0 for name in ("pred", "gt"))
        for index, overlap in enumerate((mask_overlap(~found, ~true), mask_overlap(found, true))):
            assert (overlap.common, overlap.union) == (case["intersection"][index], case["union"][index])
            assert released_iou(overlap) == pytest.approx(case["iou_per_class_eval"][index], abs=1e-5)
            assert released_dice(overlap) == pytest.approx(case["dice_per_class_eval"][index], abs=1e-5)


def test_released_rouge_is_reproduced(real_data):
    for case in known_answers(real_data, "prsmed_model_and_eval.json")["rouge"]["cases"]:
        scores = text_scores(case["prediction"], case["reference"])
        assert scores.rouge_1 == pytest.approx(case["rouge1_f"], abs=1e-4)
        assert scores.rouge_l == pytest.approx(case["rougeL_f"], abs=1e-4)


def test_rouge_by_hand():
    """Two of three words are shared, in another order; "lungs" and "lung" have one stem."""
    scores = text_scores("left lungs, upper!", "upper left lung")
    assert (scores.rouge_1, scores.rouge_l) == (1, pytest.approx(2 / 3))
    assert mean_text_scores([("a", "a"), ("a", "b")]).rouge_1 == 0.5


def test_medisee_scores_by_hand():
    """A small mask half found and a large one wholly found: the pooled IoU leans to the large one."""
    overlaps = [MaskOverlap(1, 1, 2), MaskOverlap(100, 100, 100)]
    scores = mask_scores(overlaps)
    assert (scores.giou, scores.ciou, scores.dice) == (0.75, 101 / 102, pytest.approx((2 / 3 + 1) / 2))
    released = mask_scores(overlaps, as_released=True)
    assert (released.giou, released.dice) == pytest.approx((0.75, 5 / 6), abs=1e-5)
    assert mask_scores([MaskOverlap(0, 0, 0)]).giou == 1


def test_boxes_of_medisee_by_hand():
    scores = box_scores(
        [((0, 0, 2, 2), (0, 0, 2, 2)), ((0, 0, 2, 2), (0, 0, 2, 1)), ((0, 0, 1, 1), (2, 2, 3, 3))]
    )
    assert (scores.iou, scores.accuracy) == (0.5, pytest.approx(1 / 3))


def test_refusals_stay_in_the_means_of_medreasoner():
    truth = '{"bbox_2d": [0, 0, 10, 10], "point_2d": [[2, 2], [8, 8]]}'
    text = '<answer>{"bbox": [0, 0, 10, 10], "points_1": [2, 2], "points_2": [8, 8]}</answer>'
    points = ((2, 2), (8, 8))
    good = Scored(released_score(text, truth), points, dice=0.8, group="lung")
    refused = Scored(released_score("I can't tell.", truth), points, group="eye")
    got = summary([good, refused])
    assert (got.samples, got.refusals, got.iou, got.dice) == (2, 1, 0.5, 0.4)
    assert got.pdice_released == pytest.approx(1.0)
    assert got.pdice == pytest.approx(0.5)
    assert list(by_group([good, refused])) == ["eye", "lung"]
    nan = Scored(ReleasedScore(False, "", None, ((float("nan"), 2), (8, 8)), 1.0, float("nan")), points)
    assert (summary([nan]).pdice_released, summary([nan]).pdice) == (0, 0)
