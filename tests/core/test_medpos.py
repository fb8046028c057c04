import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_medreason.core.medpos import component_labels, locate, positions


def rectangle(shape, box):
    x0, y0, x1, y1 = box
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize(
    ("corner", "label"),
    [((0, 0), "top left"), ((90, 0), "top right"), ((0, 90), "bottom left"), ((90, 90), "bottom right")],
)
def test_corners_have_their_quadrant(rule, corner, label):
    x, y = corner
    position = locate(rectangle((100, 100), (x, y, x + 10, y + 10)), rule=rule)
    assert position.label == position.quadrant == label
    assert not position.near_center
    assert position.box == (x, y, x + 10, y + 10)


def test_an_empty_mask_has_no_position():
    assert locate(np.zeros((5, 6), bool)) is None


def test_centre_is_exact_in_pixel_centres():
    assert locate(rectangle((100, 100), (10, 20, 14, 23))).center == (11.5, 21.0)
    assert locate(rectangle((100, 100), (10, 20, 14, 23)), rule="released").center == (11, 21)


def test_paper_rule_says_near_the_center_by_distance():
    assert locate(rectangle((100, 100), (55, 55, 61, 61))).label == "near the center"
    assert locate(rectangle((100, 100), (55, 55, 61, 61)), near_fraction=0.05).label == "bottom right"
    large = locate(rectangle((100, 100), (0, 0, 52, 52)))
    assert (large.label, large.near_center) == ("top left", False)


@pytest.mark.parametrize("shape", [(50, 200), (200, 50)])
def test_paper_distance_counts_each_direction_by_its_own_length(shape):
    height, width = shape
    for share, near in ((0.15, True), (0.25, False)):
        x, y = int(width * (0.5 + share)), int(height * (0.5 + share))
        assert locate(rectangle(shape, (x, height // 2, x + 1, height // 2 + 1))).near_center is near
        assert locate(rectangle(shape, (width // 2, y, width // 2 + 1, y + 1))).near_center is near


@pytest.mark.parametrize(
    ("shape", "box", "label", "near"),
    [
        ((40, 40), (5, 5, 31, 21), "center", True),
        ((40, 40), (5, 5, 31, 20), "top left", False),
        ((50, 50), (34, 26, 35, 27), "bottom right", True),
        ((50, 50), (35, 25, 36, 26), "bottom right", False),
        ((100, 60), (30, 61, 31, 62), "bottom right", True),
        ((100, 60), (30, 62, 31, 63), "bottom right", False),
        ((1, 1), (0, 0, 1, 1), "center", True),
        ((40, 40), (19, 0, 22, 3), "top right", False),
    ],
)
def test_released_rule_by_hand(shape, box, label, near):
    position = locate(rectangle(shape, box), rule="released")
    assert (position.label, position.near_center) == (label, near)


def test_unknown_rule_and_stacks_are_refused():
    with pytest.raises(ValueError, match="paper or released"):
        locate(np.ones((3, 3), bool), rule="other")
    with pytest.raises(ValueError, match="dimensions"):
        locate(np.ones((3, 3, 3), bool))


masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=24))
MIRROR = {"left": "right", "right": "left"}


@settings(deadline=None)
@given(masks, st.floats(0.01, 1))
def test_mirroring_the_image_swaps_left_and_right(mask, near_fraction):
    position = locate(mask, near_fraction=near_fraction)
    if position is None:
        return
    mirrored = locate(mask[:, ::-1], near_fraction=near_fraction)
    width = mask.shape[1]
    assert mirrored.near_center is position.near_center
    assert mirrored.center == (width - 1 - position.center[0], position.center[1])
    if 2 * position.center[0] != width - 1:
        side = position.quadrant.split()[1]
        assert mirrored.quadrant.split()[1] == MIRROR[side]


def released_in_plain_words(mask):
    """The released rule step by step, as the data-set paper's code is described."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    x, y = width // 2, height // 2
    if columns.min() <= x <= columns.max() and rows.min() <= y <= rows.max():
        return "center", True
    middle_x, middle_y = (columns.min() + columns.max()) // 2, (rows.min() + rows.max()) // 2
    near = bool(np.sqrt(float((middle_x - x) ** 2 + (middle_y - y) ** 2)) < 0.2 * width)
    return f"{'top' if middle_y < y else 'bottom'} {'left' if middle_x < x else 'right'}", near


@settings(deadline=None, max_examples=200)
@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.sampled_from(
    [0] * 30 + [1, 7, 255]), fill=st.just(0)))  # fmt: skip
def test_released_rule_on_any_mask(mask):
    position = locate(mask, rule="released")
    found = None if position is None else (position.label, position.near_center)
    assert found == released_in_plain_words(mask)


@pytest.mark.parametrize("width", range(1, 130))
def test_released_distance_is_strict_for_every_width(width):
    """Pixels left and right of the centre, at every distance along the row below it."""
    height, y = 9, 6
    mask = np.zeros((height, width), bool)
    for x in range(width):
        mask[:] = False
        mask[y, x] = True
        near = 25 * ((x - width // 2) ** 2 + (y - height // 2) ** 2) < width**2
        assert locate(mask, rule="released").near_center == near


def test_positions_of_many_boxes_are_those_of_each():
    boxes = np.array([[0, 0, 3, 3], [20, 5, 30, 9], [14, 9, 16, 11]])
    found = positions(boxes, (20, 30))
    assert found.center.tolist() == [[1, 1], [24.5, 6.5], [14.5, 9.5]]
    assert found.near_center.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("boxes", "labels"),
    [
        ([], ("no mask",)),
        ([(2, 2, 5, 5)], ("top left", "top left")),
        ([(2, 2, 5, 5), (30, 30, 33, 33)], ("top left", "bottom right")),
        ([(2, 2, 5, 5), (30, 2, 33, 5), (30, 30, 33, 33)], ("top left", "bottom right")),
        # The box ends one pixel late, so this one covers the centre (20, 20).
        ([(10, 10, 20, 20)], ("top left center", "top left center")),
        # Two rows make a block: the part on the left comes first, though it begins one row lower.
        ([(2, 5, 4, 7), (30, 4, 33, 7)], ("top left", "top right")),
        ([(2, 6, 4, 8), (30, 4, 33, 7)], ("top right", "top left")),
    ],
)
def test_labels_of_two_lesions_by_hand(boxes, labels):
    mask = np.zeros((40, 40), bool)
    for box in boxes:
        mask |= rectangle((40, 40), box)
    assert component_labels(mask) == labels


@pytest.mark.data
def test_released_rule_agrees_with_the_published_labels(real_data):
    file = real_data.parent / "reference" / "cases" / "medpos_labels.json"
    if not file.is_file():
        pytest.skip("no published MedPos cases beside the test data")
    cases = json.loads(file.read_text())["cases"]
    assert cases
    for case in cases:
        runs = [np.full(length, number % 2, bool) for number, length in enumerate(case["rle"])]
        mask = np.concatenate(runs).reshape(case["h"], case["w"])
        position = locate(mask, rule="released")
        found = ("no mask", False) if position is None else (position.label, position.near_center)
        assert found == (case["label"], case["near"]), case["tag"]
        assert component_labels(mask) == tuple(case["component_labels"]), case["tag"]
        if position is not None:
            x0, y0, x1, y1 = case["bbox_inclusive"]
            assert position.box == (x0, y0, x1 + 1, y1 + 1)
