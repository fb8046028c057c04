"""The DICOM images that a mask was drawn on: what segmentations and contours refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, generate_uid

from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, MedReasonError
from napari_medreason.io import archive
from napari_medreason.io.base import ReadOptions
from napari_medreason.io.dicom_choice import choose
from napari_medreason.io.dicom_frame import FrameHeader
from napari_medreason.io.dicom_planes import Planes, planes_of
from napari_medreason.io.dicom_series import Stack
from napari_medreason.io.dicom_values import DAMAGED

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID")
_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""Attributes that every object of the study has, empty where they are not known (type 2)."""


@dataclass(frozen=True, eq=False)
class DicomSource:
    """One image series: `headers` without pixels, one per slice or one for all its frames.

    instances: SOP Class UID, SOP Instance UID and 1-based frame (0 in a file of one image) per slice k.
    made_up_frame: the images have no Frame of Reference UID (0020,0052), the headers got one.
    """

    headers: tuple[Dataset, ...]
    instances: tuple[tuple[str, str, int], ...]
    planes: Planes
    made_up_frame: bool = False

    @property
    def first(self) -> Dataset:
        """The header that patient and study are taken from."""
        return self.headers[0]

    @property
    def is_multiframe(self) -> bool:
        """Whether all slices are frames of one file."""
        return self.instances[0][2] > 0


def dicom_source(path: Path, image: Volume, *, frame: int | None = None) -> DicomSource:
    """The instances of the series that an image was read from, slice by slice.

    path: what was opened. frame: 0-based, of a 4D study; the first by default. ExportError with the reason
    when there is no such series, or its headers lack what DICOM objects must refer to.
    """
    if not image.series_uid:
        raise ExportError(NO_DICOM)
    if archive.can_read(Path(path)):
        # headers are read whole, so the files may be gone afterwards
        with archive.unpacked(Path(path), ReadOptions()) as inside:
            return _source(inside, image, frame)
    return _source(Path(path), image, frame)


def _source(path: Path, image: Volume, frame: int | None) -> DicomSource:
    stack = _stack(path, image.series_uid)
    images = stack.grid.frames[min(frame or 0, len(stack.grid.frames) - 1)]
    if not stack.grid.orientation_known:
        raise ExportError(
            "the source images do not say where they lie in the patient, which DICOM objects drawn on them "
            "must; export NIfTI or NRRD"
        )
    # Grid with grid: rounded positions, which the reader takes as even, lie off both in the same way.
    grid = replace(image, affine=stack.grid.affine, slice_positions=stack.grid.slice_positions)
    if stack.info.shape_kji != image.shape_kji or not planes_of(grid).same_places(planes_of(image)):
        raise ExportError(
            "the image is not on the grid of its DICOM series any more (it was resampled, or the files have "
            "changed); draw on the images as they were read, or export NIfTI or NRRD"
        )
    headers = _headers(images)
    made_up = not headers[0].get("FrameOfReferenceUID")
    for header in headers:
        _complete(header)
    return DicomSource(headers, _instances(images, headers), _planes(images), made_up)


NO_DICOM = (
    "the image is no DICOM series (or has no Series Instance UID), and DICOM segmentations and contours "
    "refer to one; export NIfTI or NRRD"
)


def _stack(path: Path, series: str) -> Stack:
    try:
        part = choose(path, ReadOptions(series)).part
    except MedReasonError as error:
        raise ExportError(f"the source images can't be found again: {error}") from error
    if isinstance(part, Path):
        raise ExportError(NO_DICOM)
    return part


def _planes(images: Sequence[FrameHeader]) -> Planes:
    sides = np.array(images[0].orientation, np.float64).reshape(2, 3)
    directions = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    row_mm, column_mm = images[0].pixel_spacing or (1.0, 1.0)
    origins = np.array([image.position_lps for image in images], np.float64)
    return Planes(origins, directions[0] * column_mm, directions[1] * row_mm, images[0].shape)


def _headers(images: Sequence[FrameHeader]) -> tuple[Dataset, ...]:
    try:
        paths = dict.fromkeys(image.path for image in images)
        headers = tuple(pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in paths)
    except DAMAGED as error:
        raise ExportError(
            "a file of the source series can't be read any more; open the study again"
        ) from error
    missing = [keyword for keyword in _NEEDED if not headers[0].get(keyword)]
    if missing:
        raise ExportError(
            f"the source images have no {' and no '.join(missing)}, which every DICOM object that refers to "
            "them must repeat; export NIfTI or NRRD"
        )
    return headers


def _complete(header: Dataset) -> None:
    """A frame of reference where the source has none, and empty values for what may be empty."""
    if not header.get("FrameOfReferenceUID"):
        # Type 1 where it is needed; made of the series, so that all objects drawn on it agree.
        header.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(header.SeriesInstanceUID)])
    for keyword in _PATIENT_AND_STUDY:
        if keyword not in header:
            setattr(header, keyword, None)
    if isinstance(header.PatientID, MultiValue):
        header.PatientID = str(header.PatientID[0])


def _instances(
    images: Sequence[FrameHeader], headers: tuple[Dataset, ...]
) -> tuple[tuple[str, str, int], ...]:
    if len(headers) == len(images):
        found = tuple((str(header.SOPClassUID), str(header.SOPInstanceUID), 0) for header in headers)
    elif len(headers) == 1 and int(headers[0].get("NumberOfFrames", 1)) >= len(images):
        one = str(headers[0].SOPClassUID), str(headers[0].SOPInstanceUID)
        found = tuple((*one, image.frame_index + 1) for image in images)
    else:
        raise ExportError(
            "the slices of the source series are tiled or spread over several multi-frame files, which "
            "DICOM segmentations and contours can't refer to slice by slice; export NIfTI or NRRD"
        )
    if len(set(found)) != len(found) or not all(UID(uid).is_valid for _, uid, _ in found):
        raise ExportError("the source images have no SOP Instance UIDs of their own to refer to")
    return found
