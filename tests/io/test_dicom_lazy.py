"""Slices decoded on first use: the same study as when all is read at once, and nothing decoded in vain."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import dask.array
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import EnhancedCTImageStorage, RLELossless

from napari_medreason import io, layers
from napari_medreason.core.plane import AXES, cut, slice_count
from napari_medreason.core.volume import Window, default_window
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io import dicom_lazy
from napari_medreason_sample_data import brain_file, ct_folder

WINDOW = Window(-160, 240)
RELAXED = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_lazy(volume) -> bool:
    return isinstance(volume.voxels, dask.array.Array)


def assert_same(path: Path, **options: object) -> None:
    """Lazily opened and read at once, a study agrees in every voxel, word and number."""
    lazy, whole = io.read_lazily(path, **options), io.read(path, **options)
    assert lazy.voxels.dtype == whole.voxels.dtype
    assert lazy.voxels.shape == whole.voxels.shape
    np.testing.assert_array_equal(np.asarray(lazy.voxels), whole.voxels)
    np.testing.assert_array_equal(lazy.affine, whole.affine)
    plain = np.zeros((1, 1, 1))
    lazy_rest, whole_rest = (
        replace(volume, voxels=plain, affine=np.eye(4)).__dict__ for volume in (lazy, whole)
    )
    assert {**lazy_rest, "voxels": 0, "affine": 0} == {**whole_rest, "voxels": 0, "affine": 0}
    assert default_window(lazy) == default_window(whole)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded, as it happens."""
    names: list[str] = []
    decode = dicom_lazy.decode_task

    def spy(task, *arguments):
        names.append(task.path.name)
        decode(task, *arguments)

    monkeypatch.setattr(dicom_lazy, "decode_task", spy)
    return names


@pytest.fixture
def long_series(tmp_path, series_maker):
    """Nine oblong slices in shuffled files, their values, and their files from foot to head."""
    stored = np.random.default_rng(0).integers(-1000, 2000, (9, 5, 6)).astype(np.int16)
    paths = series_maker(tmp_path / "study", stored, np.diag([0.7, 0.9, 2.5, 1.0]), shuffle=3)
    return tmp_path / "study", stored, paths


# The same study


def test_the_sample_is_the_same():
    assert is_lazy(io.read_lazily(ct_folder()))
    assert_same(Path(ct_folder()))


@RELAXED
@given(order=st.integers(0, 47), bits=st.integers(8, 16), signed=st.booleans(), seed=st.integers(0, 9999))
def test_any_orientation_width_and_scale_is_the_same(
    tmp_path, series_maker, all_axis_orders, order, bits, signed, seed
):
    rng = np.random.default_rng(seed)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    stored = rng.integers(low, high, (5, 3, 4)).astype(np.int16 if signed else np.uint16)
    slopes = rng.choice([1.0, 2.0, 0.25], 5) if seed % 2 else np.ones(5)

    def change(data, k):
        data.BitsStored, data.HighBit = bits, bits - 1
        data.PhotometricInterpretation = f"MONOCHROME{1 + seed % 2}"
        data.RescaleSlope, data.RescaleIntercept = str(slopes[k]), str(rng.integers(-2000, 2000))

    affine = np.eye(4)
    affine[:3, :3] = all_axis_orders[order] @ np.diag([0.7, 0.9, 2.5])
    folder = tmp_path / f"{order}-{bits}-{signed}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    series_maker(folder, stored, affine, shuffle=seed, change=change)
    lazy, whole = io.read_lazily(folder), io.read(folder)
    assert is_lazy(lazy)
    np.testing.assert_array_equal(lazy.affine, whole.affine)
    assert lazy.warnings == whole.warnings
    if whole.voxels.dtype != lazy.voxels.dtype:
        # only where the slices looked at while opening fit int16 and another one does not
        with pytest.raises(UnreadableImageError, match="far beyond"):
            np.asarray(lazy.voxels)
        return
    np.testing.assert_array_equal(np.asarray(lazy.voxels), whole.voxels)


def test_a_slope_for_each_slice(tmp_path, series_maker, ramp):
    def change(data, k):
        data.RescaleSlope, data.RescaleIntercept = str(k + 1), str(-1000 + k)

    series_maker(tmp_path, ramp, np.eye(4), change=change)
    assert_same(tmp_path)
    assert io.read_lazily(tmp_path).voxels.dtype == np.int16


def test_a_fractional_slope_gives_float32(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.eye(4), change=lambda data, k: setattr(data, "RescaleSlope", "0.25"))
    assert_same(tmp_path)
    assert io.read_lazily(tmp_path).voxels.dtype == np.float32


