import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.neighbours import contacts, neighbourhoods
from napari_medreason.core.regions import slice_regions

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
storage_orders = st.tuples(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))


def around(labels, affine=AFFINE):
    table = slice_regions(labels, affine_lps=affine, key_points=False)
    return neighbourhoods(label_extents(table), contacts(labels, affine))


def row_of_three():
    """Label 2 between 1 (patient's right) and 3 (left), touching both; 9 far above."""
    labels = np.zeros((40, 12, 30), np.int32)
    labels[2:6, 3:9, 2:8], labels[2:6, 3:9, 8:14], labels[2:6, 3:9, 14:20] = 1, 2, 3
    labels[38, 5, 10] = 9
    return labels


def test_touching_directions_and_between():
    found = around(row_of_three())
    middle = found[2]
    assert [(n.label, n.direction) for n in middle.touching] == [(1, "left of"), (3, "right of")]
    assert middle.between == ((1, 3),)
    assert middle.touching[0].contact_mm2 == pytest.approx(4 * 5 * 6 * 3)
    assert [n.label for n in found[1].touching] == [2]
    assert found[1].neighbours[1].gap_mm == 12
    assert found[9].neighbours == ()


def test_faces_between_slabs_are_counted_once():
    labels = np.zeros((33, 2, 2), np.uint8)
    labels[:16], labels[16:32], labels[32:] = 1, 2, 3
    assert contacts(labels, AFFINE) == {(1, 2): 4 * 6.0, (2, 3): 4 * 6.0}


@settings(deadline=None, max_examples=30)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(1, 5)),
                   elements=st.integers(0, 3)))  # fmt: skip
def test_contacts_are_all_faces_of_unlike_labels(labels):
    expected = {}
    for axis, area in enumerate((6.0, 10.0, 15.0)):
        for before, after in zip(*(np.moveaxis(labels, axis, 0)[cut].ravel().tolist()
                                   for cut in (slice(None, -1), slice(1, None))), strict=True):  # fmt: skip
            if before and after and before != after:
                pair = min(before, after), max(before, after)
                expected[pair] = expected.get(pair, 0.0) + area
    assert contacts(labels, AFFINE) == pytest.approx(expected)


def test_without_orientation_only_contact_is_known():
    labels = row_of_three()
    table = slice_regions(labels)
    found = neighbourhoods(label_extents(table), contacts(labels, np.eye(4)))
    assert [(n.label, n.direction) for n in found[2].neighbours] == [(1, None), (3, None)]
    assert found[2].between == ()


@settings(deadline=None, max_examples=15)
@given(npst.arrays(np.uint8, (6, 7, 8), elements=st.sampled_from([0, 0, 1, 2, 3])), storage_orders)
def test_storage_order_changes_no_neighbour(stored, labels, order):
    moved, affine = stored(labels, AFFINE, order)
    assert around(moved, affine) == around(labels)


def test_a_mirrored_patient_swaps_left_and_right():
    labels = row_of_three()
    mirrored = around(labels[:, :, ::-1])
    assert [(n.label, n.direction) for n in mirrored[2].touching] == [(1, "right of"), (3, "left of")]
