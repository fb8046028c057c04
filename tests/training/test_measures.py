"""Measures of the evaluation against values computed another way."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medreason_training.measures import (
    box_iou,
    circle_overlap,
    expected_calibration_error,
    f1,
    interval_by_patient,
    reliability,
)

points = st.tuples(st.integers(0, 60), st.integers(0, 60))
boxes = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(boxes, boxes)
def test_box_iou_counts_pixels(first, second):
    def drawn(box):
        image = np.zeros((40, 40), bool)
        image[box[1] : box[3], box[0] : box[2]] = True
        return image

    a, b = drawn(first), drawn(second)
    assert box_iou(first, second) == pytest.approx((a & b).sum() / (a | b).sum())
    assert box_iou(first, second) == box_iou(second, first)


@given(points, points, points, points)
def test_circle_overlap_counts_area(a, b, c, d):
    overlap = circle_overlap((a, b), (c, d))
    assert 0 <= overlap.iou <= overlap.dice <= 1 + 1e-9
    y, x = np.mgrid[-40:110:0.5, -40:110:0.5]

    def drawn(first, second):
        radius = np.hypot(second[0] - first[0], second[1] - first[1]) / 2
        middle = ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)
        return np.hypot(x - middle[0], y - middle[1]) <= radius

    one, two = drawn(a, b), drawn(c, d)
    if min(one.sum(), two.sum()) > 200:
        assert overlap.iou == pytest.approx((one & two).sum() / (one | two).sum(), abs=0.06)


def test_equal_circles_overlap_fully_and_distant_ones_not_at_all():
    assert circle_overlap(((0, 0), (4, 0)), ((2, -2), (2, 2))) == pytest.approx((1.0, 1.0))
    assert circle_overlap(((0, 0), (4, 0)), ((9, 0), (12, 0))) == (0.0, 0.0)
    inner = circle_overlap(((0, 0), (4, 0)), ((1, 0), (3, 0)))
    assert inner.iou == pytest.approx(pi / (4 * pi))
    assert circle_overlap(((3, 3), (3, 3)), ((3, 3), (3, 3))) == (1.0, 1.0)


def test_calibration_error_of_known_cases():
    confidence = np.array([0.95] * 10 + [0.15] * 10)
    right = np.array([True] * 9 + [False] + [False] * 10)
    assert expected_calibration_error(confidence, right) == pytest.approx((0.05 + 0.15) / 2)
    assert [row.cases for row in reliability(confidence, right)] == [10, 10]
    assert reliability(np.array([1.0]), np.array([True]))[0] == (1, 1.0, 1.0)


def test_f1():
    there, told = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert f1(there, told) == pytest.approx(0.5)
    assert f1(np.zeros(3, bool), np.zeros(3, bool)) is None


def test_an_interval_needs_two_patients():
    assert interval_by_patient({"one": [0.5, 0.7]}) is None
    low, high = interval_by_patient({"one": [0.5], "two": [0.9], "three": [0.7]})
    assert 0.5 <= low < 0.7 < high <= 0.9
