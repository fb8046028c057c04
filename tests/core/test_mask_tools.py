"""Tools that correct one label: what they change, in mm, and what they never touch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core import reach
from napari_medreason.core.mask_tools import (
    SliceAt,
    change_between,
    copied_from_neighbour,
    filled_between_slices,
    grown,
    largest_component,
    shrunk,
    smoothed,
    without_specks,
)
from napari_medreason.errors import LabelMapError

SPACING = (3.0, 1.0, 0.5)
ONE = (1.0, 1.0, 1.0)

label_maps = npst.arrays(
    np.uint8,
    npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7),
    elements=st.sampled_from([0, 0, 0, 1, 1, 2]),
)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3)
lengths = st.sampled_from([0.4, 1.0, 2.0, 4.0, 30.0])


def tools(spacing, length):
    """Every tool by name, as a function of labels and label."""
    return {
        "grown": lambda a, n: grown(a, n, distance_mm=length, spacing_kji=spacing),
        "shrunk": lambda a, n: shrunk(a, n, distance_mm=length, spacing_kji=spacing),
        "without_specks": lambda a, n: without_specks(a, n, min_size=length, spacing_kji=spacing),
        "largest_component": largest_component,
        "smoothed": lambda a, n: smoothed(a, n, sigma_mm=length, spacing_kji=spacing),
        "copied_from_neighbour": lambda a, n: copied_from_neighbour(a, n, where=SliceAt(1, 0), step=1),
        "filled_between_slices": lambda a, n: filled_between_slices(a, n, spacing_kji=spacing),
    }


TOOLS = tuple(tools(ONE, 1.0))


def tried(tool, labels, label):
    """The tool's result, None where it refuses."""
    try:
        return tool(labels, label)
    except LabelMapError:
        return None


def ball(shape, centre, radius, spacing=ONE):
    grid = np.indices(shape).astype(float)
    scaled = [(axis - at) * step for axis, at, step in zip(grid, centre, spacing, strict=True)]
    return np.sqrt(sum(axis**2 for axis in scaled)) <= radius


@pytest.mark.parametrize("name", TOOLS)
@settings(deadline=None, max_examples=40)
@given(label_maps, spacings, lengths)
def test_no_tool_touches_another_label_or_its_input(name, labels, spacing, length):
    before = labels.copy()
    result = tried(tools(spacing, length)[name], labels, 1)
    assert np.array_equal(labels, before)
    if result is None:
        return
    assert result.dtype == labels.dtype
    assert np.array_equal(result == 2, labels == 2)
    assert (result == 1).any()
    assert set(np.unique(result)) <= {0, 1, 2}


@pytest.mark.parametrize(
    "name", ["without_specks", "largest_component", "copied_from_neighbour", "filled_between_slices"]
)
@settings(deadline=None, max_examples=60)
@given(label_maps, spacings, lengths)
def test_a_second_time_changes_nothing_more(name, labels, spacing, length):
    tool = tools(spacing, length)[name]
    once = tried(tool, labels, 1)
    if once is not None:
        assert np.array_equal(tool(once, 1), once)


@settings(deadline=None, max_examples=60)
@given(label_maps, spacings, lengths)
def test_growing_reaches_exactly_the_background_within_the_distance(labels, spacing, length):
    result = tried(tools(spacing, length)["grown"], labels, 1)
    if result is None:
        assert not (labels == 1).any()
        return
    mm = np.array(spacing)
    drawn = np.argwhere(labels == 1) * mm
    for index in np.ndindex(labels.shape):
        near = np.linalg.norm(drawn - np.array(index) * mm, axis=1).min() <= length + 1e-6
        assert result[index] == (1 if labels[index] == 0 and near else labels[index])


