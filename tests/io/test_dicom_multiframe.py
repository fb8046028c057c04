"""Enhanced (multi-frame) CT and MR: shared and per-frame groups, order, repeats, values."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.errors import UnreadableImageError


def group(**groups: dict[str, object]) -> Dataset:
    """One functional group item: keyword of a sequence -> attributes of its only item."""
    holder = Dataset()
    for keyword, attributes in groups.items():
        item = Dataset()
        for name, value in attributes.items():
            setattr(item, name, value)
        setattr(holder, keyword, Sequence([item]))
    return holder


@pytest.fixture
def enhanced(tmp_path, dicom_file, set_pixels):
    def make(frames: np.ndarray, shared: Dataset, own: list[Dataset]):
        data = dicom_file(tmp_path / "enhanced.dcm", EnhancedMRImageStorage)
        data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "MR", "1.2.3", 4
        data.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
        set_pixels(data, frames)
        data.NumberOfFrames = len(frames)
        data.SharedFunctionalGroupsSequence = Sequence([shared])
        data.PerFrameFunctionalGroupsSequence = Sequence(own)
        data.save_as(tmp_path / "enhanced.dcm")
        return tmp_path / "enhanced.dcm"

    return make


def place(affine: np.ndarray, k: float, **more: dict[str, object]) -> Dataset:
    at = affine[:3, 3] + affine[:3, 2] * k
    position = {"ImagePositionPatient": [f"{value:.10f}"[:16] for value in at]}
    return group(PlanePositionSequence=position, **more)


def common(affine: np.ndarray) -> dict[str, dict[str, object]]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    unit = (affine[:3, :3] / spacing).T.reshape(-1)
    return {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [f"{v:.10f}"[:16] for v in unit[:6]]},
        "PixelMeasuresSequence": {
            "PixelSpacing": [float(spacing[1]), float(spacing[0])],
            "SliceThickness": 9,
        },
    }


def test_frames_are_ordered_by_position(enhanced, oblique_affine, ramp):
    order = [2, 0, 3, 1]
    own = [place(oblique_affine, k) for k in order]
    volume = io.read(enhanced(ramp[order], group(**common(oblique_affine)), own))
    np.testing.assert_array_equal(volume.voxels, ramp)
    np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-6)
    np.testing.assert_allclose(
        index_to_lps((5, 4, 3), volume.affine), index_to_lps((5, 4, 3), oblique_affine), atol=1e-6
    )
    assert volume.warnings == ()
    assert volume.modality == "MR"


def test_the_own_group_wins_over_the_shared_one(enhanced, ramp):
    shared = group(
        **common(np.eye(4)), PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": 0}
    )
    scale = {"RescaleSlope": 3, "RescaleIntercept": -5}
    own = [
        place(np.eye(4), k, **({"PixelValueTransformationSequence": scale} if k == 2 else {}))
        for k in range(4)
    ]
    expected = ramp.copy()
    expected[2] = ramp[2] * 3 - 5
    np.testing.assert_array_equal(io.read(enhanced(ramp, shared, own)).voxels, expected)


def test_temporal_positions_become_frames(enhanced, ramp):
    own, images = [], []
    for k in range(4):
        for time in (2, 1):
            own.append(place(np.eye(4), k, FrameContentSequence={"TemporalPositionIndex": time}))
            images.append(ramp[k] + 1000 * time)
    volume = io.read(enhanced(np.array(images), group(**common(np.eye(4))), own))
    np.testing.assert_array_equal(volume.voxels, np.stack([ramp + 1000, ramp + 2000]))
    assert volume.warnings == ()


def test_echoes_become_frames_in_order_of_echo_time(enhanced, ramp):
    own, images = [], []
    for echo in (30.0, 10.0):
        for k in range(4):
            own.append(place(np.eye(4), k, MREchoSequence={"EffectiveEchoTime": echo}))
            images.append(ramp[k] + int(echo))
    volume = io.read(enhanced(np.array(images, np.int16), group(**common(np.eye(4))), own))
    np.testing.assert_array_equal(volume.voxels, np.stack([ramp + 10, ramp + 30]))


def test_magnitude_and_phase_frames_are_two_grids(enhanced, ramp):
    own, images = [], []
    for component in ("MAGNITUDE", "PHASE"):
        for k in range(4):
            kind = {"ComplexImageComponent": component, "FrameType": ["ORIGINAL", "PRIMARY", "T1", "NONE"]}
            own.append(place(np.eye(4), k, MRImageFrameTypeSequence=kind))
            images.append(ramp[k])
    path = enhanced(np.array(images), group(**common(np.eye(4))), own)
    assert [entry.uid for entry in io.list_series(path)] == ["1.2.3", "1.2.3#2"]


def test_frames_without_position_are_time(tmp_path, dicom_file, set_pixels, ramp):
    data = dicom_file(tmp_path / "sc.dcm", MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    data.Modality, data.SeriesInstanceUID = "US", "1.2.9"
    set_pixels(data, ramp.astype(np.uint16))
    data.NumberOfFrames = 4
    data.save_as(tmp_path / "sc.dcm")
    volume = io.read(tmp_path / "sc.dcm")
    assert volume.voxels.shape == (4, 1, 5, 6)
    assert not volume.orientation_known
    assert any("frames in time" in warning for warning in volume.warnings)


def test_a_frame_count_that_does_not_fit_is_refused(enhanced, ramp):
    path = enhanced(ramp, group(**common(np.eye(4))), [place(np.eye(4), k) for k in range(3)])
    with pytest.raises(UnreadableImageError, match="damaged"):
        io.read(path)


def with_dimensions(pointers: list[str]) -> Sequence:
    items = []
    for keyword in pointers:
        item = Dataset()
        item.DimensionIndexPointer = tag_for_keyword(keyword)
        items.append(item)
    return Sequence(items)


@pytest.mark.parametrize("seed", range(3))
def test_several_dimensions_come_apart_whatever_the_order_of_frames(enhanced, ramp, seed):
    """Two times, two directions of diffusion at one b-value, and four slices, all shuffled."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    every = [(time, direction, k) for time in (1, 2) for direction in (1, 2) for k in range(4)]
    order = np.random.default_rng(seed).permutation(len(every))
    own, frames, weighted = [], [], {"DiffusionBValue": 700.0}
    for time, direction, k in (every[n] for n in order):
        indices = {"DimensionIndexValues": [k + 1, time, direction], "TemporalPositionIndex": time}
        own.append(place(affine, k, FrameContentSequence=indices, MRDiffusionSequence=weighted))
        frames.append(ramp[k] + 1000 * time + 200 * direction)
    path = enhanced(np.stack(frames), group(**common(affine)), own)
    data = pydicom.dcmread(path)
    data.DimensionIndexSequence = with_dimensions(
        ["InStackPositionNumber", "TemporalPositionIndex", "DiffusionGradientOrientation"]
    )
    data.save_as(path)
    volume = io.read(path)
    expected = [ramp + 1000 * time + 200 * direction for time in (1, 2) for direction in (1, 2)]
    np.testing.assert_array_equal(volume.voxels, np.stack(expected))
    np.testing.assert_allclose(volume.affine, affine)
    assert volume.warnings == ()
