"""FreeSurfer and MetaImage files, against nibabel and SimpleITK."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.errors import UnreadableImageError

RELAXED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LPS = np.array([-1, -1, 1])


def turned(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return Rotation.from_euler("xyz", rng.uniform(-40, 40, 3), degrees=True).as_matrix() @ matrix


@RELAXED
@given(order=st.integers(0, 47), seed=st.integers(0, 2**31), frames=st.integers(1, 3))
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_mgh_lies_where_nibabel_says(tmp_path, all_axis_orders, suffix, order, seed, frames):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = turned(all_axis_orders[order], rng) @ np.diag(rng.uniform(0.5, 4, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    ijk = rng.integers(-100, 1000, (4, 3, 2, frames)).astype(np.int16)
    path = tmp_path / f"a{suffix}"
    nib.save(nib.MGHImage(ijk[..., 0] if frames == 1 else ijk, affine), path)
    volume, other = io.read(path), nib.load(path)
    assert volume.orientation_known
    np.testing.assert_array_equal(volume.voxels, np.asarray(other.dataobj).T)
    for index in ((0, 0, 0), (3, 2, 1)):
        np.testing.assert_allclose(
            index_to_lps(index, volume.affine), (other.affine @ [*index, 1])[:3] * LPS, atol=1e-6
        )


def test_mgh_without_directions_has_an_unknown_orientation(tmp_path):
    image = nib.MGHImage(np.zeros((2, 3, 4), np.uint8), np.eye(4))
    image.header["goodRASFlag"] = 0
    nib.save(image, tmp_path / "a.mgh")
    # nibabel sets the flag when it saves
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[28:30] = b"\0\0"
    (tmp_path / "a.mgh").write_bytes(bytes(data))
    volume = io.read(tmp_path / "a.mgh")
    assert not volume.orientation_known
    assert "goodRASFlag" in volume.warnings[0]


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_damaged_mgh_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    nib.save(nib.MGHImage(np.zeros((20, 30, 40), np.float32), np.eye(4)), path)
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[: len(whole) // 2], b"\0" * 300):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableImageError) as error:
            io.read(path)
        assert "\n" not in str(error.value)


@RELAXED
@given(
    order=st.integers(0, 47),
    seed=st.integers(0, 2**31),
    packed=st.booleans(),
    dtype=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"]),
)
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_metaimage_lies_where_simpleitk_says(tmp_path, all_axis_orders, suffix, order, seed, packed, dtype):
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 100, (2, 3, 4)).astype(dtype)
    image = sitk.GetImageFromArray(voxels)
    image.SetDirection(turned(all_axis_orders[order], rng).ravel().tolist())
    image.SetSpacing(rng.uniform(0.5, 4, 3).tolist())
    image.SetOrigin(rng.uniform(-200, 200, 3).tolist())
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), packed)
    volume = io.read(path)
    assert volume.orientation_known
    assert volume.voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.voxels, voxels)
    for index in ((0, 0, 0), (3, 2, 1)):
        np.testing.assert_allclose(
            index_to_lps(index, volume.affine), image.TransformIndexToPhysicalPoint(index), atol=1e-3
        )


def test_metaimage_with_frames(tmp_path):
    voxels = np.arange(120, dtype=np.int16).reshape(5, 2, 3, 4)
    image = sitk.GetImageFromArray(voxels, isVector=False)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(io.read(tmp_path / "a.mha").voxels, voxels)


HEADER = """ObjectType = Image
NDims = 3
DimSize = 2 2 2
ElementType = MET_UCHAR
ElementSpacing = 1 2 3
"""


def meta(path, text, data=b"\1" * 8):
    path.write_bytes(text.encode() + data)
    return path


def test_metaimage_without_directions_has_an_unknown_orientation(tmp_path):
    volume = io.read(meta(tmp_path / "a.mha", HEADER + "ElementDataFile = LOCAL\n"))
    assert not volume.orientation_known
    assert volume.spacing_kji == (3, 2, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER, "damaged"),
        (HEADER.replace("2 2 2", "9999 9999 9999") + "ElementDataFile = LOCAL\n", "cut short"),
        (HEADER.replace("MET_UCHAR", "MET_STRING") + "ElementDataFile = LOCAL\n", "damaged"),
        (HEADER + "ElementNumberOfChannels = 3\nElementDataFile = LOCAL\n", "colours"),
        (HEADER + "ElementDataFile = ../x.raw\n", "another folder"),
        (HEADER + "ElementDataFile = LIST\n", "missing"),
        (HEADER + "TransformMatrix = 0 0 0 0 0 0 0 0 0\nElementDataFile = LOCAL\n", "damaged"),
        (HEADER + "CompressedData = True\nElementDataFile = LOCAL\n", "damaged"),
    ],
)
def test_broken_metaimages_are_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(UnreadableImageError, match=words) as error:
        io.read(meta(tmp_path / "a.mha", text))
    assert "\n" not in str(error.value)


@pytest.mark.data
def test_a_real_mgz_lies_where_nibabel_says(real_data):
    path = real_data / "conformance" / "nibabel" / "test.mgz"
    volume, other = io.read(path), nib.load(path)
    np.testing.assert_array_equal(volume.voxels, np.asarray(other.dataobj).T)
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ other.affine, atol=1e-6)
