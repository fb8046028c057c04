"""Siemens mosaics: tiles become slices, each at its own place; without a direction they are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.errors import UnreadableImageError

ROWS, COLUMNS = 4, 6


def csa(entries: dict[str, tuple[str, list[str]]]) -> bytes:
    """A CSA2 header: "SV10", then per entry its name, VR and values with their lengths."""
    parts = [b"SV10", b"\4\3\2\1", struct.pack("<2I", len(entries), 77)]
    for name, (vr, values) in entries.items():
        parts.append(struct.pack("<64si4s3i", name.encode(), len(values), vr.encode(), 0, len(values), 77))
        for value in values:
            data = value.encode()
            parts += [struct.pack("<4i", len(data), len(data), 77, len(data)), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def image_block(count: int, normal: np.ndarray) -> bytes:
    values = [f"{part:.8f}" for part in normal]
    return csa({"NumberOfImagesInMosaic": ("US", [str(count)]), "SliceNormalVector": ("FD", values)})


def protocol_block(centres: np.ndarray) -> bytes:
    lines = [f"sSliceArray.lSize\t = \t{len(centres)}"]
    for number, centre in enumerate(centres):
        lines += [
            f"sSliceArray.asSlice[{number}].sPosition.d{axis}\t = \t{value:.6f}"
            for axis, value in zip(("Sag", "Cor", "Tra"), centre, strict=True)
            if value
        ]
    return csa({"MrPhoenixProtocol": ("UN", ["### begin\n" + "\n".join(lines) + "\n### end"])})


@pytest.fixture
def mosaic(tmp_path, series_maker):
    """Writes (k, j, i) slices as one mosaic, tile 0 at the origin of `affine`; blocks are private data."""

    def write(slices, affine, *, name="m", number=1, **blocks):
        side = int(np.ceil(np.sqrt(len(slices))))
        tiled = np.zeros((side * ROWS, side * COLUMNS), np.uint16)
        for n, image in enumerate(slices):
            down, along = divmod(n, side)
            tiled[down * ROWS : (down + 1) * ROWS, along * COLUMNS : (along + 1) * COLUMNS] = image
        middle = [(COLUMNS - side * COLUMNS) / 2, (ROWS - side * ROWS) / 2, 0]
        placed = affine.copy()
        placed[:3, 3] = index_to_lps(middle, affine)

        def change(data, k):
            data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
            data.InstanceNumber = number
            data.SpacingBetweenSlices = f"{np.linalg.norm(affine[:3, 2]):.6f}"
            block = data.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
            for element, value in blocks.items():
                block.add_new({"image": 0x10, "series": 0x20}[element], "OB", value)

        series_maker(tmp_path / name, tiled[None], placed, series="1.2.3", modality="MR", change=change)
        return tmp_path / name

    return write


def slices_of(count: int) -> np.ndarray:
    return np.arange(1, count * ROWS * COLUMNS + 1, dtype=np.uint16).reshape(count, ROWS, COLUMNS)


def assert_in_place(volume, slices, affine):
    """Every voxel of the slices lies where tile 0, and the step from tile to tile, put it."""
    k, j, i = (axis.ravel() for axis in np.indices(slices.shape))
    points = index_to_lps(np.stack([i, j, k], -1), affine)
    found = np.rint((points - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T).astype(int)
    np.testing.assert_allclose(index_to_lps(found, volume.affine), points, atol=1e-3)
    np.testing.assert_array_equal(volume.voxels[tuple(found.T[::-1])], slices[k, j, i])


@pytest.mark.parametrize("count", [3, 4, 5, 9])
@pytest.mark.parametrize("way", [1, -1])
def test_tiles_lie_where_the_normal_says(mosaic, oblique_affine, count, way):
    affine = oblique_affine.copy()
    affine[:3, 2] *= way
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    slices = slices_of(count)
    volume = io.read(mosaic(slices, affine, image=image_block(count, normal)))
    assert volume.voxels.shape == slices.shape
    assert_in_place(volume, slices, affine)
    assert volume.warnings == ()


@pytest.mark.parametrize("backwards", [False, True])
def test_the_protocol_tells_where_the_image_header_is_gone(mosaic, backwards):
    affine = np.array([[0, 0, 3.6, -20], [2, 0, 0, 5], [0, -2, 0, 30], [0, 0, 0, 1.0]])
    slices = slices_of(5)
    centres = index_to_lps([[COLUMNS / 2, ROWS / 2, k] for k in range(5)], affine)
    volume = io.read(mosaic(slices, affine, series=protocol_block(centres[::-1] if backwards else centres)))
    assert_in_place(volume, slices, affine)


def test_several_mosaics_are_frames_in_time(mosaic, tmp_path):
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    for number in (2, 1):
        mosaic(
            slices_of(5) + 100 * number,
            affine,
            name=f"all/{number}",
            number=number,
            image=image_block(5, affine[:3, 2] / 4),
        )
    volume = io.read(tmp_path / "all")
    assert volume.voxels.shape == (2, 5, ROWS, COLUMNS)
    np.testing.assert_array_equal(
        volume.voxels - slices_of(5), np.full(volume.voxels.shape, 100) * [[[[1]]], [[[2]]]]
    )
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)


def refusal(path) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path)
    return str(caught.value)


def test_a_mosaic_that_tells_no_direction_is_refused(mosaic):
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    slices = slices_of(5)
    sideways, wrong_count = image_block(5, np.array([1.0, 0, 0])), image_block(50, np.array([0, 0, 1.0]))
    for number, blocks in enumerate(
        ({}, {"image": sideways}, {"image": wrong_count}, {"series": b"SV10 and nothing"})
    ):
        said = refusal(mosaic(slices, affine, name=f"bad{number}", **blocks))
        assert "mosaic" in said
        assert "export single slices" in said


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_csa_header_gives_an_image_or_one_clear_line(mosaic, data):
    block = bytearray(image_block(5, np.array([0, 0, 1.0])))
    for place in data.draw(st.lists(st.integers(0, len(block) - 1), min_size=1, max_size=8)):
        block[place] = data.draw(st.integers(0, 255))
    path = mosaic(slices_of(5), np.diag([2.0, 2.0, 4.0, 1.0]), image=bytes(block))
    try:
        volume = io.read(path)
    except UnreadableImageError as error:
        said = str(error)
    else:
        said = ""
        assert volume.voxels.shape[1:] == (ROWS, COLUMNS)
    assert "\n" not in said
