"""One record per DICOM image frame, from the header alone, and the files that hold none."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset

from napari_medreason.io.base import first_bytes, has_suffix
from napari_medreason.io.dicom_frame import FrameHeader, SeriesHeader, StoredPixels
from napari_medreason.io.dicom_mosaic import Mosaic, is_mosaic, read_mosaic
from napari_medreason.io.dicom_repeats import PRIVATE_B_VALUES, repeat_dimensions, repeat_of
from napari_medreason.io.dicom_values import (
    DAMAGED,
    FrameAttributes,
    first_item,
    tag_of,
    value_of,
    whole_number,
    words,
)

NO_IMAGE = "DICOM without an image, such as a report, a plan or a DICOMDIR"
SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHER_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b")
"""First bytes of PNG, JPEG, zip and gzip."""

_KEYWORDS: Final[tuple[str, ...]] = (
    *("PatientID", "PatientName"),
    *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ImageType", "ComplexImageComponent"),
    *("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("EchoTime", "DiffusionBValue", "TemporalPositionIdentifier"),
    *("AcquisitionNumber", "TriggerTime", "AcquisitionTime", "ContentTime"),
    *("DimensionIndexSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_TAGS: Final = [
    *map(tag_of, (*_KEYWORDS, *(tag for tag, _ in PRIVATE_B_VALUES), 0x00190010, 0x20010010, 0x00430010))
]

SEGMENTATION = "segmentation"
_NO_IMAGES = {"SEG": SEGMENTATION, "RTDOSE": "radiotherapy dose", "SM": "microscopy slide"}
_TIMES = ("AcquisitionNumber", "TriggerTime", "AcquisitionTime", "ContentTime")
_WHOLE_BYTES = (8, 16, 32, 64)
_DIRECTION_TOLERANCE = 0.02
_MAX_FRAMES = 100_000
_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_KINDS = {"M", "P", "R", "I", "LOCALIZER", "WATER", "FAT", "IN_PHASE", "OUT_PHASE", "W", "F", "IP", "OP"}
"""Words from the third value of Image Type (0008,0008) on that tell pictures of one series apart."""


def looks_like_dicom(path: Path) -> bool:
    """Whether a file may be DICOM: the DICM mark, a DICOM suffix, or no suffix and no other known mark."""
    start = first_bytes(path, 132)
    if start[128:] == b"DICM" or has_suffix(path, SUFFIXES):
        return True
    return (not path.suffix or path.suffix[1:].isdigit()) and not start.startswith(_OTHER_MARKS)


def read_frames(path: Path) -> tuple[FrameHeader, ...] | str:
    """The frames of one file, or what it holds instead, as words for a message ("damaged file")."""
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            offset = file.tell()
        return _no_image_reason(header) or _images(path, header, offset)
    except DAMAGED:
        return "damaged file"


def series_of(path: Path) -> str:
    """SeriesInstanceUID (0020,000E) of a file, "" when it has none."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.get("SeriesInstanceUID", ""))
    except DAMAGED:
        return ""


