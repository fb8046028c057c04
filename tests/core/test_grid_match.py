"""Label maps on the grid of their image: every flip and order of axes, crops, and what is refused."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.grid_match import on_grid_of
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError

AXIS_ORDERS = list(permutations(range(3)))
FLIPS = list(product((1, -1), repeat=3))


def stored_otherwise(image: Volume, order: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same voxels in another order of storage, written down voxel by voxel."""
    shape = np.array(image.shape_kji[::-1])
    matrix = np.zeros((3, 3))
    matrix[list(order), range(3)] = flips
    offset = np.array([shape[order[n]] - 1 if flips[n] < 0 else 0 for n in range(3)])
    shift = np.zeros(3)
    for n in range(3):
        shift[order[n]] = offset[n]
    affine = np.eye(4)
    affine[:3, :3] = image.affine[:3, :3] @ matrix
    affine[:3, 3] = index_to_lps(shift, image.affine)
    size = [int(shape[order[n]]) for n in range(3)]
    voxels = np.zeros(size[::-1], image.voxels.dtype)
    for index in product(*[range(count) for count in size]):
        i, j, k = (matrix @ index + shift).astype(int)
        voxels[index[::-1]] = image.voxels[k, j, i]
    return Volume(voxels, affine)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(AXIS_ORDERS), st.sampled_from(FLIPS), st.integers(0, 2**31))
def test_every_order_of_storage_comes_back_to_the_grid_of_the_image(order, flips, seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ np.diag(rng.uniform(0.4, 5, 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    image = Volume(rng.integers(0, 5, (2, 3, 4)).astype(np.uint8), affine)
    np.testing.assert_array_equal(on_grid_of(stored_otherwise(image, order, flips), image), image.voxels)


def test_a_crop_is_filled_up(ramp_image):
    affine = ramp_image.affine.copy()
    affine[:3, 3] = index_to_lps((2, 1, 0), affine)
    crop = Volume(np.ones((2, 2, 3), np.uint8), affine)
    expected = np.zeros((4, 5, 6), np.uint8)
    expected[0:2, 1:3, 2:5] = 1
    np.testing.assert_array_equal(on_grid_of(crop, ramp_image), expected)


def test_labels_outside_of_the_image_are_refused_and_background_is_not(ramp_image):
    affine = ramp_image.affine.copy()
    affine[:3, 3] = index_to_lps((-1, 0, 0), affine)
    labels = np.zeros((4, 5, 7), np.uint8)
    labels[1, 1, 1] = 3
    assert on_grid_of(Volume(labels, affine), ramp_image)[1, 1, 0] == 3
    labels[1, 1, 0] = 3
    with pytest.raises(LabelMapError, match=r"1 labelled voxels .* outside"):
        on_grid_of(Volume(labels, affine), ramp_image)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.diag([1.1, 1, 1, 1]), "voxels of"),
        (np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "shifted by 0.40"),
        (np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "turned"),
    ],
)
def test_other_grids_are_refused_with_what_differs(change, words):
    image = Volume(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    with pytest.raises(LabelMapError, match=words):
        on_grid_of(Volume(np.ones((4, 5, 6), np.uint8), change), image)


def test_without_orientation_the_order_of_storage_counts(ramp_image):
    labels = Volume(np.ones((4, 5, 6), np.uint8), np.eye(4), orientation_known=False)
    assert on_grid_of(labels, ramp_image) is labels.voxels
    with pytest.raises(LabelMapError, match="how it lies"):
        on_grid_of(Volume(np.ones((6, 5, 4), np.uint8), np.eye(4), orientation_known=False), ramp_image)


@pytest.fixture
def ramp_image() -> Volume:
    """A right-handed grid with three different spacings."""
    affine = np.array([[0.7, 0, 0, -20], [0, 0, -3.0, 8], [0, 0.9, 0, 31], [0, 0, 0, 1]])
    return Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine)
