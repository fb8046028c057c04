"""Measures of single answers: by hand, and against the released code's results."""

import numpy as np
import pytest

from napari_medreason.core.metrics import mask_overlap, threshold_curves
from napari_medreason_training.metrics_medisee import released_dice, released_iou
from napari_medreason_training.metrics_text import text_scores

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
