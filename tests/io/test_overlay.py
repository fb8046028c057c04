"""The picture of an answer: shape, window, places of mask, box and points, letters."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import ExportError
from napari_medreason.io.overlay import overlay_image, write_overlay

CYAN, PINK, YELLOW, ORANGE = (80, 220, 255), (255, 60, 160), (255, 255, 160), (255, 140, 0)


@pytest.fixture
def plane():
    voxels = np.zeros((4, 10, 20), np.int16)
    voxels[:, :, 10:] = 100
    return cut(Volume(voxels, np.diag([1, 2, 3, 1.0]), "CT"), "axial", 1, Window(0, 200))


def places(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) pixels (x, y) of one colour."""
    return np.argwhere((np.asarray(picture) == colour).all(axis=-1))[:, ::-1]


def test_pixels_are_isotropic_and_windowed(plane):
    picture = overlay_image(plane)
    assert picture.size == (768, 768)  # 20 x 1 mm by 10 x 2 mm
    pixels = np.asarray(picture)
    assert pixels[300, 100].tolist() == [0, 0, 0]
    assert abs(int(pixels[300, 600, 0]) - 128) <= 1


def test_box_and_points_lie_where_they_were_said(plane):
    picture = overlay_image(plane, None, (5.0, 2.0, 15.0, 8.0), [(5.0, 4.0)])
    box = places(picture, CYAN)
    per_column, per_row = 768 / 20, 768 / 10
    np.testing.assert_allclose(box.min(axis=0), (5 * per_column, 2 * per_row), atol=2)
    np.testing.assert_allclose(box.max(axis=0), (15 * per_column, 8 * per_row), atol=2)
    np.testing.assert_allclose(places(picture, PINK).mean(axis=0), (5.5 * per_column, 4.5 * per_row), atol=2)


def test_mask_is_tinted_inside_and_outlined(plane):
    mask = np.zeros((10, 20), bool)
    mask[2:8, 5:15] = True
    outline = places(overlay_image(plane, mask), ORANGE)
    np.testing.assert_allclose(outline.min(axis=0), (5 * 38.4, 2 * 76.8), atol=2)
    np.testing.assert_allclose(outline.max(axis=0), (15 * 38.4, 8 * 76.8), atol=2)
    pixels = np.asarray(overlay_image(plane, mask)).astype(int)
    assert pixels[384, 300, 0] > pixels[384, 300, 2]


def test_letters_only_where_the_orientation_is_known(plane):
    letters = places(overlay_image(plane), YELLOW)
    assert len(letters) > 0
    unknown = Volume(np.zeros((4, 10, 20), np.int16), np.eye(4), orientation_known=False)
    assert len(places(overlay_image(cut(unknown, "axial", 0, Window(0, 1))), YELLOW)) == 0


def test_the_left_letter_is_on_the_right_side_of_an_axial_picture(plane, monkeypatch):
    from PIL import ImageDraw

    drawn = {}
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, at, letter, **_: drawn.update({letter: at}))
    overlay_image(plane)
    assert set(drawn) == {"L", "R", "A", "P"}
    assert drawn["L"][0] > 700 > 60 > drawn["R"][0]
    assert drawn["P"][1] > 700 > 60 > drawn["A"][1]


def test_nan_and_the_file_itself(tmp_path):
    voxels = np.full((1, 3, 4), np.nan, np.float32)
    voxels[0, 0, 0] = 1
    plane = cut(Volume(voxels, np.eye(4)), "axial", 0, Window(0, 1))
    write_overlay(tmp_path / "o.png", plane, np.ones((3, 4), bool), (0, 0, 4, 3), [(0, 0), (3, 2)])
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.size == (768, 576)
    with pytest.raises(ExportError, match="png"):
        write_overlay(tmp_path / "o.bmp", plane)
