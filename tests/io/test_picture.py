"""PNG and JPEG: grey slices are read, photographs are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_medreason import io
from napari_medreason.errors import UnreadableImageError


@pytest.fixture
def grey():
    return np.arange(60, dtype=np.uint8).reshape(6, 10) * 4


def test_grey_png_is_one_uncalibrated_slice(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "x.png")
    volume = io.read(tmp_path / "x.png")
    np.testing.assert_array_equal(volume.voxels, grey[np.newaxis])
    assert not volume.calibrated
    assert not volume.orientation_known
    assert volume.modality == ""
    assert volume.name == "x"
    assert len(volume.warnings) == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_kept_in_a_colour_mode_is_accepted(tmp_path, grey, mode):
    Image.fromarray(grey).convert(mode).save(tmp_path / "x.png")
    np.testing.assert_array_equal(io.read(tmp_path / "x.png").voxels, grey[np.newaxis])


def test_16_bit_png_keeps_its_values(tmp_path):
    deep = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000
    Image.fromarray(deep).save(tmp_path / "x.png")
    np.testing.assert_array_equal(io.read(tmp_path / "x.png").voxels, deep[np.newaxis])


def test_jpeg_is_turned_as_its_exif_tag_says(tmp_path, grey):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "x.jpg", exif=exif)
    assert io.read(tmp_path / "x.jpg").voxels.shape == (1, 10, 6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_a_colour_photograph_is_refused(tmp_path, mode):
    colour = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    name = "x.jpg" if mode == "CMYK" else "x.png"
    Image.fromarray(colour).convert(mode).save(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="colour"):
        io.read(tmp_path / name)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_differing_channel_is_colour(tmp_path, grey, channel):
    rgb = np.stack([grey] * 3, axis=-1)
    rgb[2, 3, channel] += 5
    Image.fromarray(rgb).save(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError, match="colour"):
        io.read(tmp_path / "x.png")


def test_a_png_without_its_suffix_is_known_by_content(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "x.bin", format="PNG")
    assert io.read(tmp_path / "x.bin").shape_kji == (1, 6, 10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_without_any_suffix_is_no_dicom_file(tmp_path, grey, kind):
    Image.fromarray(grey).save(tmp_path / "IM0001", format=kind)
    assert io.read(tmp_path / "IM0001").shape_kji == (1, 6, 10)


def test_one_pixel(tmp_path):
    Image.fromarray(np.array([[7]], np.uint8)).save(tmp_path / "x.png")
    assert io.read(tmp_path / "x.png").voxels.tolist() == [[[7]]]


def test_a_picture_of_absurd_size_is_refused(tmp_path, monkeypatch, grey):
    from napari_medreason.io import picture

    Image.fromarray(grey).save(tmp_path / "x.png")
    monkeypatch.setattr(picture, "_MAX_PIXELS", 59)
    with pytest.raises(UnreadableImageError, match="10 x 6 pixels"):
        io.read(tmp_path / "x.png")
    # Pillow's own bound is met before ours is asked.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        io.read(tmp_path / "x.png")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keep=st.integers(0, 200), flips=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)
)
def test_damaged_pictures_give_an_image_or_one_clear_line(tmp_path, grey, keep, flips):
    for name in ("x.png", "x.jpg"):
        Image.fromarray(grey).save(tmp_path / name)
        data = bytearray((tmp_path / name).read_bytes()[:keep])
        for place, value in flips:
            if place < len(data):
                data[place] = value
        (tmp_path / name).write_bytes(data)
        try:
            volume = io.read(tmp_path / name)
        except UnreadableImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert volume.voxels.ndim == 3
