"""Studies written to disk by other libraries than ours, with known content and geometry."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation


def _file(path: Path, sop_class: str = CTImageStorage) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName = "Secret^Person"
    data.PatientID = "SECRET-4711"
    return data


def _pixels(data: Dataset, stored: np.ndarray) -> None:
    data.Rows, data.Columns = stored.shape[-2:]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = stored.dtype.itemsize * 8
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes()


def _decimal(value: float) -> str:
    return f"{value:.10f}"[:16]


def _directions(affine: np.ndarray) -> list[str]:
    unit = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    return [_decimal(value) for value in unit.T.reshape(-1)]


def make_series(
    folder: Path,
    stored: np.ndarray,
    affine: np.ndarray,
    *,
    series: str = "",
    modality: str = "CT",
    number: int = 7,
    shuffle: int = 0,
    positions: list[float] | None = None,
    change: Callable[[FileDataset, int], None] | None = None,
) -> list[Path]:
    """Write (k, j, i) stored values as one file per slice; names and instance numbers say nothing.

    positions: fractional k of each slice where it is not 0, 1, 2 ...; change: last edit per slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uid = series or generate_uid()
    row_mm, column_mm = np.linalg.norm(affine[:3, 1]), np.linalg.norm(affine[:3, 0])
    names = np.random.default_rng(shuffle).permutation(len(stored))
    paths = []
    for k, image in enumerate(stored):
        path = folder / f"IM{names[k]:04d}.dcm"
        data = _file(path)
        data.SeriesInstanceUID, data.Modality, data.SeriesNumber = uid, modality, number
        data.SeriesDescription = "test series"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = int(names[-1 - k]) + 1
        at = affine[:3, 3] + affine[:3, 2] * (positions[k] if positions else k)
        data.ImagePositionPatient = [_decimal(value) for value in at]
        data.ImageOrientationPatient = _directions(affine)
        data.PixelSpacing = [_decimal(row_mm), _decimal(column_mm)]
        data.SliceThickness = "99"
        data.RescaleSlope, data.RescaleIntercept = "1", "0"
        _pixels(data, image)
        if change is not None:
            change(data, k)
        data.save_as(path)
        paths.append(path)
    return paths


def _rotated(rotation: np.ndarray, spacing: tuple[float, float, float], origin: object) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


@pytest.fixture(scope="session")
def series_maker() -> Callable[..., list[Path]]:
    return make_series


@pytest.fixture(scope="session")
def dicom_file() -> Callable[..., FileDataset]:
    """An empty DICOM file object; the caller fills and saves it."""
    return _file


@pytest.fixture(scope="session")
def set_pixels() -> Callable[[Dataset, np.ndarray], None]:
    return _pixels


@pytest.fixture(scope="session")
def oblique_affine() -> np.ndarray:
    """A right-handed oblique grid, (i, j, k) to LPS mm, spacing 0.7 x 0.9 x 2.5."""
    rotation = Rotation.from_euler("xyz", [12, -20, 35], degrees=True).as_matrix()
    return _rotated(rotation, (0.7, 0.9, 2.5), (-31.5, 12.25, 105.0))


@pytest.fixture(scope="session")
def all_axis_orders() -> list[np.ndarray]:
    """The 48 signed permutation matrices."""
    matrices = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(order), range(3)] = signs
        matrices.append(matrix)
    return matrices


@pytest.fixture
def ramp() -> np.ndarray:
    """(k, j, i) = (4, 5, 6) int16, every voxel another value."""
    return np.arange(120, dtype=np.int16).reshape(4, 5, 6)


def save_whole(path: Path, data: FileDataset) -> Path:
    """Save with checks of the file format off, for files that are wrong on purpose."""
    pydicom.dcmwrite(path, data, enforce_file_format=False)
    return path