@settings(deadline=None, max_examples=60)
@given(label_maps, spacings, lengths)
def test_shrinking_keeps_exactly_what_is_farther_inside(labels, spacing, length):
    result = tried(tools(spacing, length)["shrunk"], labels, 1)
    mm = np.array(spacing)
    outside = np.argwhere(labels != 1) * mm
    kept = np.zeros(labels.shape, bool)
    for index in np.argwhere(labels == 1):
        distances = np.linalg.norm(outside - index * mm, axis=1)
        kept[tuple(index)] = distances.min(initial=np.inf) > length + 1e-6
    if result is None:
        assert not kept.any()
    else:
        assert np.array_equal(result == 1, kept)


@settings(deadline=None, max_examples=30)
@given(label_maps, st.permutations([0, 1, 2]), spacings, lengths)
def test_turning_the_array_turns_the_result(labels, order, spacing, length):
    turned = tuple(spacing[axis] for axis in order)
    for name in ("grown", "shrunk", "smoothed", "without_specks"):
        result = tried(tools(spacing, length)[name], labels, 1)
        other = tried(tools(turned, length)[name], labels.transpose(order), 1)
        assert (result is None) == (other is None)
        if result is not None:
            assert np.array_equal(result.transpose(order), other)


@settings(deadline=None, max_examples=40)
@given(label_maps, spacings, lengths)
def test_both_ways_to_measure_reach_agree(labels, spacing, length):
    results = []
    for many in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reach, "_MANY", many)
            results.append(reach.within(labels != 1, labels == 1, length, spacing))
    assert np.array_equal(*results)


def test_growing_stays_in_the_slice_when_the_next_is_too_far():
    labels = np.zeros((3, 5, 9), np.uint8)
    labels[1, 2, 4] = 7
    result = grown(labels, 7, distance_mm=2.0, spacing_kji=SPACING)
    assert not result[[0, 2]].any()
    assert result[1, 2].tolist() == [7] * 9
    assert result[1, :, 4].tolist() == [7] * 5
    assert grown(labels, 7, distance_mm=3.0, spacing_kji=SPACING)[0, 2, 4] == 7


def test_an_organ_cut_off_by_the_field_of_view_is_not_shrunk_there():
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, :, :5] = 1
    result = shrunk(labels, 1, distance_mm=1.0, spacing_kji=ONE)
    assert (result == 1).sum() == 8 * 4
    assert result[0, 0, 0] == 1


def test_shrinking_undoes_growing_of_a_ball():
    labels = ball((30, 30, 30), (15, 15, 15), 8).astype(np.int32)
    larger = grown(labels, 1, distance_mm=3.0, spacing_kji=ONE)
    again = shrunk(larger, 1, distance_mm=3.0, spacing_kji=ONE)
    assert larger.sum() > 1.8 * labels.sum()
    assert (again != labels).mean() < 0.01


@pytest.mark.parametrize("name", ["grown", "shrunk", "without_specks", "largest_component", "smoothed"])
def test_with_a_slice_only_that_slice_changes_as_if_it_were_alone(name):
    rng = np.random.default_rng(3)
    labels = (rng.random((6, 7, 8)) < 0.3).astype(np.uint16)
    labels[4:, 4:, 4:] = 1
    seen = set()
    for axis in range(3):
        where = SliceAt(axis, 4)
        arguments = {
            "grown": {"distance_mm": 1.0, "spacing_kji": SPACING},
            "shrunk": {"distance_mm": 0.5, "spacing_kji": SPACING},
            "without_specks": {"min_size": 3.5, "spacing_kji": SPACING},
            "largest_component": {},
            "smoothed": {"sigma_mm": 0.7, "spacing_kji": SPACING},
        }[name]
        tool = globals()[name]
        result = tool(labels, 1, where=where, **arguments)
        at = (slice(None),) * axis + (slice(4, 5),)
        assert np.array_equal(result[at], tool(labels[at], 1, **arguments | {"where": SliceAt(axis, 0)}))
        seen.update(change_between(labels, result, 1).slices[axis])
    assert seen == {4}


