"""DICOM series with DICOM segmentation objects (SEG) anywhere below one folder.

A SEG names its series in ReferencedSeriesSequence (0008,1115); its segments may overlap and may cover
a part of the image only, so each becomes a mask of its own on the image's grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError

from ..cases import SEGMENTATION_SUFFIX, Case, CaseError, Labels, LoadedCase, MaskFile
from ..config import SourceConfig
from . import Importer

_TAGS = ["Modality", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "ReferencedSeriesSequence"]
_FRACTION = 0.5
"""From this share of a voxel on, a fractional segment counts as there."""


@dataclass(frozen=True)
class _Header:
    path: Path
    modality: str
    series: str
    patient: str
    referenced: tuple[str, ...]


def scan(root: Path, source: SourceConfig) -> Iterator[Case]:
    """One case per SEG file whose image series lies below the same root."""
    headers = [header for path in sorted(root.rglob("*")) if (header := _header(path)) is not None]
    folders: dict[str, Path] = {}
    for header in headers:
        if header.modality != "SEG":
            folders.setdefault(header.series, header.path.parent)
    for header in headers:
        series = next((uid for uid in header.referenced if uid in folders), "")
        if header.modality != "SEG" or not series:
            continue
        relative = header.path.relative_to(root)
        yield Case(
            source=source.name,
            id=relative.with_suffix("").as_posix() if relative.suffix == ".dcm" else relative.as_posix(),
            patient=header.patient,
            root=root,
            image=folders[series].relative_to(root).as_posix(),
            masks=(MaskFile(relative.as_posix() + SEGMENTATION_SUFFIX),),
            modality=source.modality,
            series=series,
            identifying=True,
        )


def _header(path: Path) -> _Header | None:
    if not path.is_file():
        return None
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (InvalidDicomError, OSError, ValueError, NotImplementedError):
        return None
    referenced = tuple(str(item.SeriesInstanceUID) for item in data.get("ReferencedSeriesSequence", ()))
    patient = str(data.get("PatientID") or data.get("StudyInstanceUID", ""))
    modality, series = str(data.get("Modality", "")), str(data.get("SeriesInstanceUID", ""))
    return _Header(path, modality, series, patient, referenced) if series else None


def load_segmentation(case: Case) -> LoadedCase:
    """Image and segments of a SEG case; CaseError when either can't be read or they don't fit."""
    path = case.masks[0].path.removesuffix(SEGMENTATION_SUFFIX)
    try:
        volume = io.read(case.root / case.image, series=case.series)
    except MedReasonError as error:
        raise CaseError("image can't be read", str(error)) from error
    labels = []
    for name, voxels, affine in _segments(case.root / path):
        mask = _on_grid(voxels, affine, volume, path)
        labels.append(Labels(path, mask.astype(np.uint8), {1: name}))
    return LoadedCase(case, volume, tuple(labels), has_pixels=True)


def _segments(path: Path) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """(name, voxels in the order of the affine's columns, affine to LPS mm) of every segment."""
    import highdicom

    try:
        segmentation = highdicom.seg.segread(path)
        for number in segmentation.segment_numbers:
            description = segmentation.get_segment_description(number)
            part = segmentation.get_volume(segment_numbers=[number])
            array = np.asarray(part.array)
            array = array[..., 0] if array.ndim == 4 else array
            yield _name(description), array >= _FRACTION, np.asarray(part.affine, np.float64)
    except (ValueError, RuntimeError, AttributeError, TypeError, OSError, InvalidDicomError) as error:
        raise CaseError("segmentation can't be read", f"{path.name}: {error}") from error


def _name(description: Any) -> str:
    """The segment's label; a bare "Segment 1" gives way to the coded meaning (0062,000F)."""
    label = str(description.segment_label)
    if label.lower().startswith("segment") or not label.strip():
        return str(description.segmented_property_type.meaning)
    return label


def _on_grid(
    voxels: NDArray[np.bool_], affine: NDArray[np.float64], volume: Volume, path: str
) -> NDArray[np.bool_]:
    """The segment on the image's (k, j, i) grid; CaseError unless its voxels are voxels of the image."""
    to_image = np.linalg.inv(volume.affine) @ affine
    whole = np.round(to_image[:3, :3])
    if np.abs(to_image[:3, :3] - whole).max() > 0.01 or np.abs(to_image[:3, 3] % 1 - 0.5).min() < 0.3:
        raise CaseError(
            "segmentation on another grid", f"{path} is not on the grid of its image; resample it"
        )
    ijk = np.round(np.argwhere(voxels) @ whole.T + to_image[:3, 3]).astype(np.int64)
    if ijk.size and (ijk.min() < 0 or (ijk >= np.array(volume.shape_kji[::-1])).any()):
        raise CaseError("segmentation reaches outside", f"{path} reaches outside of its image")
    mask = np.zeros(volume.shape_kji, np.bool_)
    mask[ijk[:, 2], ijk[:, 1], ijk[:, 0]] = True
    return mask


IMPORTER = Importer("dicom-seg", scan)
