import json

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import AXES, plane_grid
from napari_medreason.core.region_columns import RegionColumns
from napari_medreason.core.regions import slice_regions
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError, QuestionError

AFFINE = np.array([[-0.8, 0, 0, 40], [0, 0.9, 0, -30], [0, 0, 2.5, 12], [0, 0, 0, 1.0]])
EIGHT = np.ones((3, 3))
storage_orders = st.tuples(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
COLUMNS = list(RegionColumns.__dataclass_fields__)

label_maps = npst.arrays(
    np.int64,
    npst.array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.sampled_from([0, 0, 1, 2, 2**31]),
)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in COLUMNS)


@settings(deadline=None, max_examples=40)
@given(label_maps, st.sampled_from(AXES), st.sampled_from(["paper", "released"]), st.floats(0.05, 0.6))
def test_every_row_is_what_one_mask_at_a_time_gives(labels, axis, rule, near_fraction):
    volume = Volume(labels, AFFINE)
    table = slice_regions(labels, axis=axis, affine_lps=AFFINE, rule=rule, near_fraction=near_fraction)
    expected = {}
    for index in range(labels.shape[{"axial": 0, "coronal": 1, "sagittal": 2}[axis]]):
        plane = plane_grid(volume, axis, index).take(labels)
        for label in np.unique(plane[plane > 0]):
            expected[int(label), index] = plane == label
    assert list(zip(table.label.tolist(), table.slice.tolist(), strict=True)) == sorted(expected)
    for row, mask in enumerate(expected[key] for key in sorted(expected)):
        position = locate(mask, rule=rule, near_fraction=near_fraction)
        assert (table.words(row), bool(table.near_center[row])) == (position.label, position.near_center)
        assert tuple(table.box_plane[row]) == position.box
        assert tuple(table.center_plane[row]) == position.center
        assert table.quadrant_words(row) == position.quadrant
        assert tuple(map(tuple, table.key_points_plane[row])) == key_points(mask)
        assert table.component_count[row] == scipy.ndimage.label(mask, EIGHT)[1]
        assert table.area_px[row] == mask.sum()
        assert table.grid(row) == plane_grid(volume, axis, int(table.slice[row]))
        assert table.degenerate[row] == (mask.sum() == 1)
        assert table.centroid_plane[row] == pytest.approx(
            [np.nonzero(mask)[1].mean(), np.nonzero(mask)[0].mean()]
        )


@settings(deadline=None, max_examples=40)
@given(label_maps)
def test_parts_are_the_eight_connected_ones_largest_first(labels):
    each = slice_regions(labels, components="each")
    largest = slice_regions(labels, components="largest")
    whole = slice_regions(labels)
    assert len(each) == whole.component_count.sum()
    assert largest.label.tolist() == whole.label.tolist()
    for row in range(len(whole)):
        rows = np.flatnonzero((each.label == whole.label[row]) & (each.slice == whole.slice[row]))
        parts, count = scipy.ndimage.label(labels[whole.slice[row]] == whole.label[row], EIGHT)
        sizes = np.bincount(parts.ravel())[1:]
        assert each.area_px[rows].tolist() == sorted(sizes.tolist(), reverse=True)
        assert each.part[rows].tolist() == list(range(count))
        assert largest.area_px[row] == sizes.max()
        assert largest.component_count[row] == each.component_count[rows[0]] == count
        # Among equal parts the one whose first pixel comes first.
        first = [parts.ravel().tolist().index(n + 1) for n in range(count)]
        best = min(range(count), key=lambda n: (-sizes[n], first[n]))
        rows_of_best = np.nonzero(parts == best + 1)[0]
        assert largest.box_plane[row, 1] == rows_of_best.min()


@settings(deadline=None, max_examples=40)
@given(label_maps, st.data())
def test_a_painted_slice_gives_the_table_of_the_whole_map(labels, data):
    axis = data.draw(st.sampled_from(AXES))
    components = data.draw(st.sampled_from(["all", "largest", "each"]))
    table = slice_regions(labels, axis=axis, affine_lps=AFFINE, components=components)
    along = {"axial": 0, "coronal": 1, "sagittal": 2}[axis]
    changed = data.draw(st.sets(st.integers(0, labels.shape[along] - 1)))
    painted = labels.copy()
    for index in changed:
        view = np.moveaxis(painted, along, 0)[index]
        view[data.draw(npst.arrays(bool, view.shape))] = data.draw(st.sampled_from([0, 1, 9]))
    updated = table.updated(painted, changed)
    assert same(updated, slice_regions(painted, axis=axis, affine_lps=AFFINE, components=components))


