"""DICOM series with DICOM segmentation objects (SEG) anywhere below one folder.

A SEG names its series in ReferencedSeriesSequence (0008,1115); its segments may overlap and may cover
a part of the image only, so each becomes a mask of its own on the image's grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from napari_medreason import io
from napari_medreason.core.geometry import Affine
from napari_medreason.core.grid_match import match, placed
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError, MedReasonError
from napari_medreason.io.dicom_seg import Segment, segments

from ..cases import SEGMENTATION_SUFFIX, Case, CaseError, Labels, LoadedCase, MaskFile
from ..config import SourceConfig
from . import Importer

_TAGS = ["Modality", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "ReferencedSeriesSequence"]


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
    for segment, mask, affine in _segments(case.root / path):
        on_image = _on_grid(mask, affine, volume, path)
        labels.append(Labels(path, on_image.astype(np.uint8), {1: segment.name}))
    return LoadedCase(case, volume, tuple(labels), has_pixels=True)


def _segments(path: Path) -> Iterator[tuple[Segment, NDArray[np.bool_], Affine]]:
    try:
        yield from segments(path)
    except MedReasonError as error:
        raise CaseError("segmentation can't be read", str(error)) from error


def _on_grid(mask: NDArray[np.bool_], affine: Affine, volume: Volume, path: str) -> NDArray[np.generic]:
    """The segment on the image's (k, j, i) grid; CaseError unless its voxels are voxels of the image."""
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    found = match(affine, shape, volume.affine)
    if found is None:
        raise CaseError(
            "segmentation on another grid", f"{path} is not on the grid of its image; resample it"
        )
    try:
        return placed(mask, found, volume.shape_kji)
    except LabelMapError as error:
        raise CaseError("segmentation reaches outside", f"{path} reaches outside of its image") from error


IMPORTER = Importer("dicom-seg", scan)