def test_frames_in_time(tmp_path, series_maker, ramp):
    for frame in range(3):

        def change(data, k, frame=frame):
            data.TemporalPositionIdentifier = frame + 1

        series_maker(tmp_path / str(2 - frame), ramp + 1000 * frame, np.eye(4), series="1.2.3", change=change)
    lazy = io.read_lazily(tmp_path)
    assert is_lazy(lazy)
    assert lazy.frame_count == 3
    assert_same(tmp_path)
    np.testing.assert_array_equal(cut(lazy.frame(2), "axial", 1, WINDOW).image, ramp[1] + 2000)


@pytest.fixture
def enhanced(tmp_path, ramp, dicom_file, set_pixels):
    """A CT in one file, frames from head to foot."""
    data = dicom_file(tmp_path / "enhanced.dcm", EnhancedCTImageStorage)
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "CT", "1.2.3", 4
    set_pixels(data, ramp)
    data.NumberOfFrames = len(ramp)
    shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.9, 0.7], 9
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -1024, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [values]
    own = []
    for k in range(len(ramp)):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, -3 * k]
        frame.PlanePositionSequence = [position]
        own.append(frame)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], own
    data.save_as(tmp_path / "enhanced.dcm")
    return tmp_path / "enhanced.dcm"


def test_frames_of_one_file(enhanced, ramp):
    lazy = io.read_lazily(enhanced)
    assert is_lazy(lazy)
    np.testing.assert_array_equal(np.asarray(lazy.voxels), ramp[::-1] * 2 - 1024)
    assert_same(enhanced)


def test_a_damaged_frame_leaves_the_other_frames_of_its_file(enhanced, ramp):
    data = dcmread(enhanced)
    data.compress(RLELossless, generate_instance_uid=False)
    frames = list(generate_frames(data.PixelData, number_of_frames=4))
    frames[2] = bytes(10)  # frames are stored from head to foot, so this is k = 1
    data.PixelData = encapsulate(frames)
    data.save_as(enhanced)
    lazy = io.read_lazily(enhanced)
    with pytest.raises(UnreadableImageError, match="can't be decoded"):
        cut(lazy, "axial", 1, WINDOW)
    for k in (0, 2, 3):
        np.testing.assert_array_equal(cut(lazy, "axial", k, WINDOW).image, ramp[3 - k] * 2 - 1024)


def test_compressed_slices(long_series):
    folder, stored, paths = long_series
    for path in paths:
        data = dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    assert_same(folder)
    np.testing.assert_array_equal(np.asarray(io.read_lazily(folder).voxels), stored)