def _no_image_reason(header: Dataset) -> str:
    """Why the file holds no grey image, "" when it does."""
    if value_of(header, "SOPClassUID") is None and "Rows" not in header:
        return "not a DICOM file"
    if "Rows" not in header or "Columns" not in header:
        return NO_IMAGE
    if (modality := str(value_of(header, "Modality", ""))) in _NO_IMAGES:
        return _NO_IMAGES[modality]
    photometric = str(value_of(header, "PhotometricInterpretation", "MONOCHROME2"))
    if int(value_of(header, "SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        return "colour image"
    bits = int(value_of(header, "BitsAllocated") or 16)
    if bits not in _WHOLE_BYTES:
        return "one-bit image" if bits == 1 else f"image with values packed into {bits} bits each"
    return ""


def _images(path: Path, header: Dataset, offset: int) -> tuple[FrameHeader, ...] | str:
    frames = _frames(path, header, offset)
    if not is_mosaic(header):
        return frames
    mosaic = read_mosaic(path)
    if isinstance(mosaic, str):
        return mosaic
    return tuple(tile for frame in frames for tile in _tiles(frame, mosaic))


def _tiles(image: FrameHeader, mosaic: Mosaic) -> Iterator[FrameHeader]:
    """The slices of a mosaic, each with its own place."""
    shape = mosaic.tile_shape(image.shape)
    for number, place in enumerate(mosaic.tile_places(shape)):
        position = mosaic.position(
            number, image.shape, image.position_lps, image.orientation, image.pixel_spacing
        )
        yield replace(image, shape=shape, tile=place, position_lps=position, slice_distance=mosaic.distance)


def _frames(path: Path, header: Dataset, offset: int) -> tuple[FrameHeader, ...]:
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    per_frame: Sequence[Any] = header.get("PerFrameFunctionalGroupsSequence") or ()
    count = whole_number(header, "NumberOfFrames") or 1
    if count > _MAX_FRAMES or (per_frame and len(per_frame) != count):
        raise ValueError("the number of frames is impossible, or not that of their headers")
    if count > 1 and not per_frame:
        # One position for many frames says nothing about where each of them lies.
        header.pop("ImagePositionPatient", None)
    common = _FileHeader(path, _series(header), _patient(header), offset, repeat_dimensions(header))
    return tuple(
        _frame(common, n, FrameAttributes(header, shared, per_frame[n] if per_frame else None))
        for n in range(count)
    )


@dataclass(frozen=True)
class _FileHeader:
    """What all frames of a file share."""

    path: Path
    series: SeriesHeader
    patient: bytes
    offset: int
    dimensions: tuple[int, ...]


def _series(header: Dataset) -> SeriesHeader:
    return SeriesHeader(
        uid=str(value_of(header, "SeriesInstanceUID", "")),
        modality=str(value_of(header, "Modality", "")),
        number=whole_number(header, "SeriesNumber"),
        description=str(value_of(header, "SeriesDescription", "")),
    )


def _patient(header: Dataset) -> bytes:
    # not by value_of, which remembers values
    name = str(header.get("PatientID") or header.get("PatientName") or "").strip()
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest() if name else b""


def _frame(common: _FileHeader, index: int, groups: FrameAttributes) -> FrameHeader:
    spacing, at_detector = _pixel_spacing(groups)
    header = groups.file
    repeat = repeat_of(groups, common.dimensions)
    instance = float(whole_number(header, "InstanceNumber") or 0)
    times = [groups.number("", keyword) or 0.0 for keyword in _TIMES]
    return FrameHeader(
        path=common.path,
        frame_index=index,
        instance_uid=str(value_of(header, "SOPInstanceUID", "")),
        series=common.series,
        shape=_stored_shape(header),
        pixels=_stored_pixels(groups, common.offset),
        position_lps=groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_orientation(groups),
        pixel_spacing=spacing,
        at_detector=at_detector,
        slice_distance=_slice_distance(groups),
        kind=_kind(groups),
        repeat=repeat,
        order=(*repeat[:2], instance, float(index), *times),
        number=instance,
        patient=common.patient,
    )


def _stored_pixels(groups: FrameAttributes, offset: int) -> StoredPixels:
    header, group = groups.file, "PixelValueTransformationSequence"
    slope, intercept = groups.number(group, "RescaleSlope"), groups.number(group, "RescaleIntercept")
    return StoredPixels(
        bits_stored=int(value_of(header, "BitsStored") or value_of(header, "BitsAllocated") or 16),
        signed=bool(value_of(header, "PixelRepresentation", 0)),
        inverted=str(value_of(header, "PhotometricInterpretation", "")) == "MONOCHROME1",
        slope=slope or 1.0,
        intercept=intercept or 0.0,
        look_up_table=first_item(header, "ModalityLUTSequence") is not None,
        rescaled=slope is not None or intercept is not None,
        transfer_syntax=_transfer_syntax(header),
        bits_allocated=int(value_of(header, "BitsAllocated") or 16),
        shape=_stored_shape(header),
        frame_count=max(1, whole_number(header, "NumberOfFrames") or 1),
        offset=offset,
    )


def _stored_shape(header: Dataset) -> tuple[int, int]:
    return int(value_of(header, "Rows")), int(value_of(header, "Columns"))


def _transfer_syntax(header: Dataset) -> str:
    meta = getattr(header, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", "")) if meta is not None else ""


def _pixel_spacing(groups: FrameAttributes) -> tuple[tuple[float, ...] | None, bool]:
    """((between rows, between columns), whether it was measured at the detector (0018,1164))."""
    for keyword, at_detector in (("PixelSpacing", False), ("ImagerPixelSpacing", True)):
        spacing = groups.numbers("PixelMeasuresSequence", keyword, 2)
        if spacing is not None and min(spacing) > 0:
            return spacing, at_detector
    return None, False


def _orientation(groups: FrameAttributes) -> tuple[float, ...] | None:
    """Row and column direction, None unless they are unit vectors at a right angle."""
    found = groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if found is None:
        return None
    row, column = found[:3], found[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    cosine = sum(a * b for a, b in zip(row, column, strict=True))
    usable = max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(cosine)) < _DIRECTION_TOLERANCE
    return found if usable else None


def _slice_distance(groups: FrameAttributes) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        distance = groups.number("PixelMeasuresSequence", keyword)
        if distance:
            return abs(distance)
    return None


def _kind(groups: FrameAttributes) -> tuple[str, ...]:
    frame_type = groups.find("MRImageFrameTypeSequence", "FrameType")
    if frame_type is None:
        frame_type = groups.find("CTImageFrameTypeSequence", "FrameType")
    found = set(words(frame_type or value_of(groups.file, "ImageType"))[2:]) & _KINDS
    component = _COMPONENTS.get(str(groups.find("MRImageFrameTypeSequence", "ComplexImageComponent")))
    if component is not None:
        found = (found - set(_COMPONENTS.values())) | {component}
    stack = groups.find("FrameContentSequence", "StackID")
    return (*sorted(found), f"stack {stack}" if stack else "")
