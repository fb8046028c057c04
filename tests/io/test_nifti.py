"""NIfTI in and out: geometry against nibabel and SimpleITK, values, odd headers, damaged files."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medreason import io
from napari_medreason.core.geometry import axis_directions, index_to_lps
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def save(path: Path, ijk: np.ndarray, affine_ras: np.ndarray | None, **codes: int) -> Path:
    image = nib.Nifti1Image(ijk, affine_ras)
    if codes:
        image.header.set_sform(affine_ras, codes["sform"])
        image.header.set_qform(affine_ras, codes["qform"])
    nib.save(image, path)
    return path


@RELAXED
@given(
    order=st.integers(0, 47),
    angles=st.tuples(*[st.floats(-44, 44)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    frames=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_every_flip_and_permutation_round_trips(
    tmp_path, all_axis_orders, order, angles, spacing, shape, frames, seed
):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turn @ all_axis_orders[order] @ np.diag(spacing)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    # What a NIfTI file can hold: float32 rows.
    affine = affine.astype(np.float32).astype(np.float64)
    ijk = rng.integers(-1000, 3000, (*shape, frames) if frames > 1 else shape).astype(np.int16)
    volume = io.read(save(tmp_path / "a.nii.gz", ijk, affine))

    index = rng.integers(0, shape)
    at = (*index, 0) if frames > 1 else tuple(index)
    k_j_i = (0, *index[::-1]) if frames > 1 else tuple(index[::-1])
    assert volume.voxels[k_j_i] == ijk[at]
    point_ras = affine[:3, :3] @ index + affine[:3, 3]
    np.testing.assert_allclose(index_to_lps(index, volume.affine), point_ras * [-1, -1, 1], atol=1e-9)
    letters = nib.aff2axcodes(affine)
    if np.abs(np.array(angles)).max() < 10:
        assert axis_directions(volume.affine) == letters

    io.write(tmp_path / "b.nii.gz", volume)
    again = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(again.affine, affine)
    np.testing.assert_array_equal(np.asanyarray(again.dataobj), ijk)
    assert again.get_data_dtype() == np.int16


@RELAXED
@given(order=st.integers(0, 47), seed=st.integers(0, 2**31))
def test_simpleitk_puts_every_voxel_at_the_same_place(tmp_path, all_axis_orders, order, seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.uniform(-30, 30, 3), degrees=True).as_matrix()
    affine[:3, :3] = turn @ all_axis_orders[order] @ np.diag(rng.uniform(0.5, 4, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    ijk = rng.integers(0, 1000, (3, 4, 5)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", ijk, affine)
    volume, other = io.read(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), volume.voxels)
    for index in ((0, 0, 0), (2, 0, 0), (0, 3, 0), (0, 0, 4), (1, 2, 3)):
        np.testing.assert_allclose(
            index_to_lps(index, volume.affine), other.TransformIndexToPhysicalPoint(index), atol=1e-3
        )


def test_what_we_write_is_where_simpleitk_sees_it(tmp_path, oblique_affine, ramp):
    volume = Volume(ramp, oblique_affine, "CT")
    io.write(tmp_path / "out.nii.gz", volume)
    other = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), ramp)
    np.testing.assert_allclose(
        other.TransformIndexToPhysicalPoint((5, 4, 3)), index_to_lps((5, 4, 3), oblique_affine), atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_dtype_and_values_survive(tmp_path, dtype, ramp):
    volume = Volume(ramp.astype(dtype), np.eye(4), "MR")
    io.write(tmp_path / "v.nii.gz", volume)
    again = io.read(tmp_path / "v.nii.gz")
    assert again.voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again.voxels, volume.voxels)


def test_mask_has_the_geometry_of_its_image_exactly(tmp_path, ramp):
    affine = np.array([[-1.1, 0.2, 0, 3], [0.1, 1.3, 0, -7.7], [0, 0, 2.2, 11.3], [0, 0, 0, 1]])
    image = save(tmp_path / "image.nii.gz", ramp.T, affine, sform=1, qform=0)
    volume = io.read(image)
    mask = volume.voxels > 60
    io.write(tmp_path / "mask.nii.gz", mask, like=volume)
    written, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(image)
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.shape == source.shape
    assert written.get_data_dtype() == np.uint8
    assert int(written.header["sform_code"]) == 1
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), (ramp > 60).T)


def test_mask_of_a_4d_study_is_3d_or_4d(tmp_path):
    study = Volume(np.zeros((3, 2, 4, 5), np.int16), np.eye(4), "MR")
    io.write(tmp_path / "m3.nii.gz", np.ones((2, 4, 5), bool), like=study)
    assert nib.load(tmp_path / "m3.nii.gz").shape == (5, 4, 2)
    io.write(tmp_path / "m4.nii.gz", np.ones((3, 2, 4, 5), bool), like=study)
    assert nib.load(tmp_path / "m4.nii.gz").shape == (5, 4, 2, 3)


def test_sheared_grid_is_kept_in_the_sform_alone(tmp_path, ramp):
    affine = np.eye(4)
    affine[1, 2] = 0.4
    io.write(tmp_path / "s.nii.gz", Volume(ramp, affine, "CT"))
    written = nib.load(tmp_path / "s.nii.gz")
    np.testing.assert_allclose(RAS_FROM_LPS @ written.affine, affine, atol=1e-7)
    assert int(written.header["qform_code"]) == 0


def test_any_affine_without_orientation_stays_unknown(tmp_path, ramp, oblique_affine):
    for affine in (np.diag([1.0, 2, 3, 1]), oblique_affine):
        volume = Volume(ramp, affine, orientation_known=False)
        io.write(tmp_path / "u.nii.gz", volume)
        header = nib.load(tmp_path / "u.nii.gz").header
        assert int(header["sform_code"]) == int(header["qform_code"]) == 0
        again = io.read(tmp_path / "u.nii.gz")
        assert not again.orientation_known
        np.testing.assert_allclose(again.spacing_kji, volume.spacing_kji, rtol=1e-6)


def test_unknown_orientation_stays_unknown(tmp_path, ramp):
    image = nib.Nifti1Image(ramp.T, None)
    image.header.set_zooms((0.5, 0.6, 2.0))
    nib.save(image, tmp_path / "u.nii.gz")
    volume = io.read(tmp_path / "u.nii.gz")
    assert not volume.orientation_known
    assert "left and right can't be told" in " ".join(volume.warnings)
    np.testing.assert_allclose(volume.spacing_kji, (2.0, 0.6, 0.5), rtol=1e-6)
    io.write(tmp_path / "m.nii.gz", ramp > 3, like=volume)
    written = nib.load(tmp_path / "m.nii.gz")
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 0
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "u.nii.gz").affine)


def test_qform_alone_is_used(tmp_path, ramp):
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    volume = io.read(save(tmp_path / "q.nii.gz", ramp.T, affine, sform=0, qform=1))
    assert volume.orientation_known
    np.testing.assert_allclose(volume.affine, RAS_FROM_LPS @ affine, atol=1e-6)


def test_sform_and_qform_that_disagree_are_named(tmp_path, ramp):
    image = nib.Nifti1Image(ramp.T, None)
    image.header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    image.header.set_qform(np.diag([-2.0, 2.0, 2.0, 1.0]), 1)
    nib.save(image, tmp_path / "d.nii.gz")
    volume = io.read(tmp_path / "d.nii.gz")
    np.testing.assert_array_equal(RAS_FROM_LPS @ volume.affine, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert any("sform and the qform" in warning and "20.0 mm" in warning for warning in volume.warnings)


def test_broken_sform_falls_back_to_the_qform(tmp_path, ramp):
    image = nib.Nifti1Image(ramp.T, None)
    image.header.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    image.header["srow_x"], image.header["sform_code"] = 0, 1
    nib.save(image, tmp_path / "b.nii.gz")
    volume = io.read(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(RAS_FROM_LPS @ volume.affine, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert any("sform" in warning and "qform is used" in warning for warning in volume.warnings)


@pytest.mark.parametrize(("unit", "millimetres"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0)])
def test_units_become_millimetres(tmp_path, ramp, unit, millimetres):
    image = nib.Nifti1Image(ramp.T, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "u.nii.gz")
    np.testing.assert_allclose(io.read(tmp_path / "u.nii.gz").spacing_kji, [2 * millimetres] * 3)


def test_slope_and_intercept_are_applied(tmp_path, ramp):
    image = nib.Nifti1Image(ramp.T, np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "s.nii.gz")
    # nibabel rescales when it saves; the file is what counts.
    volume = io.read(tmp_path / "s.nii.gz")
    np.testing.assert_allclose(volume.voxels, nib.load(tmp_path / "s.nii.gz").get_fdata().T, rtol=1e-6)
    assert volume.voxels.dtype == np.float32


@pytest.mark.parametrize("dimensions", [2, 3])
def test_flat_images_and_trailing_axes(tmp_path, ramp, dimensions):
    ijk = ramp.T[..., 0] if dimensions == 2 else ramp.T[..., np.newaxis, np.newaxis]
    nib.save(nib.Nifti1Image(ijk, np.eye(4)), tmp_path / "f.nii.gz")
    assert io.read(tmp_path / "f.nii.gz").voxels.ndim == 3


def test_big_endian_pair_and_nifti2(tmp_path, ramp):
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Pair(ramp.T, np.eye(4), header), tmp_path / "p.img")
    nib.save(nib.Nifti2Image(ramp.T, np.eye(4)), tmp_path / "two.nii")
    for name in ("p.img", "p.hdr", "two.nii"):
        voxels = io.read(tmp_path / name).voxels
        np.testing.assert_array_equal(voxels, ramp)
        assert voxels.dtype.isnative


def test_one_voxel_and_nan_are_readable(tmp_path):
    volume = io.read(save(tmp_path / "one.nii.gz", np.full((1, 1, 1), np.nan, np.float32), np.eye(4)))
    assert volume.shape_kji == (1, 1, 1)
    assert io.describe(volume)["window"] is None


def test_modality_comes_from_the_json_beside_the_image(tmp_path, ramp):
    path = save(tmp_path / "x.nii.gz", ramp.T, np.eye(4))
    (tmp_path / "x.json").write_text(json.dumps({"Modality": "CT"}))
    volume = io.read(path)
    assert volume.modality == "CT"
    assert volume.warnings == ()


@pytest.mark.parametrize(
    ("name", "modality", "sure"),
    [
        ("sub-01_T1w", "MR", True),
        ("sub-01_ses-2_angio", "MR", True),
        ("sub-01_ct", "CT", True),
        ("ct", "CT", True),
        ("chest_angio", "CT", False),
        ("brain_T1w", "CT", False),
        ("pet_to_ct", "CT", False),
    ],
)
def test_only_bids_names_say_the_modality(tmp_path, name, modality, sure):
    chest = np.random.default_rng(0).choice([-1000, -90, 40], (6, 7, 8)).astype(np.int16)
    volume = io.read(save(tmp_path / f"{name}.nii.gz", chest, np.eye(4)))
    assert volume.modality == modality
    assert ("taken as" in " ".join(volume.warnings)) is not sure


# Damaged and refused


def test_a_header_without_its_image_file_names_what_is_missing(tmp_path, ramp):
    nib.save(nib.Nifti1Pair(ramp.T, np.eye(4)), tmp_path / "p.img")
    (tmp_path / "p.img").unlink()
    assert "p.img" in refusal(tmp_path / "p.hdr")


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert str(path.parent) not in message
    return message


def test_text_renamed_is_refused(tmp_path):
    for name in ("t.nii.gz", "t.nii", "t.hdr"):
        (tmp_path / name).write_text("this is not an image " * 30)
        refusal(tmp_path / name)


def test_empty_file_is_refused(tmp_path):
    for name in ("e.nii.gz", "e.nii"):
        (tmp_path / name).write_bytes(b"")
        refusal(tmp_path / name)


def test_truncated_gzip_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "t.nii.gz", rng.integers(0, 30000, (30, 30, 30)).astype(np.int16), np.eye(4))
    whole = path.read_bytes()
    for size in (5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refusal(path)


def test_header_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path, ramp):
    import tracemalloc

    path = save(tmp_path / "h.nii", ramp.T, np.eye(4))
    data = bytearray(path.read_bytes())
    struct.pack_into("<4h", data, 40, 3, 30000, 30000, 30000)
    path.write_bytes(data)
    zipped = tmp_path / "h.nii.gz"
    zipped.write_bytes(gzip.compress(bytes(data)))
    for liar in (path, zipped):
        tracemalloc.start()
        message = refusal(liar)
        assert "cut short" in message
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


def test_gzip_that_lies_about_its_size_is_refused(tmp_path, ramp):
    path = save(tmp_path / "h.nii", ramp.T, np.eye(4))
    data = bytearray(path.read_bytes())
    struct.pack_into("<4h", data, 40, 3, 40, 40, 40)
    packed = bytearray(gzip.compress(bytes(data)))
    struct.pack_into("<I", packed, len(packed) - 4, 352 + 40**3 * 2)
    liar = tmp_path / "l.nii.gz"
    liar.write_bytes(packed)
    refusal(liar)


def test_gzip_in_several_members_is_read(tmp_path, ramp):
    whole = save(tmp_path / "w.nii", ramp.T, np.eye(4)).read_bytes()
    (tmp_path / "m.nii.gz").write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]))
    np.testing.assert_array_equal(io.read(tmp_path / "m.nii.gz").voxels, ramp)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_unusable_affine_is_refused(tmp_path, ramp, bad):
    image = nib.Nifti1Image(ramp.T, None)
    image.header["qform_code"], image.header["sform_code"] = 0, 1
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = bad
    image.to_filename(tmp_path / "a.nii")
    assert "not invertible" in refusal(tmp_path / "a.nii")


def test_colour_complex_and_five_dimensions_are_refused(tmp_path):
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colour" in refusal(save(tmp_path / "rgb.nii.gz", colour, np.eye(4)))
    assert "complex" in refusal(save(tmp_path / "c.nii.gz", np.zeros((3, 3, 3), np.complex64), np.eye(4)))
    assert "shape" in refusal(save(tmp_path / "v.nii.gz", np.zeros((3, 3, 3, 2, 3), np.float32), np.eye(4)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=12))
def test_a_damaged_header_gives_an_image_or_one_clear_line(tmp_path, ramp, flips):
    data = bytearray(save(tmp_path / "f.nii", ramp.T, np.eye(4)).read_bytes())
    for place, value in flips:
        data[place] = value
    (tmp_path / "f.nii").write_bytes(data)
    try:
        volume = io.read(tmp_path / "f.nii")
    except UnreadableImageError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert volume.voxels.size >= 1


# Writing


def test_a_failed_write_leaves_the_old_file(tmp_path, ramp, monkeypatch):
    target = tmp_path / "old.nii.gz"
    target.write_bytes(b"old")

    def fail(image: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", fail)
    with pytest.raises(ExportError, match="No space left"):
        io.write(target, Volume(ramp, np.eye(4), "CT"))
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.nii.gz"]


def test_write_refuses_what_it_cannot_do(tmp_path, ramp):
    volume = Volume(ramp, np.eye(4), "CT")
    with pytest.raises(ExportError, match="suffix"):
        io.write(tmp_path / "x.docx", volume)
    for pair in ("x.img", "x.hdr", "x.img.gz", "X.HDR"):
        # Two files can't be replaced as one.
        with pytest.raises(ExportError, match=r"use one of .nii.gz, .nii, .nrrd$"):
            io.write(tmp_path / pair, volume)
    with pytest.raises(ExportError, match="shape"):
        io.write(tmp_path / "x.nii.gz", np.ones((2, 2, 2), bool), like=volume)
    with pytest.raises(ExportError, match="like"):
        io.write(tmp_path / "x.nii.gz", np.ones((2, 2, 2), bool))
    with pytest.raises(ExportError, match="folder"):
        io.write(tmp_path / "missing" / "x.nii.gz", volume)
    assert list(tmp_path.iterdir()) == []