def test_the_series_asked_for(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "a", ramp, np.eye(4), series="1.2.3.1")
    series_maker(tmp_path / "b", ramp[:2], np.eye(4), series="1.2.3.2")
    assert_same(tmp_path)
    assert "another series" in " ".join(io.read_lazily(tmp_path).warnings)
    assert_same(tmp_path, series="1.2.3.2")
    assert io.read_lazily(tmp_path, series="1.2.3.2").shape_kji[0] == 2


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_the_window_of_uncalibrated_values_and_of_mr_is_that_of_all_slices(
    tmp_path, series_maker, ramp, modality
):
    def change(data, k):
        if modality == "CT":
            del data.RescaleSlope, data.RescaleIntercept

    series_maker(tmp_path, ramp.astype(np.uint16), np.eye(4), modality=modality, change=change)
    assert not is_lazy(io.read_lazily(tmp_path))
    assert_same(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_formats_are_read_whole(tmp_path, long_series):
    assert not is_lazy(io.read_lazily(brain_file()))
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", long_series[0])
    np.testing.assert_array_equal(io.read_lazily(archive).voxels, long_series[1])
    with pytest.raises(UnreadableImageError, match="no series"):
        io.read_lazily(brain_file(), series="1.2.3")


@pytest.mark.data
@pytest.mark.parametrize("name", ["totalsegmentator/example_ct_dicom.zip"])
def test_a_real_series_is_the_same(real_data, tmp_path, name):
    shutil.unpack_archive(real_data / "conformance" / name, tmp_path)
    assert is_lazy(io.read_lazily(tmp_path))
    assert_same(tmp_path)


# What is decoded when


def test_opening_decodes_the_first_middle_and_last_slice(long_series, decoded):
    folder, _, paths = long_series
    layers.image_layer(io.read_lazily(folder))
    assert sorted(decoded) == sorted(paths[k].name for k in (0, 4, 8))


def test_an_axial_plane_decodes_its_slice_once(long_series, decoded):
    folder, stored, paths = long_series
    volume = io.read_lazily(folder)
    decoded.clear()
    for _ in range(2):
        np.testing.assert_array_equal(cut(volume, "axial", 2, WINDOW).image, stored[2])
    assert decoded == [paths[2].name]


@pytest.mark.parametrize("axis", AXES)
def test_every_plane_is_that_of_the_study_read_at_once(long_series, axis):
    lazy, whole = io.read_lazily(long_series[0]), io.read(long_series[0])
    for index in range(slice_count(whole, axis)):
        one, other = cut(lazy, axis, index, WINDOW), cut(whole, axis, index, WINDOW)
        np.testing.assert_array_equal(one.image, other.image)
        assert isinstance(one.image, np.ndarray)
        assert one.image.flags.c_contiguous
        assert one.grid == other.grid


def test_a_plane_of_the_layer_decodes_its_slice_alone(long_series, decoded):
    folder, stored, paths = long_series
    ((data, attributes, _),) = [layers.image_layer(io.read_lazily(folder))]
    study = attributes["metadata"][layers.METADATA_KEY]["study"]
    decoded.clear()
    plane = layers.plane_of(data, study, layers.DisplayedPlane("axial", 6), window=WINDOW)
    assert decoded == [paths[6].name]
    np.testing.assert_array_equal(plane.image, stored[6])
    coronal = layers.plane_of(data, study, layers.DisplayedPlane("coronal", 1), window=WINDOW)
    np.testing.assert_array_equal(coronal.image, stored[::-1, 1])
    assert len(decoded) == len(set(decoded)) == 6


def test_changing_what_was_taken_changes_no_slice(long_series):
    volume = io.read_lazily(long_series[0])
    np.asarray(volume.voxels[3])[:] = 0
    np.testing.assert_array_equal(np.asarray(volume.voxels), long_series[1])


def test_a_written_study_holds_every_slice(long_series, tmp_path):
    io.write(tmp_path / "study.nii.gz", io.read_lazily(long_series[0]))
    np.testing.assert_array_equal(io.read(tmp_path / "study.nii.gz").voxels, long_series[1])


# Faults


def damage(path: Path) -> None:
    data = dcmread(path)
    data.PixelData = data.PixelData[:10]
    data.save_as(path)


def said(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert "Secret" not in message
    return message


@pytest.mark.parametrize("k", [0, 4, 8])
def test_a_damaged_first_middle_or_last_slice_is_refused_at_opening(long_series, k):
    folder, _, paths = long_series
    damage(paths[k])
    with pytest.raises(UnreadableImageError, match="can't be decoded") as caught:
        io.read_lazily(folder)
    assert paths[k].name in said(caught)
    assert str(folder) not in said(caught)


def test_another_damaged_slice_is_refused_when_it_is_used_and_the_others_stay(long_series):
    folder, stored, paths = long_series
    damage(paths[2])
    volume = io.read_lazily(folder)
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match="can't be decoded") as caught:
            cut(volume, "axial", 2, WINDOW)
        assert paths[2].name in said(caught)
    np.testing.assert_array_equal(cut(volume, "axial", 3, WINDOW).image, stored[3])


def test_a_slice_whose_file_is_gone_is_refused_and_comes_back_with_the_file(long_series):
    folder, stored, paths = long_series
    volume = io.read_lazily(folder)
    moved = paths[2].rename(folder.parent / "moved.dcm")
    with pytest.raises(UnreadableImageError, match="no longer where it was") as caught:
        cut(volume, "axial", 2, WINDOW)
    assert str(folder) not in said(caught)
    moved.rename(paths[2])
    np.testing.assert_array_equal(cut(volume, "axial", 2, WINDOW).image, stored[2])


def test_values_that_int16_cannot_hold_are_refused_where_they_could_not_be_foreseen(tmp_path, series_maker):
    stored = np.zeros((9, 5, 6), np.uint16)
    stored[2] = 40_000
    series_maker(tmp_path, stored, np.eye(4))
    volume = io.read_lazily(tmp_path)
    with pytest.raises(UnreadableImageError, match="Open study") as caught:
        np.asarray(volume.voxels[2])
    said(caught)
    assert io.read(tmp_path).voxels.max() == 40_000


def test_values_that_int16_cannot_hold_give_float32_where_a_looked_at_slice_has_them(tmp_path, series_maker):
    stored = np.zeros((9, 5, 6), np.uint16)
    stored[4] = 40_000
    series_maker(tmp_path, stored, np.eye(4))
    assert_same(tmp_path)
    assert io.read_lazily(tmp_path).voxels.dtype == np.float32
