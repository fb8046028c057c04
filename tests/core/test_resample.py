"""Model pixels are isotropic, and everything comes back to the plane it was taken from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medreason.core.resample import ModelFrame

shapes = st.tuples(st.integers(1, 90), st.integers(1, 90))
spacings = st.tuples(st.floats(0.3, 6), st.floats(0.3, 6))
frames = st.one_of(
    st.builds(
        ModelFrame.with_pixel_size,
        shapes,
        spacings,
        pixel_mm=st.floats(0.5, 3),
        multiple=st.sampled_from([1, 32]),
    ),
    st.builds(ModelFrame.letterboxed, shapes, spacings, size=st.sampled_from([64, 840])),
)


@given(frame=frames, x=st.floats(-5, 100), y=st.floats(-5, 100))
def test_points_and_boxes_come_back(frame, x, y):
    np.testing.assert_allclose(frame.point_to_plane(frame.point_to_model((x, y))), (x, y), atol=1e-6)
    box = (x, y, x + 3, y + 2)
    np.testing.assert_allclose(frame.box_to_plane(frame.box_to_model(box)), box, atol=1e-6)


@given(frame=frames)
def test_model_pixels_are_isotropic_and_the_plane_fits(frame):
    rows, columns = frame.plane_shape
    x0, y0, x1, y1 = frame.box_to_model((0, 0, columns, rows))
    assert x0 >= -1e-6
    assert y0 >= -1e-6
    assert x1 <= frame.model_shape[1] + 1e-6
    assert y1 <= frame.model_shape[0] + 1e-6


@given(shape=shapes, spacing=spacings, size=st.sampled_from([64, 840]))
def test_letterbox_keeps_proportions(shape, spacing, size):
    frame = ModelFrame.letterboxed(shape, spacing, size)
    np.testing.assert_allclose(frame.scale[0] / spacing[0], frame.scale[1] / spacing[1])


def test_a_disc_keeps_its_place_and_millimetres_through_the_model_frame():
    rows, columns = np.indices((60, 90))
    disc = (np.hypot((rows - 30) * 2.0, (columns - 40) * 1.0) < 18).astype(np.float32)
    frame = ModelFrame.with_pixel_size((60, 90), (2.0, 1.0), pixel_mm=1.0, multiple=32)
    model = frame.image_to_model(disc, fill=0)
    assert model.shape == (128, 96)
    y, x = (axis.mean() for axis in np.nonzero(model > 0.5))
    np.testing.assert_allclose((x, y), frame.point_to_model((40, 30)), atol=0.1)
    height, width = (np.ptp(axis) for axis in np.nonzero(model > 0.5))
    assert abs(int(height) - int(width)) <= 1, "a disc in mm is a disc in model pixels"
    back = frame.map_to_plane(model, fill=0) > 0.5
    overlap = 2 * (back & (disc > 0)).sum() / (back.sum() + disc.sum())
    assert overlap > 0.97


def test_unfinished_pixels_do_not_spread():
    image = np.ones((40, 40), np.float32)
    image[5, 5] = np.nan
    frame = ModelFrame.with_pixel_size((40, 40), (1.0, 1.0), pixel_mm=2.0, multiple=1)
    assert np.isfinite(frame.image_to_model(image, fill=0)).all()


def test_the_same_grid_is_not_resampled():
    frame = ModelFrame.with_pixel_size((30, 50), (0.7, 0.7), 0.7, 1)
    near = ModelFrame((30, 50), (30, 50), (1.0, 1.0 + 1e-12))
    image = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)
    for there in (frame.image_to_model(image, fill=0), frame.map_to_plane(image, fill=0)):
        assert (there == image).all()
        assert not np.shares_memory(there, image)
    np.testing.assert_allclose(near.image_to_model(image, fill=0), image, atol=1e-5)
