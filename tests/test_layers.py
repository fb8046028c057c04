"""Display arrays, answer layers and the way back, over every axis flip and permutation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Layer

from napari_medreason import layers
from napari_medreason.core import plane as planes
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.grounding import Grounding, Provenance, mask_box
from napari_medreason.core.plane import AXES, cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import QuestionError

WINDOW = Window(0, 200)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def volume_of(permutation, signs, *, frames=0, turn=0.0):
    """A small volume whose voxel axis n runs along patient axis permutation[n], with sign signs[n]."""
    spacing = (0.5, 0.75, 2.0)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for n in range(3):
        affine[permutation[n], n] = signs[n] * spacing[n]
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.eye(4)
    rotation[:2, :2] = [[cosine, -sine], [sine, cosine]]
    affine = rotation @ affine
    affine[:3, 3] = (-11.0, 5.0, 42.0)
    shape = (4, 5, 6)
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    if frames:
        voxels = np.stack([voxels + 1000 * n for n in range(frames)])
    return Volume(voxels, affine, modality="MR", name="study")


def layer_of(volume):
    return Layer.create(*layers.image_layer(volume))


def sliced(data, axis, position):
    everything = slice(None)
    index = {
        "axial": (position, everything, everything),
        "coronal": (everything, position, everything),
        "sagittal": (everything, everything, position),
    }
    return data[index[axis]]


def answer_on(volume, axis, index, *, answer="The liver is seen. More words."):
    grid = planes.plane_grid(volume, axis, index)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1:3, 1:4] = True
    mask[1, 3] = False
    return Grounding(
        "found", answer, grid, Provenance("fake", ""), mask=mask, box=mask_box(mask), points=((1, 1), (2, 2))
    )


def shown(study, axis, index, frame=None):
    return layers.DisplayedPlane(axis, index, frame)


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS)
def test_result_planes_are_slices_of_the_display_array(permutation, signs):
    volume = volume_of(permutation, signs)
    layer = layer_of(volume)
    study = layers.study_of(layer)
    for axis in AXES:
        for index in range(planes.slice_count(volume, axis)):
            expected = cut(volume, axis, index, WINDOW)
            position = study.display_index(axis, index)
            np.testing.assert_array_equal(sliced(layer.data, axis, position), expected.image)
            again = layers.plane_of(layer.data, study, shown(study, axis, index), window=WINDOW)
            np.testing.assert_array_equal(again.image, expected.image)
            assert again.grid == expected.grid
            np.testing.assert_allclose(again.affine, expected.affine)


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS)
def test_napari_world_is_inferior_posterior_left_in_mm(permutation, signs):
    volume = volume_of(permutation, signs)
    layer = layer_of(volume)
    rng = np.random.default_rng(0)
    for _ in range(5):
        k, j, i = (int(rng.integers(n)) for n in volume.shape_kji)
        at = tuple(int(n) for n in np.argwhere(layer.data == volume.voxels[k, j, i])[0])
        left, posterior, superior = index_to_lps((i, j, k), volume.affine)
        np.testing.assert_allclose(layer.data_to_world(at), (-superior, posterior, left), atol=1e-9)
    assert layer.axis_labels == ("inferior", "posterior", "left")
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3


@pytest.mark.parametrize(("permutation", "signs"), ORIENTATIONS)
def test_answers_lie_on_their_voxels_and_prompts_come_back(permutation, signs):
    volume = volume_of(permutation, signs)
    layer = layer_of(volume)
    study = layers.study_of(layer)
    for axis in AXES:
        grounding = answer_on(volume, axis, 1)
        displayed = layers.shown_grid(grounding.grid, None)
        label = layers.AnswerLabel("a1", "Where?", "1 liver", (1.0, 0.0, 0.0))
        mask, box, points = layers.answer_layers(
            grounding, study, label, image_shape=layer.data.shape, frame=None, transform={}
        )
        for entry in (mask, box, points):
            Layer.create(*entry)
        voxels = np.zeros(volume.shape_kji, dtype=bool)
        grounding.grid.put(grounding.mask, voxels)
        np.testing.assert_array_equal(layers.stored_array(mask[0], study).astype(bool), voxels)
        assert layers.box_of(box[0][0], study, displayed, shape=grounding.grid.shape) == grounding.box
        assert layers.points_of(points[0], study, displayed, shape=grounding.grid.shape) == grounding.points
        ijk = grounding.grid.index_ijk(np.array(grounding.points))
        for at, (i, j, k) in zip(points[0], ijk.astype(int), strict=True):
            assert layer.data[tuple(int(n) for n in at)] == volume.voxels[k, j, i]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_displayed_plane_follows_rolls_and_transpositions(order):
    volume = volume_of((1, 2, 0), (-1, 1, -1))
    layer = layer_of(volume)
    study = layers.study_of(layer)
    displayed = layers.displayed_plane(study, order=order, point_data=(1.2, 2.4, 2.6), ndisplay=2)
    position = (1, 2, 3)[order[0]]
    assert displayed.axis == AXES[order[0]]
    seen = np.moveaxis(layer.data, order[0], 0)[position]
    np.testing.assert_array_equal(layers.plane_of(layer.data, study, displayed, window=WINDOW).image, seen)


def test_world_of_an_oblique_study_keeps_spacing_and_centre():
    volume = volume_of((0, 1, 2), (1, 1, 1), turn=0.3)
    layer = layer_of(volume)
    np.testing.assert_allclose(layer.scale, (2.0, 0.75, 0.5))
    centre = index_to_lps((2.5, 2.0, 1.5), volume.affine)
    np.testing.assert_allclose(
        layer.data_to_world((1.5, 2.0, 2.5)), (-centre[2], centre[1], centre[0]), atol=1e-9
    )
    study = layers.study_of(layer)
    plane = layers.plane_of(layer.data, study, shown(study, "axial", 2), window=WINDOW)
    np.testing.assert_allclose(plane.affine, volume.affine)


def test_frames_stand_in_front_and_the_shown_one_is_cut():
    volume = volume_of((0, 1, 2), (1, 1, -1), frames=3)
    layer = layer_of(volume)
    study = layers.study_of(layer)
    assert layer.axis_labels[0] == "frame"
    displayed = layers.displayed_plane(study, order=(0, 1, 2, 3), point_data=(2, 1, 0, 0), ndisplay=2)
    assert displayed.frame == 2
    plane = layers.plane_of(layer.data, study, displayed, window=WINDOW)
    np.testing.assert_array_equal(plane.image, layer.data[2, 1])
    grounding = answer_on(volume.frame(2), displayed.axis, displayed.index)
    label = layers.AnswerLabel("a1", "Where?", "1", (1.0, 0.0, 0.0))
    mask, box, points = layers.answer_layers(
        grounding, study, label, image_shape=layer.data.shape, frame=2, transform={}
    )
    np.testing.assert_array_equal(mask[0][2, 1].astype(bool), grounding.mask)
    assert mask[0].sum() == grounding.mask.sum()
    assert set(box[0][0][:, 0]) == {2.0}
    assert set(points[0][:, 0]) == {2.0}


def test_frames_along_a_side_of_the_view_are_refused():
    study = layers.study_of(layer_of(volume_of((0, 1, 2), (1, 1, 1), frames=2)))
    with pytest.raises(QuestionError, match="frames along one side"):
        layers.displayed_plane(study, order=(1, 2, 0, 3), point_data=(0, 0, 0, 0), ndisplay=2)


def test_3d_view_and_positions_outside_are_refused():
    study = layers.study_of(layer_of(volume_of((0, 1, 2), (1, 1, 1))))
    with pytest.raises(QuestionError, match="2D view"):
        layers.displayed_plane(study, order=(0, 1, 2), point_data=(0, 0, 0), ndisplay=3)
    with pytest.raises(QuestionError, match="outside this image"):
        layers.displayed_plane(study, order=(0, 1, 2), point_data=(9, 0, 0), ndisplay=2)


def test_a_layer_that_was_changed_or_is_not_ours_has_unknown_orientation():
    volume = volume_of((0, 1, 2), (1, 1, 1))
    layer = layer_of(volume)
    assert layers.study_of(layer).orientation_known
    layer.translate = (1, 2, 3)
    assert not layers.study_of(layer).orientation_known
    cropped = layer_of(volume)
    cropped.data = cropped.data[1:]
    assert not layers.study_of(cropped).orientation_known
    for axis in range(3):
        flipped = layer_of(volume)
        flipped.data = np.flip(flipped.data, axis)
        assert not layers.study_of(flipped).orientation_known
        flipped_in_place = layer_of(replace(volume, voxels=volume.voxels.copy()))
        flipped_in_place.data[:] = np.flip(flipped_in_place.data, axis).copy()
        assert not layers.study_of(flipped_in_place).orientation_known
    forged = Image(
        np.zeros((4, 5, 6)),
        metadata={"medreason": {"study": replace(layers.study_of(layer_of(volume)), id="x")}},
    )
    assert not layers.study_of(forged).orientation_known
    assert not layers.study_of(Image(np.zeros((3, 4, 5)))).orientation_known


@pytest.mark.parametrize("lazy", [False, True])
def test_a_duplicated_layer_keeps_its_study_until_it_is_flipped(lazy):
    import dask.array
    from napari.components import LayerList
    from napari.layers._layer_actions import _duplicate_layer

    volume = volume_of((1, 2, 0), (-1, 1, -1))
    if lazy:
        volume = replace(volume, modality="CT", voxels=dask.array.from_array(volume.voxels, chunks=(1, 5, 6)))
    stack = LayerList([layer_of(volume)])
    stack.selection.active = stack[0]
    _duplicate_layer(stack)
    original, copy = stack
    assert layers.study_of(copy) == layers.study_of(original)
    assert layers.study_of(copy).orientation_known
    copy.data = copy.data[:, :, ::-1]
    assert not layers.study_of(copy).orientation_known
    assert layers.study_of(original).orientation_known


def test_foreign_layer_uses_its_own_scale():
    layer = Image(np.random.default_rng(0).random((3, 4, 5)), scale=(2, 500, 500), units=("mm", "um", "um"))
    study = layers.study_of(layer)
    plane = layers.plane_of(layer.data, study, shown(study, "axial", 1), window=WINDOW)
    assert plane.grid.spacing == pytest.approx((0.5, 0.5))
    assert plane.grid.slice_spacing == pytest.approx(2)
    assert plane.grid.orientation is None
    assert plane.calibrated
    np.testing.assert_allclose(plane.image, layer.data[1], rtol=1e-6)


def test_a_flat_picture_is_one_slice():
    layer = Image(np.random.default_rng(0).random((4, 5)))
    study = layers.study_of(layer)
    displayed = layers.displayed_plane(study, order=(0, 1), point_data=(0, 0), ndisplay=2)
    plane = layers.plane_of(layer.data, study, displayed, window=WINDOW)
    np.testing.assert_allclose(plane.image, layer.data, rtol=1e-6)
    assert not plane.calibrated
    box = (1.0, 1.0, 3.0, 2.0)
    corners = layers.rectangle(box, study, displayed)
    assert corners.shape == (4, 2)
    assert layers.box_of(corners, study, displayed, shape=(4, 5)) == box


@pytest.mark.parametrize("shape", [(2, 2, 2, 2, 2)])
def test_layers_that_cannot_be_asked_about_say_why(shape):
    with pytest.raises(QuestionError, match="2, 3 or 4 axes"):
        layers.study_of(Image(np.zeros(shape)))


def test_nothing_found_gives_no_layers():
    volume = volume_of((0, 1, 2), (1, 1, 1))
    study = layers.study_of(layer_of(volume))
    absent = Grounding("absent", "Not seen", planes.plane_grid(volume, "axial", 0), Provenance("fake", ""))
    label = layers.AnswerLabel("a1", "Where?", "1", (1.0, 0.0, 0.0))
    assert layers.answer_layers(absent, study, label, image_shape=(4, 5, 6), frame=None, transform={}) == []


def test_default_window_becomes_the_contrast_limits_exactly():
    volume = replace(volume_of((0, 1, 2), (1, 1, 1)), modality="CT")
    assert tuple(layer_of(volume).contrast_limits) == (-160.0, 240.0)
    noise = Volume(
        np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32), np.eye(4), modality="MR"
    )
    from napari_medreason.core.volume import default_window

    window = default_window(noise)
    assert tuple(layer_of(noise).contrast_limits) == (window.low, window.high)


def test_volume_without_a_finite_value_is_refused():
    with pytest.raises(QuestionError, match="no finite value"):
        layers.image_layer(Volume(np.full((2, 2, 2), np.nan), np.eye(4)))


@settings(deadline=None)  # the machine may be busy
@given(x0=st.floats(-5, 10), y0=st.floats(-5, 10), width=st.floats(0.5, 10), height=st.floats(0.5, 10))
def test_drawn_boxes_come_back_inside_the_plane(x0, y0, width, height):
    volume = volume_of((2, 0, 1), (1, -1, 1))
    study = layers.study_of(layer_of(volume))
    grid = planes.plane_grid(volume, "coronal", 0)
    displayed = layers.shown_grid(grid, None)
    corners = layers.rectangle((x0, y0, x0 + width, y0 + height), study, displayed)
    box = layers.box_of(corners, study, displayed, shape=grid.shape)
    rows, columns = grid.shape
    if box is None:
        assert x0 + width <= 1e-6 or y0 + height <= 1e-6 or x0 >= columns - 1e-6 or y0 >= rows - 1e-6
        return
    assert 0 <= box[0] < box[2] <= columns
    assert 0 <= box[1] < box[3] <= rows
    assert box[0] == pytest.approx(max(0, x0))
    assert box[3] == pytest.approx(min(rows, y0 + height))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The liver is seen. It is big.", "The liver is seen"),
        ("The liver is seen on this axial slice, near it.", "The liver"),
        ("word " * 30, "word word word word word\nword word word word word …"),
        ("about 3.5 cm wide", "about 3.5 cm wide"),
        ("", ""),
    ],
)
def test_short_answer_is_the_first_clause_in_two_lines(answer, expected):
    volume = volume_of((0, 1, 2), (1, 1, 1))
    assert layers.short_answer(answer_on(volume, "axial", 1, answer=answer)) == expected
