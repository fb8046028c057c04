"""Agreement figures of two readers, against brute force and against SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core.agreement import agreement, differing_slices, mean_dice
from napari_medreason.errors import LabelMapError

SPACING = (3.0, 1.0, 0.5)

pairs = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5).flatmap(
    lambda shape: st.tuples(*[npst.arrays(np.uint8, shape, elements=st.integers(0, 2))] * 2)
)


def boundary(mask):
    """Voxels with a face neighbour that is not in the mask, or at the border, one by one."""
    found = []
    for index in np.argwhere(mask):
        neighbours = [
            index + step
            for axis in range(3)
            for step in (np.eye(3, dtype=int)[axis], -np.eye(3, dtype=int)[axis])
        ]
        inside = [
            all(0 <= at < size for at, size in zip(one, mask.shape, strict=True)) and mask[tuple(one)]
            for one in neighbours
        ]
        if not all(inside):
            found.append(index * np.array(SPACING))
    return np.array(found)


@settings(deadline=None, max_examples=50)
@given(pairs)
def test_figures_are_those_of_brute_force(maps):
    first, second = maps
    rows = agreement(first, second, spacing_kji=SPACING)
    assert [row.label for row in rows] == sorted({*np.unique(first), *np.unique(second)} - {0})
    for row in rows:
        one, two = first == row.label, second == row.label
        assert (row.first_voxels, row.second_voxels) == (one.sum(), two.sum())
        assert row.dice == pytest.approx(2 * (one & two).sum() / (one.sum() + two.sum()))
        if not (one.any() and two.any()):
            assert row.mean_distance_mm is None
            assert row.distance_95_mm is None
            continue
        ways = np.linalg.norm(boundary(one)[:, None] - boundary(two)[None], axis=2)
        there, back = ways.min(axis=1), ways.min(axis=0)
        assert row.mean_distance_mm == pytest.approx(np.concatenate([there, back]).mean())
        farthest = max(np.percentile(there, 95), np.percentile(back, 95))
        assert row.distance_95_mm == pytest.approx(farthest)


@settings(deadline=None, max_examples=25)
@given(pairs)
def test_the_order_of_readers_only_swaps_their_counts(maps):
    forth = agreement(*maps, spacing_kji=SPACING)
    back = agreement(*maps[::-1], spacing_kji=SPACING)
    for one, two in zip(forth, back, strict=True):
        assert (one.first_voxels, one.second_voxels) == (two.second_voxels, two.first_voxels)
        assert (one.dice, one.mean_distance_mm, one.distance_95_mm) == pytest.approx(
            (two.dice, two.mean_distance_mm, two.distance_95_mm)
        ) or one.mean_distance_mm is None


def test_dice_is_that_of_simpleitk():
    rng = np.random.default_rng(1)
    first, second = ((rng.random((8, 30, 30)) < share).astype(np.uint8) for share in (0.4, 0.5))
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(sitk.GetImageFromArray(first), sitk.GetImageFromArray(second))
    (row,) = agreement(first, second, spacing_kji=SPACING)
    assert row.dice == pytest.approx(measure.GetDiceCoefficient())


def test_a_box_moved_by_two_voxels_is_as_far_as_the_spacing_says():
    first = np.zeros((10, 30, 30), np.int32)
    second = first.copy()
    first[2:8, 5:20, 5:20] = 2**30
    second[2:8, 7:22, 5:20] = 2**30
    (row,) = agreement(first, second, spacing_kji=(5.0, 2.0, 1.0))
    assert row.label == 2**30
    assert row.distance_95_mm == 4.0
    assert 0 < row.mean_distance_mm < 4.0
    assert row.dice == pytest.approx(13 / 15)


def test_same_labels_agree_wholly_and_empty_ones_have_no_rows():
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[1, 2:4, 2:4] = 5
    (row,) = agreement(labels, labels, spacing_kji=SPACING)
    assert (row.dice, row.mean_distance_mm, row.distance_95_mm) == (1.0, 0.0, 0.0)
    assert agreement(labels * 0, labels * 0, spacing_kji=SPACING) == ()
    assert mean_dice(()) is None
    assert mean_dice((row,)) == 1.0


def test_only_the_labels_asked_for():
    labels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    rows = agreement(labels, labels, spacing_kji=SPACING, labels=[3, 5, 99])
    assert [row.label for row in rows] == [3, 5]


def test_slices_that_differ_most_come_first():
    first = np.zeros((4, 5, 5), np.uint8)
    second = first.copy()
    second[1, 0, :2], second[3, :, 0] = 1, 2
    assert differing_slices(first, second) == ((3, 5), (1, 2))
    assert differing_slices(first, second, axis=2)[0] == (0, 6)
    assert differing_slices(first, first) == ()


def test_other_shapes_and_values_that_are_no_labels_are_refused():
    labels = np.ones((2, 3, 4), np.uint8)
    with pytest.raises(LabelMapError, match="same study"):
        agreement(labels, labels[:1], spacing_kji=SPACING)
    with pytest.raises(LabelMapError, match="negative"):
        agreement(labels, -labels.astype(int), spacing_kji=SPACING)
