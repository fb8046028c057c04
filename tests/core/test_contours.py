"""Contours of masks: exact both ways, and right for readers that fill polygons in their own way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_medreason.core.contours import filled, outlines

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def by_centres(mask: np.ndarray) -> np.ndarray:
    """What scikit-image makes of the contours, one after the other."""
    found = np.zeros(mask.shape, np.bool_)
    for contour in outlines(mask):
        found ^= polygon2mask(mask.shape, contour[:, ::-1])
    return found


def by_whole_pixels(mask: np.ndarray) -> np.ndarray:
    """What Pillow makes of them with corners rounded to pixels and borders drawn, as many tools do."""
    found = Image.new("L", mask.shape[::-1])
    for contour in outlines(mask):
        ImageDraw.Draw(found).polygon([tuple(point) for point in np.rint(contour).astype(int).tolist()], 1, 1)
    return np.asarray(found) > 0


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_every_mask_comes_back(mask):
    np.testing.assert_array_equal(filled(outlines(mask), mask.shape), mask)


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_scikit_image_fills_the_same_pixels(mask):
    np.testing.assert_array_equal(by_centres(mask), mask)


@settings(max_examples=50, deadline=None)
@given(MASKS)
def test_there_is_one_contour_per_region_and_it_has_corners_only(mask):
    contours = outlines(mask)
    assert len(contours) == ndimage.label(mask)[1]
    for contour in contours:
        steps = np.diff(contour, axis=0, append=contour[:1])
        assert (np.count_nonzero(np.abs(steps) > 1e-9, axis=1) == 1).all()


def blob(seed: int, holes: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(96, 96)), 5)
    mask = smooth > 0.01
    return mask if holes else ndimage.binary_fill_holes(mask)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_readers_of_whole_pixels_agree_too(seed, holes):
    mask = blob(seed, holes)
    found = by_whole_pixels(mask)
    assert 2 * (mask & found).sum() / (mask.sum() + found.sum()) >= 0.98


def test_a_ring_is_one_contour_around_its_hole():
    mask = np.ones((7, 7), np.bool_)
    mask[2:5, 2:5] = False
    mask[3, 3] = True
    contours = outlines(mask)
    assert len(contours) == 2
    x, y = contours[0].T
    assert abs((x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 - (6.9**2 - 3.1**2)) < 1e-9
    np.testing.assert_array_equal(filled(contours, mask.shape), mask)


def test_contours_of_others_are_filled_by_their_pixel_centres():
    triangle = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    found = filled([triangle], (10, 10))
    assert found[0, 0]
    assert found[3, 4]
    assert not found[4, 5]
    assert not found[:, 8:].any()
    outside = filled([triangle - 20], (10, 10))
    assert not outside.any()
