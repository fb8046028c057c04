"""Planes are native slices in radiological orientation, and map back to the very same voxels."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medreason.core.geometry import axis_directions, index_to_lps
from napari_medreason.core.plane import AXES, cut, plane_grid, slice_count
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import QuestionError

WINDOW = Window(0, 1)
SIGNED_PERMUTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((-1, 1), repeat=3)
]
RADIOLOGICAL = {"axial": ("L", "P"), "coronal": ("L", "I"), "sagittal": ("P", "I")}
UNIT = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
SIGN = {"L": 1, "P": 1, "S": 1, "R": -1, "A": -1, "I": -1}


def volume_with(order, signs, shape_ijk=(4, 5, 6), spacing=(0.7, 1.1, 3.0), tilt_degrees=0.0):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for voxel_axis, (patient_axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[patient_axis, voxel_axis] = sign * spacing[voxel_axis]
    angle = np.deg2rad(tilt_degrees)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = tilt @ affine
    affine[:3, 3] = (12.0, -7.0, 30.0)
    voxels = np.arange(np.prod(shape_ijk), dtype=np.float32).reshape(shape_ijk[::-1])
    return Volume(voxels, affine)


@pytest.mark.parametrize(("order", "signs"), SIGNED_PERMUTATIONS)
@pytest.mark.parametrize("axis", AXES)
def test_growing_x_and_y_point_to_the_radiological_directions(order, signs, axis):
    plane = cut(volume_with(order, signs), axis, 1, WINDOW)
    origin = np.array(plane.point_lps((0, 0)))
    for point, letter in (((1, 0), RADIOLOGICAL[axis][0]), ((0, 1), RADIOLOGICAL[axis][1])):
        step = np.array(plane.point_lps(point)) - origin
        assert np.argmax(np.abs(step)) == UNIT[letter]
        assert np.sign(step[UNIT[letter]]) == SIGN[letter]
    assert plane.grid.orientation == RADIOLOGICAL[axis]


@pytest.mark.parametrize(("order", "signs"), SIGNED_PERMUTATIONS)
@pytest.mark.parametrize("axis", AXES)
def test_every_pixel_is_the_voxel_it_says(order, signs, axis):
    volume = volume_with(order, signs)
    for index in (0, slice_count(volume, axis) - 1):
        plane = cut(volume, axis, index, WINDOW)
        rows, columns = np.indices(plane.grid.shape)
        ijk = plane.grid.index_ijk(np.stack([columns, rows], -1)).astype(int)
        np.testing.assert_array_equal(volume.voxels[ijk[..., 2], ijk[..., 1], ijk[..., 0]], plane.image)


@given(
    case=st.sampled_from(SIGNED_PERMUTATIONS),
    axis=st.sampled_from(AXES),
    tilt=st.floats(-25, 25),
    seed=st.integers(0, 2**16),
)
def test_a_mask_put_back_is_found_where_it_was_drawn(case, axis, tilt, seed):
    volume = volume_with(*case, tilt_degrees=tilt)
    rng = np.random.default_rng(seed)
    index = int(rng.integers(slice_count(volume, axis)))
    grid = plane_grid(volume, axis, index)
    mask = rng.random(grid.shape) > 0.5
    voxels = np.zeros(volume.shape_kji, np.uint8)
    grid.put(mask, voxels)
    np.testing.assert_array_equal(grid.take(voxels), mask)
    assert voxels.sum() == mask.sum()


@given(case=st.sampled_from(SIGNED_PERMUTATIONS), axis=st.sampled_from(AXES), tilt=st.floats(-25, 25))
def test_plane_points_and_voxel_indices_are_inverse(case, axis, tilt):
    volume = volume_with(*case, tilt_degrees=tilt)
    grid = plane_grid(volume, axis, 2)
    points = np.array([[0.0, 0.0], [1.5, 2.25], [3.0, 0.5]])
    np.testing.assert_allclose(grid.points_plane(grid.index_ijk(points)), points, atol=1e-9)
    lps = index_to_lps(grid.index_ijk(points), volume.affine)
    assert np.linalg.norm(lps[1] - lps[0]) == pytest.approx(
        np.hypot(1.5 * grid.spacing[1], 2.25 * grid.spacing[0])
    )


def test_spacing_is_rows_then_columns_and_slices_apart():
    volume = volume_with((0, 1, 2), (1, 1, 1))
    axial, coronal = plane_grid(volume, "axial", 0), plane_grid(volume, "coronal", 0)
    assert (axial.spacing, axial.slice_spacing) == ((1.1, 0.7), 3.0)
    assert (coronal.spacing, coronal.slice_spacing) == ((3.0, 0.7), 1.1)


def test_unknown_orientation_is_shown_as_stored_without_patient_positions():
    volume = Volume(np.arange(6.0).reshape(1, 2, 3), np.diag([-1.0, -1, 1, 1]), orientation_known=False)
    plane = cut(volume, "axial", 0, WINDOW)
    np.testing.assert_array_equal(plane.image, volume.voxels[0])
    assert plane.grid.orientation is None
    with pytest.raises(QuestionError, match="orientation of this image is unknown"):
        plane.point_lps((0, 0))


@pytest.mark.parametrize("index", [-1, 6])
def test_a_slice_outside_names_the_slices_there_are(index):
    with pytest.raises(QuestionError, match="slices 0 to 5"):
        plane_grid(volume_with((0, 1, 2), (1, 1, 1)), "axial", index)


def test_a_plane_of_nan_is_refused():
    with pytest.raises(QuestionError, match="no finite value"):
        cut(Volume(np.full((2, 3, 4), np.nan), np.eye(4)), "axial", 0, WINDOW)


def test_directions_of_a_strongly_oblique_grid_are_three_different_axes():
    letters = axis_directions(volume_with((2, 0, 1), (1, -1, 1), tilt_degrees=44).affine)
    assert {UNIT[letter] for letter in letters} == {0, 1, 2}