@settings(deadline=None, max_examples=40)
@given(label_maps, storage_orders, st.sampled_from(AXES))
def test_storage_order_changes_nothing_but_slice_numbers(stored, labels, order, axis):
    table = slice_regions(labels, axis=axis, affine_lps=AFFINE)
    moved_labels, moved_affine = stored(labels, AFFINE, order)
    moved = slice_regions(moved_labels, axis=axis, affine_lps=moved_affine)

    def told(found):
        records = [found.record(row) for row in range(len(found))]
        return sorted(
            json.dumps({key: record[key] for key in record if key != "slice"}) for record in records
        )

    assert told(moved) == told(table)


def test_a_record_has_exactly_the_agreed_keys():
    labels = np.zeros((2, 20, 30), np.uint8)
    labels[1, 4:7, 20:25] = 5
    assert slice_regions(labels, affine_lps=AFFINE).record(0) == {
        "label": 5,
        "axis": "axial",
        "slice": 1,
        # i grows to the patient's right, so the result plane is mirrored.
        "box": [5, 4, 10, 7],
        "center": [7, 5],
        "near_center": False,
        "position": "top left",
        "area_px": 15,
        "area_mm2": round(15 * 0.8 * 0.9, 2),
        "key_points": [[6, 5], [8, 5]],
        "patient": {
            "side": "right",
            "crosses_midline": False,
            "anterior_posterior": "anterior",
            "superior_inferior": "superior",
            "level": 0.75,
            "midline_mm": 6.0,
            "surface_mm": None,
            "center_lps": [22.4, -25.5, 14.5],
            "reference": "field of view",
        },
    }


def test_unknown_orientation_keeps_pixels_and_withholds_the_patient():
    labels = np.zeros((1, 9, 9), np.uint8)
    labels[0, 1:3, 6:8] = 1
    table = slice_regions(labels)
    record = table.record(0)
    assert record["position"] == "top right"
    assert record["patient"] is None
    assert record["area_mm2"] is None
    assert "orientation" in table.withheld
    assert slice_regions(Volume(labels, AFFINE, orientation_known=False)).record(0)["area_mm2"] == 2.88


def test_labels_up_to_two_to_the_31_are_kept_apart():
    labels = np.zeros((1, 4, 6), np.uint32)
    labels[0, 0, :2], labels[0, 1, :2], labels[0, 2, :3] = 2**31, 2**31 - 1, 3
    table = slice_regions(labels)
    assert table.label.tolist() == [3, 2**31 - 1, 2**31]
    assert table.area_px.tolist() == [3, 2, 2]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint64, np.float32, np.float64, ">i2"])
def test_whole_numbers_of_any_dtype_are_labels(dtype):
    labels = np.zeros((2, 5, 5), dtype)
    labels[1, 2, 3] = 1
    table = slice_regions(labels)
    assert (table.label.tolist(), table.slice.tolist()) == ([1], [1])
    assert table.degenerate.tolist() == [True]
    assert table.record(0)["key_points"] == [[3, 2], [3, 2]]


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (-3, np.int16, "negative values .lowest -3"),
        (-3, np.float32, "negative values .lowest -3"),
        (0.5, np.float32, "0.5.*threshold"),
        (np.nan, np.float64, "NaN"),
        (np.inf, np.float64, "NaN or infinite"),
        (2**63, np.uint64, "9223372036854775808"),
        (1j, np.complex64, "complex64"),
    ],
)
def test_what_is_no_label_is_refused_with_the_value_found(value, dtype, words):
    labels = np.zeros((2, 5, 5), dtype)
    labels[1, 2, 3] = value
    with pytest.raises(LabelMapError, match=words) as error:
        slice_regions(labels)
    assert "\n" not in str(error.value)


def test_an_empty_map_gives_an_empty_table_that_can_be_painted():
    labels = np.zeros((3, 6, 6), np.uint8)
    table = slice_regions(labels, affine_lps=AFFINE)
    assert len(table) == 0
    labels[2, 1, 1] = 4
    assert len(table.updated(labels, [])) == 0
    assert table.updated(labels, [2]).label.tolist() == [4]


def test_a_table_is_updated_only_with_its_own_map():
    table = slice_regions(np.zeros((3, 6, 6), np.uint8))
    with pytest.raises(LabelMapError, match="shape"):
        table.updated(np.zeros((3, 6, 7), np.uint8), [0])
    with pytest.raises(QuestionError, match="0 to 2"):
        table.updated(np.zeros((3, 6, 6), np.uint8), [3])


def test_a_map_with_frames_needs_one_chosen():
    with pytest.raises(QuestionError, match="frame"):
        slice_regions(np.zeros((2, 3, 6, 6), np.uint8))
