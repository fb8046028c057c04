import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.body_frame import body_frame, field_of_view
from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.patient_position import patient_position
from napari_medreason.core.regions import slice_regions
from napari_medreason.core.volume import Volume

SHAPE_KJI = (20, 48, 60)
SPACING = np.array([5.0, 5.0, 8.0])
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.diag(SPACING)
AFFINE[:3, 3] = -SPACING * (np.array(SHAPE_KJI[::-1]) - 1) / 2

storage_orders = st.tuples(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
places = st.tuples(st.integers(0, 50), st.integers(0, 38), st.integers(0, 16))
sizes = st.tuples(st.integers(1, 10), st.integers(1, 10), st.integers(1, 4))


def block(place, size):
    """A (k, j, i) mask of a block at (i, j, k); i grows to the left, j to posterior, k to superior."""
    mask = np.zeros(SHAPE_KJI, bool)
    i, j, k = place
    mask[k : k + size[2], j : j + size[1], i : i + size[0]] = True
    return mask


def trunk(middle_i=24, touches_sides=False):
    """A CT of an oval trunk with air around it, a lung of air inside, and a table behind."""
    _, j, i = np.indices(SHAPE_KJI)
    half = 60 if touches_sides else 18
    hu = np.full(SHAPE_KJI, -1000.0, np.float32)
    hu[((i - middle_i) / half) ** 2 + ((j - 20) / 13) ** 2 <= 1] = 40
    hu[((i - middle_i - 9) / 4) ** 2 + ((j - 20) / 5) ** 2 <= 1] = -850
    hu[:, 44, :] = 200
    return Volume(hu, AFFINE, modality="CT")


TRUNK = body_frame(trunk())


def test_the_body_is_found_without_the_table_and_with_the_lung():
    assert TRUNK.reference == "body"
    middle, width, front, back = (values[0] for values in TRUNK.at(np.array([0.0])))
    assert middle == pytest.approx(AFFINE[0, 3] + 24 * 5, abs=2)
    assert width == pytest.approx(37 * 5, abs=10)
    assert (front, back) == pytest.approx((AFFINE[1, 3] + 7 * 5, AFFINE[1, 3] + 33 * 5), abs=10)
    assert (TRUNK.bottom, TRUNK.top) == (-80, 80)
    lung = AFFINE[:3, 3] + SPACING * (33, 20, 10)
    assert TRUNK.depth_mm(lung[None])[0] == pytest.approx(10 * 5, abs=15)


@pytest.mark.parametrize(
    "image",
    [
        trunk(touches_sides=True),
        Volume(np.full(SHAPE_KJI, -1000.0), AFFINE, modality="CT"),
        Volume(np.zeros(SHAPE_KJI, np.int16), AFFINE, modality="MR"),
        Volume(np.full(SHAPE_KJI, np.nan), AFFINE, modality="MR"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_no_body_is_made_up(image):
    assert body_frame(image) is None


def test_sides_are_relative_to_the_body_not_to_the_picture():
    mask = block((26, 18, 8), (3, 3, 3))
    volume = Volume(mask, AFFINE)
    assert patient_position(mask, volume, body=TRUNK).side == "left"
    assert patient_position(mask, volume).side == "right"
    assert patient_position(mask, volume).reference == "field of view"
    assert patient_position(mask, volume).surface_mm is None


def test_place_and_distances_by_hand():
    position = patient_position(block((40, 4, 15), (4, 4, 2)), Volume(np.zeros(SHAPE_KJI), AFFINE))
    assert position.center_lps == (60.0, -90.0, 48.0)
    assert (position.side, position.anterior_posterior, position.superior_inferior) == (
        "left",
        "anterior",
        "superior",
    )
    assert position.midline_mm == 60
    assert position.level == pytest.approx((48 + 80) / 160)
    assert not position.crosses_midline


@pytest.mark.parametrize(
    ("left", "right", "side"),
    [
        (10, 10, "midline"),
        (15, 5, "midline"),
        (17, 3, "left"),
        (3, 17, "right"),
        (10, 0, "left"),
        (0, 1, "midline"),
    ],
)
def test_a_structure_across_the_midline_is_on_a_side_when_most_of_it_is(left, right, side):
    mask = np.zeros(SHAPE_KJI, bool)
    mask[5, 5, 30 - right : 30 + left] = True
    position = patient_position(mask, Volume(mask, AFFINE))
    assert position.side == side
    assert position.crosses_midline == (left > 0 and right > 0)


def test_a_structure_from_end_to_end_is_in_no_third():
    mask = block((20, 20, 0), (3, 3, 20))
    position = patient_position(mask, Volume(mask, AFFINE))
    assert position.superior_inferior is None
    assert position.level == 0.5


@pytest.mark.parametrize("mask", [np.zeros(SHAPE_KJI, bool), np.ones(SHAPE_KJI, bool)])
def test_no_position_without_pixels_or_orientation(mask):
    assert patient_position(mask, Volume(mask, AFFINE, orientation_known=not mask.any())) is None


@settings(deadline=None, max_examples=25)
@given(places, sizes, storage_orders, st.booleans())
def test_storage_order_changes_no_word(stored, place, size, order, with_body):
    mask, image = block(place, size), trunk()
    moved_mask, moved_affine = stored(mask, AFFINE, order)
    moved_image, _ = stored(image.voxels, AFFINE, order)
    body = body_frame(image) if with_body else None
    moved_body = body_frame(Volume(moved_image, moved_affine, modality="CT")) if with_body else None
    position = patient_position(mask, Volume(mask, AFFINE), body=body)
    moved = patient_position(moved_mask, Volume(moved_mask, moved_affine), body=moved_body)
    assert moved.as_json() == position.as_json()


SWAPPED = {"left": "right", "anterior": "posterior", "superior": "inferior"}
SWAPPED |= {value: key for key, value in SWAPPED.items()} | {
    "midline": "midline",
    "middle": "middle",
    None: None,
}


@settings(deadline=None, max_examples=25)
@given(places, sizes, st.booleans(), st.integers(0, 2))
def test_a_mirrored_patient_has_the_opposite_words(place, size, with_body, patient_axis):
    array_axis = 2 - patient_axis
    mask, image = block(place, size), trunk()
    turned = Volume(np.flip(image.voxels, array_axis), AFFINE, modality="CT")
    body = body_frame(image) if with_body else None
    turned_body = body_frame(turned) if with_body else None
    geometry = Volume(mask, AFFINE)
    one = patient_position(mask, geometry, body=body)
    other = patient_position(np.flip(mask, array_axis), geometry, body=turned_body)
    words = ("side", "anterior_posterior", "superior_inferior")
    for axis, word in enumerate(words):
        expected = SWAPPED[getattr(one, word)] if axis == patient_axis else getattr(one, word)
        assert getattr(other, word) == expected
    assert other.midline_mm == pytest.approx(one.midline_mm, abs=1e-6)
    if with_body:
        assert other.surface_mm == pytest.approx(one.surface_mm, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(places, sizes, st.sampled_from(["axial", "coronal", "sagittal"]))
def test_extents_from_slices_are_those_of_the_volume(place, size, axis):
    mask = block(place, size)
    (extent,) = label_extents(slice_regions(mask, axis=axis, affine_lps=AFFINE, key_points=False))
    assert extent.position == patient_position(mask, Volume(mask, AFFINE))
    count = int(mask.sum())
    assert extent.voxel_count == count
    assert extent.volume_ml == pytest.approx(count * SPACING.prod() / 1000)
    assert extent.size_mm == pytest.approx(np.ptp(np.argwhere(mask), axis=0)[::-1] * SPACING + SPACING)
    along = {"axial": 0, "coronal": 1, "sagittal": 2}[axis]
    slices = np.unique(np.nonzero(mask)[along])
    assert (extent.first_slice, extent.last_slice) == (slices[0], slices[-1])
    assert extent.slice_count == slices.size


def test_an_oblique_grid_has_sides_too():
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    mask = block((50, 20, 8), (3, 3, 3))
    position = patient_position(mask, Volume(mask, turn @ AFFINE))
    assert position.side == "left"
    assert field_of_view(Volume(mask, turn @ AFFINE)).width > field_of_view(Volume(mask, AFFINE)).width
