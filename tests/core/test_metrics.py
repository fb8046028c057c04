"""Overlap of masks and the curves over thresholds against values counted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medreason.core.metrics import (
    mask_overlap,
    stretched,
    threshold_curves,
)


def test_overlap_by_hand():
    found, true = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    found[0, :3], true[0, 1:] = True, True
    overlap = mask_overlap(found, true)
    assert (overlap.common, overlap.union, overlap.dice, overlap.iou) == (2, 4, 2 / 3, 0.5)
    nothing = mask_overlap(~np.ones((2, 2), bool), ~np.ones((2, 2), bool))
    assert (nothing.dice, nothing.iou) == (1, 1)
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        mask_overlap(np.ones((2, 2), bool), true)


levels = arrays(np.uint8, (3, 5))


@settings(max_examples=30, deadline=None)
@given(levels, arrays(bool, (3, 5)))
def test_curves_are_the_overlap_at_each_threshold(stored, true):
    probability = stored / 255
    curves = threshold_curves(probability, true)
    for place in (0, 1, 100, 127, 128, 254, 255):
        overlap = mask_overlap(probability >= curves.thresholds[place], true)
        assert curves.dice[place] == pytest.approx(overlap.dice)
        assert curves.iou[place] == pytest.approx(overlap.iou)


def test_what_is_empty_scores_nothing_only_as_released():
    probability, true = np.full((2, 2), 0.3), np.zeros((2, 2), bool)
    sound, released = (threshold_curves(probability, true, empty_as_released=flag) for flag in (False, True))
    assert sound.dice_at(0.5) == (pytest.approx(0.5, abs=0.01), 1)
    assert (sound.best_dice, released.best_dice, released.mean_iou) == (1, 0, 0)


@given(st.floats(-5, 5, width=32), st.floats(0.5, 3, width=32))
def test_stretched_images_span_0_to_1(low, span):
    image = np.array([[low, low + span / 2], [low, low + span]])
    assert stretched(image).min() == 0
    assert stretched(image).max() == 1
    assert not stretched(np.full((2, 2), low)).any()
