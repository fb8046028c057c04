import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core.keypoints import ERASED_FRACTION, is_degenerate, key_points


def disc(shape, center, radius):
    rows, columns = np.indices(shape)
    return np.hypot(columns - center[0], rows - center[1]) <= radius


def test_two_discs_give_their_centres_larger_one_first():
    mask = disc((60, 90), (20, 30), 15) | disc((60, 90), (70, 25), 9)
    assert key_points(mask) == ((20.0, 30.0), (70.0, 25.0))


def test_a_bar_gives_points_along_its_length():
    mask = np.zeros((20, 60), bool)
    mask[8:13, 5:55] = True
    first, second = key_points(mask)
    assert first[1] == second[1] == 10
    assert first[0] < second[0]


def test_the_image_border_counts_as_boundary():
    mask = np.zeros((9, 9), bool)
    mask[:, :5] = True
    assert key_points(mask)[0][0] == 2


@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_one_pixel_is_given_twice_and_flagged(shape):
    mask = np.zeros(shape, bool)
    mask[shape[0] // 2, shape[1] // 2] = True
    points = key_points(mask)
    assert points == ((shape[1] // 2, shape[0] // 2),) * 2
    assert is_degenerate(points)


def test_a_small_square_falls_back_to_its_farthest_pixel():
    mask = np.zeros((7, 7), bool)
    mask[2:5, 2:5] = True
    assert key_points(mask) == ((3.0, 3.0), (2.0, 2.0))


@pytest.mark.parametrize("mask", [np.zeros((4, 4), bool), np.zeros((0, 0), bool), np.ones((2, 2, 2), bool)])
def test_no_pixels_or_no_plane_is_refused(mask):
    with pytest.raises(ValueError, match=r"empty|dimensions"):
        key_points(mask)


@settings(deadline=None)
@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=14)), st.integers(0, 3))
def test_points_are_inside_distinct_and_move_with_the_mask(mask, margin):
    if not mask.any():
        return
    points = key_points(mask)
    assert all(mask[int(y), int(x)] for x, y in points)
    assert is_degenerate(points) == (mask.sum() == 1)
    moved = key_points(np.pad(mask, margin))
    assert moved == tuple((x + margin, y + margin) for x, y in points)


def depth_by_search(mask, point):
    """Distance to the nearest pixel outside the mask, the outside of the image included."""
    rows, columns = np.nonzero(~np.pad(mask, 1))
    return np.hypot(columns - 1 - point[0], rows - 1 - point[1]).min()


@settings(deadline=None)
@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_points_are_centres_of_the_largest_circles(mask):
    if not mask.any():
        return
    first, second = key_points(mask)
    pixels = [(x, y) for y, x in np.argwhere(mask)]
    radius = depth_by_search(mask, first)
    assert radius == max(depth_by_search(mask, pixel) for pixel in pixels)
    far = [p for p in pixels if np.hypot(p[0] - first[0], p[1] - first[1]) >= ERASED_FRACTION * radius]
    if far:
        assert depth_by_search(mask, second) == max(depth_by_search(mask, pixel) for pixel in far)


@settings(deadline=None, max_examples=60)
@given(npst.arrays(bool, (12, 14), elements=st.sampled_from([False] * 6 + [True])))
def test_parts_far_apart_give_the_points_of_the_whole_mask(mask):
    """Sparse masks are looked at part by part; filling a corner far away makes the box large."""
    wide = np.pad(mask, ((0, 30), (0, 30)))
    wide[-3:, -9:] = True
    depth = scipy.ndimage.distance_transform_edt(np.pad(wide, 1))[1:-1, 1:-1]
    first, second = key_points(wide)
    assert (first[1], first[0]) == np.unravel_index(depth.argmax(), depth.shape)
    rows, columns = np.indices(wide.shape)
    away = np.hypot(rows - first[1], columns - first[0]) >= ERASED_FRACTION * depth.max()
    assert (second[1], second[0]) == np.unravel_index(np.where(away, depth, -1).argmax(), depth.shape)