def test_specks_are_measured_in_cubic_millimetres_or_square_ones_on_a_slice():
    labels = np.zeros((4, 6, 12), np.uint8)
    labels[0:2, 0:2, 0:4] = 3  # 16 voxels of 1.5 mm3
    labels[3, 4, 8:10] = 3  # 2 voxels: 3 mm3, 1 mm2 on its slice
    assert (without_specks(labels, 3, min_size=3.0, spacing_kji=SPACING) == 3).sum() == 18
    assert (without_specks(labels, 3, min_size=3.1, spacing_kji=SPACING) == 3).sum() == 16
    with pytest.raises(LabelMapError, match="nothing would be left"):
        without_specks(labels, 3, min_size=1.1, spacing_kji=SPACING, where=SliceAt(0, 3))


def test_the_largest_component_touches_by_corners_and_leaves_other_labels():
    labels = np.zeros((2, 5, 5), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[1, 2, 2] = 1
    labels[0, 4, 3:5] = 1
    labels[0, 0, 4] = 2
    result = largest_component(labels, 1)
    assert (result == 1).sum() == 3
    assert result[0, 0, 4] == 2
    assert not (result[0, 4] == 1).any()


def test_smoothing_takes_off_a_spike_and_closes_a_dent_but_keeps_the_ball():
    labels = ball((31, 31, 31), (15, 15, 15), 10).astype(np.uint8)
    rough = labels.copy()
    rough[15, 15, 25:29] = 1
    rough[15, 15, 4:7] = 0
    result = smoothed(rough, 1, sigma_mm=1.5, spacing_kji=ONE)
    assert not result[15, 15, 27:].any()
    assert result[15, 15, 6] == 1
    shared = ((result == 1) & (labels == 1)).sum()
    assert 2 * shared / (result.sum() + labels.sum()) > 0.95


def test_smoothing_knows_that_slices_are_far_apart():
    labels = np.zeros((5, 20, 20), np.uint8)
    labels[2, 5:15, 5:15] = 1
    assert (smoothed(labels, 1, sigma_mm=1.0, spacing_kji=(5.0, 1.0, 1.0))[2] == 1).sum() > 85
    with pytest.raises(LabelMapError, match="nothing would be left"):
        smoothed(labels, 1, sigma_mm=1.0, spacing_kji=(0.5, 1.0, 1.0))


def test_copying_adds_the_neighbour_outline_where_there_is_room():
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[0, :2] = 5
    labels[1, 0, 0], labels[1, 3, 3] = 9, 5
    result = copied_from_neighbour(labels, 5, where=SliceAt(0, 1), step=-1)
    assert result[1, 0].tolist() == [9, 5, 5, 5]
    assert result[1, 1].tolist() == [5] * 4
    assert result[1, 3, 3] == 5
    assert np.array_equal(result[[0, 2]], labels[[0, 2]])
    with pytest.raises(LabelMapError, match="not on slice 2"):
        copied_from_neighbour(labels, 5, where=SliceAt(0, 1), step=1)
    with pytest.raises(LabelMapError, match="end of the volume"):
        copied_from_neighbour(labels, 5, where=SliceAt(0, 0), step=-1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_filling_makes_a_ball_of_every_fourth_slice(axis):
    spacing = (1.0, 1.0, 0.5)
    whole = ball((33, 33, 65), (16, 16, 32), 13, spacing).astype(np.uint8)
    along = np.moveaxis(whole, axis, 0)
    sparse = np.zeros_like(whole)
    shown = np.moveaxis(sparse, axis, 0)
    drawn = np.flatnonzero(along.any(axis=(1, 2)))[::4]
    shown[drawn] = along[drawn]
    result = filled_between_slices(sparse, 1, spacing_kji=spacing, axis=axis)
    inner = np.moveaxis(result, axis, 0)[drawn[0] : drawn[-1] + 1]
    truth = along[drawn[0] : drawn[-1] + 1]
    assert 2 * (inner & truth).sum() / (inner.sum() + truth.sum()) > 0.96
    assert np.array_equal(np.moveaxis(result, axis, 0)[drawn], along[drawn])


def test_filling_leaves_no_gap_and_follows_a_vessel_that_moves():
    labels = np.zeros((9, 40, 60), np.uint8)
    labels[0] = ball((1, 40, 60), (0, 12, 10), 5)[0]
    labels[8] = ball((1, 40, 60), (0, 28, 46), 5)[0]
    result = filled_between_slices(labels, 1, spacing_kji=ONE)
    areas = (result == 1).sum(axis=(1, 2))
    assert areas.min() > 0.8 * areas[0]
    centres = np.array([np.argwhere(plane == 1).mean(axis=0) for plane in result])
    assert np.allclose(centres, np.linspace((12, 10), (28, 46), 9), atol=0.6)


def test_filling_joins_branches_and_keeps_two_kidneys_apart():
    labels = np.zeros((5, 20, 40), np.uint8)
    labels[0, 8:12, 5:35] = 1
    labels[4, 8:12, 5:15] = labels[4, 8:12, 25:35] = 1
    assert (filled_between_slices(labels, 1, spacing_kji=ONE)[3] == 1).any()
    labels[0, 8:12, 15:25] = 0
    result = filled_between_slices(labels, 1, spacing_kji=ONE)
    assert not result[:, :, 16:24].any()
    assert np.array_equal(result[2], labels[0])


def test_a_gap_without_room_stays_open_and_others_are_filled():
    labels = np.zeros((7, 6, 6), np.uint8)
    labels[[0, 3, 6], 1:4, 1:4] = 1
    labels[1] = 2
    result = filled_between_slices(labels, 1, spacing_kji=ONE)
    assert np.array_equal(result[:4], labels[:4])
    assert (result[4:6, 1:4, 1:4] == 1).all()


def test_filling_can_be_held_to_some_slices():
    labels = np.zeros((7, 4, 4), np.uint8)
    labels[[0, 2, 6], 1:3, 1:3] = 1
    result = filled_between_slices(labels, 1, spacing_kji=ONE, between=(0, 3))
    assert (result[1] == labels[0]).all()
    assert not result[3:6].any()


@pytest.mark.parametrize("name", TOOLS)
def test_a_label_that_is_not_there_is_refused_with_a_sentence(name):
    labels = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(LabelMapError, match="label 1 is"):
        tools(ONE, 1.0)[name](labels, 1)
    with pytest.raises(LabelMapError, match="0 is background"):
        tools(ONE, 1.0)[name](labels, 0)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_lengths_and_spacings_that_mean_nothing_are_refused(bad):
    labels = np.ones((2, 2, 2), np.uint8)
    for name in ("grown", "shrunk", "smoothed", "without_specks"):
        with pytest.raises(LabelMapError, match="above 0"):
            tools(ONE, bad)[name](labels, 1)
        with pytest.raises(LabelMapError, match="spacing"):
            tools((1.0, bad, 1.0), 1.0)[name](labels, 1)


def test_views_of_any_memory_order_and_large_values_work():
    labels = np.zeros((6, 7, 8), np.uint32)
    labels[2:4, 2:5, 2:5] = 2**31
    turned = labels.transpose(2, 1, 0)[::-1]
    result = grown(turned, 2**31, distance_mm=1.0, spacing_kji=ONE)
    assert np.array_equal(
        result[::-1].transpose(2, 1, 0), grown(labels, 2**31, distance_mm=1.0, spacing_kji=ONE)
    )


def test_float_maps_are_refused():
    with pytest.raises(LabelMapError, match="whole numbers"):
        largest_component(np.ones((2, 2, 2)), 1)


def test_a_change_says_where_it_is():
    before = np.zeros((4, 5, 6), np.uint8)
    before[1, 1, 1] = 1
    after = before.copy()
    after[1, 1, 1], after[2, 3, 4], after[2, 3, 5] = 0, 1, 1
    change = change_between(before, after, 1)
    assert (change.added, change.removed, change.count) == (2, 1, 3)
    assert change.box_kji == ((1, 3), (1, 4), (1, 6))
    assert change.slices == ((1, 2), (1, 3), (1, 4, 5))
    assert change_between(before, before, 1).box_kji is None
