"""DICOM series written slice by slice: order, geometry, values, series, odd stacks, damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.sequence import Sequence
from scipy.spatial.transform import Rotation

from napari_medreason import io
from napari_medreason.core.cautions import kind_of
from napari_medreason.core.geometry import axis_directions, index_to_lps
from napari_medreason.errors import CancelledError, MedReasonError, UnreadableImageError

RELAXED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def said(volume: object) -> str:
    return " ".join(volume.warnings)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "Secret" not in message
    assert "SECRET" not in message
    assert str(path.parent) not in message
    return message


# Order and geometry


@pytest.mark.parametrize("shuffle", range(4))
def test_slices_are_ordered_by_position_not_by_name_or_number(tmp_path, series_maker, ramp, shuffle):
    affine = np.diag([0.7, 0.9, 2.5, 1.0])
    series_maker(tmp_path, ramp, affine, shuffle=shuffle)
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.warnings == ()
    assert volume.modality == "CT"
    assert volume.calibrated
    assert volume.orientation_known


def test_slices_stored_from_head_to_foot_come_out_from_foot_to_head(tmp_path, series_maker, ramp):
    affine = np.diag([1.0, 1.0, -3.0, 1.0])
    series_maker(tmp_path, ramp, affine)
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp[::-1])
    assert axis_directions(volume.affine) == ("L", "P", "S")
    np.testing.assert_allclose(index_to_lps((0, 0, 3), volume.affine), (0, 0, 0), atol=1e-9)


@RELAXED
@given(order=st.integers(0, 47), angles=st.tuples(*[st.floats(-40, 40)] * 3), seed=st.integers(0, 9999))
def test_every_voxel_lies_where_it_was_written(
    tmp_path, series_maker, all_axis_orders, ramp, order, angles, seed
):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turn @ all_axis_orders[order] @ np.diag(rng.uniform(0.4, 4, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    folder = tmp_path / f"s{order}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    series_maker(folder, ramp, affine, shuffle=seed)
    volume = io.read(folder)
    for k, j, i in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        (at,) = np.argwhere(volume.voxels == ramp[k, j, i])
        np.testing.assert_allclose(
            index_to_lps(at[::-1], volume.affine), index_to_lps((i, j, k), affine), atol=1e-4
        )
    assert np.linalg.det(volume.affine) > 0
    assert volume.warnings == ()


def test_simpleitk_agrees_on_an_oblique_series(tmp_path, series_maker, oblique_affine, ramp):
    series_maker(tmp_path, ramp, oblique_affine, shuffle=3)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other, volume = reader.Execute(), io.read(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), volume.voxels)
    for index in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (2, 3, 1)):
        np.testing.assert_allclose(
            index_to_lps(index, volume.affine), other.TransformIndexToPhysicalPoint(index), atol=1e-4
        )


def test_slice_distance_comes_from_positions_not_from_thickness(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.diag([1, 1, 1.25, 1.0]))  # the files state a thickness of 99 mm
    assert io.read(tmp_path).spacing_kji == pytest.approx((1.25, 1, 1))


def test_one_slice_uses_the_stated_thickness_and_says_so(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path, ramp[:1], np.eye(4))
    volume = io.read(paths[0])
    assert volume.spacing_kji == (99.0, 1.0, 1.0)
    assert "one slice only" in said(volume)


def test_one_file_of_a_series_is_read_alone_and_the_others_are_named(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path, ramp, np.eye(4))
    volume = io.read(paths[2])
    np.testing.assert_array_equal(volume.voxels, ramp[2:3])
    assert "More of its series lies beside it" in said(volume)
    only = shutil.copy(paths[2], tmp_path.parent / "only.dcm")
    assert "beside it" not in said(io.read(only))


# Values


def test_each_slice_has_its_own_slope_and_intercept(tmp_path, series_maker, ramp):
    def change(data, k):
        data.RescaleSlope, data.RescaleIntercept = str(k + 1), str(-1000 + k)

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    volume = io.read(tmp_path)
    k = np.arange(4)[:, None, None]
    np.testing.assert_array_equal(volume.voxels, ramp * (k + 1) - 1000 + k)
    assert volume.voxels.dtype == np.int16


def test_fractional_slope_gives_float32(tmp_path, series_maker, ramp):
    def change(data, k):
        data.RescaleSlope = "0.25"

    series_maker(tmp_path, ramp, np.eye(4), modality="PT", change=change)
    volume = io.read(tmp_path)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, ramp * np.float32(0.25))


def test_values_beyond_int16_give_float32(tmp_path, series_maker):
    stored = np.array([[[0, 1], [65535, 40000]]] * 3, np.uint16)
    series_maker(tmp_path, stored, np.eye(4))
    volume = io.read(tmp_path)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, stored)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_signed_and_unsigned(tmp_path, series_maker, dtype):
    info = np.iinfo(dtype)
    stored = np.linspace(max(info.min, -2000), min(info.max, 3000), 24).astype(dtype).reshape(2, 3, 4)
    series_maker(tmp_path, stored, np.eye(4))
    np.testing.assert_array_equal(io.read(tmp_path).voxels, stored)


def test_unused_high_bits_are_ignored(tmp_path, series_maker):
    def change(data, k):
        data.BitsStored, data.HighBit = 12, 11

    stored = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    series_maker(tmp_path, stored | 0xF000, np.eye(4), change=change)
    np.testing.assert_array_equal(io.read(tmp_path).voxels, stored)


def test_monochrome1_is_inverted_where_values_are_not_physical(tmp_path, series_maker):
    def change(data, k):
        data.PhotometricInterpretation = "MONOCHROME1"

    stored = np.array([[[0, 55], [200, 255]]] * 2, np.uint8)
    series_maker(tmp_path / "cr", stored, np.eye(4), modality="CR", change=change)
    volume = io.read(tmp_path / "cr")
    np.testing.assert_array_equal(volume.voxels, 255 - stored.astype(int))
    assert "inverted" in said(volume)

    series_maker(tmp_path / "ct", stored, np.eye(4), modality="CT", change=change)
    volume = io.read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.voxels, stored)
    assert "MONOCHROME1" in said(volume)


# Several series and several grids


def test_the_largest_series_is_read_and_the_others_are_named(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp[:2], np.eye(4), series="1.2.3", number=1)
    series_maker(tmp_path / "b", ramp + 500, np.eye(4), series="1.2.4", number=2, modality="MR")
    volume = io.read(tmp_path)
    assert volume.series_uid == "1.2.4"
    assert "another series" in said(volume)
    chosen = io.read(tmp_path, series="1.2.3")
    np.testing.assert_array_equal(chosen.voxels, ramp[:2])
    assert "another series" not in said(chosen)
    assert "1.2.4" in refusal(tmp_path, series="9.9")

    listed = io.list_series(tmp_path)
    assert [(entry.uid, entry.modality, entry.number) for entry in listed] == [
        ("1.2.4", "MR", 2),
        ("1.2.3", "CT", 1),
    ]
    assert listed[0].shape_kji == (4, 5, 6)
    assert listed[0].slice_count == 4


def test_images_without_a_series_uid_can_be_chosen(tmp_path, series_maker, ramp):
    def change(data, k):
        del data.SeriesInstanceUID

    series_maker(tmp_path / "a", ramp[:2], np.eye(4), change=change)
    series_maker(tmp_path / "b", ramp[:2, :3] + 500, np.eye(4), change=change)
    series_maker(tmp_path / "c", ramp, np.eye(4), series="1.2.3")
    listed = io.list_series(tmp_path)
    assert listed[0].uid == "1.2.3"
    assert len({entry.uid for entry in listed} - {""}) == 3
    for entry in listed[1:]:
        chosen = io.read(tmp_path, series=entry.uid)
        assert chosen.shape_kji == entry.shape_kji
        # What is no UID is not passed off as one.
        assert chosen.series_uid == ""


def test_localiser_and_other_orientation_in_one_series_are_kept_apart(tmp_path, series_maker, ramp):
    sagittal = np.array([[0, 0, 2, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])

    def localiser(data, k):
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    series_maker(tmp_path / "a", ramp, np.eye(4), series="1.2.3")
    series_maker(tmp_path / "b", ramp[:3], sagittal, series="1.2.3")
    series_maker(tmp_path / "c", ramp[:2], np.eye(4), series="1.2.3", change=localiser)
    series_maker(tmp_path / "d", ramp[:1, :3], np.eye(4), series="1.2.3")
    assert {entry.uid: entry.shape_kji for entry in io.list_series(tmp_path)} == {
        "1.2.3": (4, 5, 6),
        "1.2.3#2": (3, 5, 6),
        "1.2.3#3": (2, 5, 6),
        "1.2.3#4": (1, 3, 6),
    }
    np.testing.assert_array_equal(io.read(tmp_path).voxels, ramp)
    second = io.read(tmp_path, series="1.2.3#2")
    assert axis_directions(second.affine) == ("P", "I", "R")


def test_repeats_in_time_become_frames(tmp_path, series_maker, ramp):
    for frame in range(3):

        def change(data, k, frame=frame):
            data.TemporalPositionIdentifier = frame + 1

        # Written last to first: only the temporal position says which comes first.
        series_maker(
            tmp_path / f"{2 - frame}",
            ramp + 1000 * frame,
            np.eye(4),
            series="1.2.3",
            change=change,
            modality="MR",
        )
    volume = io.read(tmp_path)
    assert volume.voxels.shape == (3, 4, 5, 6)
    for frame in range(3):
        np.testing.assert_array_equal(volume.voxels[frame], ramp + 1000 * frame)
    assert io.list_series(tmp_path)[0].frame_count == 3


def test_magnitude_and_phase_are_two_grids(tmp_path, series_maker, ramp):
    for letter in "MP":

        def change(data, k, letter=letter):
            data.ImageType = ["ORIGINAL", "PRIMARY", letter, "ND"]

        series_maker(tmp_path / letter, ramp, np.eye(4), series="1.2.3", modality="MR", change=change)
    assert [entry.uid for entry in io.list_series(tmp_path)] == ["1.2.3", "1.2.3#2"]


# Odd stacks: a warning that says what it means


def test_copies_are_used_once(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path / "a", ramp, np.eye(4))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert "4 images are there twice" in said(volume)
    assert len(paths) == 4
    for path in paths[1:]:
        path.unlink()
    assert "1 image is there twice" in said(io.read(tmp_path))


def test_slices_with_one_and_the_same_instance_uid_are_no_copies(tmp_path, series_maker, ramp):
    def change(data, k):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    np.testing.assert_array_equal(io.read(tmp_path).voxels, ramp)


def test_frames_in_time_with_one_and_the_same_instance_uid_are_no_copies(tmp_path, series_maker, ramp):
    for frame in range(3):

        def change(data, k, frame=frame):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
            data.TemporalPositionIdentifier = frame + 1

        folder = tmp_path / str(frame)
        series_maker(folder, ramp + 1000 * frame, np.eye(4), series="1.2.3", modality="MR", change=change)
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, [ramp, ramp + 1000, ramp + 2000])
    assert volume.warnings == ()


def test_slices_with_one_instance_uid_and_no_position_are_no_copies(tmp_path, series_maker, ramp):
    def change(data, k):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        data.InstanceNumber = k + 1
        del data.ImagePositionPatient

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert "twice" not in said(volume)


def test_a_missing_slice_is_named_with_the_error_it_causes(tmp_path, series_maker):
    stored = np.arange(5 * 4, dtype=np.int16).reshape(5, 2, 2)
    series_maker(tmp_path, stored, np.diag([1, 1, 2, 1.0]), positions=[0, 1, 2, 4, 5])
    volume = io.read(tmp_path)
    assert "1 slice seems to be missing" in said(volume)
    # Places 0, 2, 4, 8 and 10 mm; the best fit is -0.4 + 2.6 k, so slice 2 is 0.8 mm off.
    assert "up to 0.8 mm" in said(volume)
    np.testing.assert_allclose(volume.affine[:3, 2:], [[0, 0], [0, 0], [2.6, -0.4]], atol=1e-9)


def test_uneven_spacing_is_named(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.diag([1, 1, 2, 1.0]), positions=[0, 1, 2.3, 3.1])
    assert "not evenly spaced (steps from 1.60 to 2.60 mm)" in said(io.read(tmp_path))


def shifted(affine, *, x=0.0, z=0.0):
    moved = affine.copy()
    moved[:3, 3] += (x, 0, z)
    return moved


@pytest.mark.parametrize("z", [0.0, 4.0, 40.0])
def test_stacks_side_by_side_are_two_grids(tmp_path, series_maker, ramp, z):
    series_maker(tmp_path / "a", ramp, np.eye(4), series="1.2.3")
    series_maker(tmp_path / "b", ramp[:3] + 500, shifted(np.eye(4), x=200, z=z), series="1.2.3")
    one, two = (io.read(tmp_path, series=uid) for uid in ("1.2.3", "1.2.3#2"))
    np.testing.assert_array_equal(one.voxels, ramp)
    np.testing.assert_array_equal(two.voxels, ramp[:3] + 500)
    np.testing.assert_allclose(two.affine[:3, 3], (200, 0, z))
    assert [kind_of(text) for text in (*one.warnings, *two.warnings)] == ["mixed", "mixed"]


def test_images_shifted_within_their_planes_are_named(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp[:3], np.eye(4), series="1.2.3")
    series_maker(tmp_path / "b", ramp[3:], shifted(np.eye(4), x=30, z=3), series="1.2.3")
    assert "shifted against each other within their planes" in said(io.read(tmp_path))


def test_widely_spaced_tilted_slices_stay_one_grid(tmp_path, series_maker, ramp):
    affine = np.diag([1.0, 1.0, 40.0, 1.0])
    affine[1, 2] = 40 * np.tan(np.radians(20))
    series_maker(tmp_path, ramp, affine)
    np.testing.assert_allclose(io.read(tmp_path).affine, affine, atol=1e-6)


def test_rounded_positions_are_no_gap(tmp_path, series_maker):
    stored = np.zeros((40, 2, 2), np.int16)
    exact = np.arange(40) * 0.6250123
    series_maker(tmp_path, stored, np.eye(4), positions=[round(value, 2) for value in exact])
    assert io.read(tmp_path).warnings == ()


def test_gantry_tilt_keeps_positions_right(tmp_path, series_maker, ramp):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 2 * np.tan(np.radians(15))
    series_maker(tmp_path, ramp, affine)
    volume = io.read(tmp_path)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert "15.0 degrees" in said(volume)


def test_an_incomplete_last_repeat_is_left_out(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "0", ramp, np.eye(4), series="1.2.3")
    series_maker(tmp_path / "1", ramp[:2], np.eye(4), series="1.2.3")
    volume = io.read(tmp_path)
    assert volume.voxels.shape == (4, 5, 6)
    assert "2 further images are left out" in said(volume)


def test_no_position_means_no_side_words(tmp_path, series_maker, ramp):
    def change(data, k):
        del data.ImagePositionPatient
        data.InstanceNumber = 10 - k

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    volume = io.read(tmp_path)
    assert not volume.orientation_known
    np.testing.assert_array_equal(volume.voxels, ramp[::-1])
    assert "left and right can't be told" in said(volume)
    assert io.describe(volume)["orientation"] is None


def test_no_pixel_size_means_no_millimetres(tmp_path, series_maker, ramp):
    def change(data, k):
        del data.PixelSpacing

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    volume = io.read(tmp_path)
    assert not volume.calibrated
    assert "can't be trusted" in said(volume)


@pytest.mark.parametrize("orientation", [["0"] * 6, ["1", "0", "0", "1", "0", "0"], ["1", "0", "0"]])
def test_a_broken_orientation_counts_as_none(tmp_path, series_maker, ramp, orientation):
    def change(data, k):
        data.ImageOrientationPatient = orientation

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    assert not io.read(tmp_path).orientation_known


# Refused, damaged, cancelled


def test_missing_and_empty(tmp_path):
    refusal(tmp_path / "nothing.dcm")
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM image" in refusal(tmp_path / "empty")


def test_colour_is_refused_and_left_out_beside_grey(tmp_path, series_maker, ramp):
    def colour(data, k):
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated = data.BitsStored = 8
        data.PixelData = bytes(data.Rows * data.Columns * 3)

    paths = series_maker(tmp_path / "a", ramp, np.eye(4), change=colour)
    assert "colour" in refusal(paths[0])
    assert "colour image (4 files)" in refusal(tmp_path)
    series_maker(tmp_path / "b", ramp[:2], np.eye(4))
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp[:2])
    assert "colour image (4 files)" in said(volume)


def test_other_files_in_the_folder_do_not_matter(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.eye(4))
    (tmp_path / "README").write_text("notes")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert volume.warnings == ()


def test_truncated_pixels_are_refused(tmp_path, series_maker, ramp):
    paths = series_maker(tmp_path, ramp, np.eye(4))
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    message = refusal(tmp_path)
    assert paths[1].name in message
    assert "cut short" in message


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_random_bytes_behind_a_dicm_mark_give_one_clear_line(tmp_path, data):
    path = tmp_path / "random.dcm"
    path.write_bytes(bytes(128) + b"DICM" + data)
    refusal(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=8),
    keep=st.integers(0, 1400),
)
@example(flips=[(136, 65)], keep=140)  # a value in the file's own header that only fails when it is looked at
def test_a_damaged_file_gives_an_image_or_one_clear_line(tmp_path, series_maker, flips, keep):
    whole = tmp_path / "whole.bin"
    if not whole.exists():
        stored = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
        series_maker(tmp_path / "source", stored, np.eye(4))[0].rename(whole)
    data = bytearray(whole.read_bytes()[:keep])
    for place, value in flips:
        if place < len(data):
            data[place] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(data)
    try:
        volume = io.read(path)
    except MedReasonError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert volume.voxels.size > 0


def test_modality_lut_is_not_passed_off_as_calibrated(tmp_path, series_maker, ramp):
    from pydicom.dataset import Dataset

    def change(data, k):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [2, 0, 16])
        item.add_new("ModalityLUTType", "LO", "US")
        item.add_new("LUTData", "OW", bytes(4))
        data.ModalityLUTSequence = Sequence([item])
        del data.RescaleSlope, data.RescaleIntercept

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    volume = io.read(tmp_path)
    assert not volume.calibrated
    assert "look-up table" in said(volume)


def test_progress_counts_and_cancel_stops(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.eye(4))
    seen: list[tuple[int, int]] = []
    io.read(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert all(0 <= done <= total for done, total in seen)
    with pytest.raises(CancelledError):
        io.read(tmp_path, cancelled=lambda: len(seen) > 0)
    asked = iter([False] * 7 + [True] * 1000)  # while slices are decoded
    with pytest.raises(CancelledError):
        io.read(tmp_path, cancelled=lambda: next(asked))


def test_memory_stays_below_twice_the_result(tmp_path, series_maker):
    import tracemalloc

    stored = np.random.default_rng(0).integers(0, 2000, (60, 128, 128)).astype(np.int16)
    series_maker(tmp_path, stored, np.eye(4))
    io.read(tmp_path)  # imports and caches are not what is measured
    tracemalloc.start()
    volume = io.read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(volume.voxels, stored)
    assert peak < 2.2 * stored.nbytes


def test_ct_without_rescale_is_not_passed_off_as_hounsfield(tmp_path, series_maker, ramp):
    def change(data, k):
        del data.RescaleSlope, data.RescaleIntercept

    series_maker(tmp_path / "raw", ramp.astype(np.uint16), np.eye(4), change=change)
    volume = io.read(tmp_path / "raw")
    assert not volume.calibrated
    assert "Hounsfield" in said(volume)
    series_maker(tmp_path / "signed", ramp - 1000, np.eye(4), change=change)
    assert io.read(tmp_path / "signed").calibrated


@pytest.mark.parametrize("odd", [0, 2, 3])
def test_one_odd_image_makes_the_values_doubtful(tmp_path, series_maker, ramp, odd):
    def raw(data, k):
        if k == odd:
            del data.RescaleSlope, data.RescaleIntercept

    def inverted(data, k):
        data.PhotometricInterpretation = f"MONOCHROME{1 if k == odd else 2}"

    series_maker(tmp_path / "raw", ramp.astype(np.uint16), np.eye(4), change=raw)
    volume = io.read(tmp_path / "raw")
    assert not volume.calibrated
    assert "Hounsfield" in said(volume)
    series_maker(tmp_path / "inverted", ramp, np.eye(4), modality="MR", change=inverted)
    assert "MONOCHROME1" in said(io.read(tmp_path / "inverted"))


def test_diffusion_repeats_are_told_apart_where_numbers_do_not_help(tmp_path, series_maker, ramp):
    for weighting in (0, 1000):

        def change(data, k, weighting=weighting):
            data.DiffusionBValue = float(weighting)
            data.InstanceNumber = 1 + k + (4 if (weighting == 0) == (k % 2 == 0) else 0)

        folder = tmp_path / str(weighting)
        series_maker(folder, ramp + weighting, np.eye(4), series="1.2.3", modality="MR", change=change)
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, np.stack([ramp, ramp + 1000]))
    assert volume.warnings == ()


def test_frames_that_cannot_be_told_apart_are_named(tmp_path, series_maker, ramp):
    for frame in range(2):

        def change(data, k, frame=frame):
            data.DiffusionBValue = float(1000 * frame + 10 * k)

        folder = tmp_path / str(frame)
        series_maker(folder, ramp, np.eye(4), series="1.2.3", modality="MR", change=change)
    assert "one frame may mix them" in said(io.read(tmp_path))


def test_an_absurd_number_of_frames_takes_no_memory(tmp_path, series_maker, ramp):
    def change(data, k):
        data.NumberOfFrames = 2_000_000_000

    paths = series_maker(tmp_path, ramp[:1], np.eye(4), change=change)
    assert "damaged" in refusal(paths[0])


def test_many_frames_at_one_stated_position_are_taken_as_time(tmp_path, series_maker, ramp, set_pixels):
    def change(data, k):
        set_pixels(data, ramp)
        data.NumberOfFrames = 4

    path = series_maker(tmp_path, ramp[:1], np.eye(4), modality="XA", change=change)[0]
    volume = io.read(path)
    assert volume.voxels.shape == (4, 1, 5, 6)
    assert not volume.orientation_known
    assert "frames in time" in said(volume)
