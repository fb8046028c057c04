"""Volumes know their frames and refuse what they can't be asked; windows are the shared ones."""

import numpy as np
import pytest

from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import (
    Volume,
    Window,
    default_window,
    finite_sample,
    parse_window,
    percentile_window,
)
from napari_medreason.errors import QuestionError


def test_a_4d_study_needs_a_frame_and_says_which_there_are():
    volume = Volume(np.zeros((3, 2, 4, 5)), np.eye(4))
    with pytest.raises(QuestionError, match="--frame 0 to 2"):
        volume.frame(None)
    with pytest.raises(QuestionError, match="frames 0 to 2"):
        volume.frame(3)
    assert volume.frame(1).voxels.shape == (2, 4, 5)


def test_ct_opens_in_the_soft_tissue_window_and_mr_by_percentiles():
    values = np.linspace(0, 1000, 4000).reshape(10, 20, 20)
    assert default_window(Volume(values, np.eye(4), modality="CT")) == Window(-160, 240)
    window = default_window(Volume(values, np.eye(4), modality="MR"))
    assert (window.low, window.high) == pytest.approx((5, 995), abs=1)


@pytest.mark.parametrize("columns", [400, 500, 512, 625])
def test_the_window_sees_every_column(columns):
    values = np.zeros((20, 25_000_000 // 20 // columns, columns), np.uint8)
    values[..., 1::2] = 100  # an even step would meet the zeros alone
    assert percentile_window(values) == Window(0, 100)
    sample = finite_sample(np.broadcast_to(np.arange(columns), values.shape), 500_000)
    shares = np.bincount(sample.astype(int), minlength=columns) / sample.size
    np.testing.assert_allclose(shares, 1 / columns, rtol=0.1)


def test_a_flat_image_still_has_a_window():
    window = default_window(Volume(np.full((2, 2, 2), 7.0), np.eye(4)))
    assert window == Window(7, 8)


def test_a_volume_of_nan_is_refused():
    with pytest.raises(QuestionError, match="no finite value"):
        default_window(Volume(np.full((2, 2, 2), np.nan), np.eye(4)))


@pytest.mark.parametrize(("text", "low", "high"), [("lung", -1350, 150), ("-100,200", -100, 200)])
def test_windows_by_name_and_by_numbers(text, low, high):
    assert parse_window(text) == Window(low, high)


@pytest.mark.parametrize("text", ["", "bones", "1", "a,b", "5,5", "9,1", "nan,3"])
def test_other_windows_are_refused(text):
    with pytest.raises(QuestionError):
        parse_window(text)


@pytest.mark.parametrize(("text", "says"), [("  ", "empty"), ("x" * 10_000, "10000 characters")])
def test_questions_have_a_sensible_length(text, says):
    plane = cut(Volume(np.zeros((1, 4, 4)), np.eye(4)), "axial", 0, Window(0, 1))
    with pytest.raises(QuestionError, match=says):
        Question(text, plane)
