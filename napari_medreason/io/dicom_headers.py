"""One record per DICOM image frame, from the header alone, and the files that hold none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset

from napari_medreason.io.base import first_bytes, has_suffix
from napari_medreason.io.dicom_values import DAMAGED, FrameAttributes, first_item, whole_number, words

NO_IMAGE = "DICOM without an image, such as a report, a plan or a DICOMDIR"
SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHER_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b")
"""First bytes of PNG, JPEG, zip and gzip."""

_TAGS: Final[tuple[str, ...]] = (
    *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ImageType", "ComplexImageComponent"),
    *("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("EchoTime", "DiffusionBValue", "TemporalPositionIdentifier", "AcquisitionTime"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

_NO_IMAGES = {"SEG": "segmentation", "RTDOSE": "radiotherapy dose", "SM": "microscopy slide"}
_DIRECTION_TOLERANCE = 0.02
_MAX_FRAMES = 100_000
_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_KINDS = {"M", "P", "R", "I", "LOCALIZER", "WATER", "FAT", "IN_PHASE", "OUT_PHASE", "W", "F", "IP", "OP"}
"""Words from the third value of Image Type (0008,0008) on that tell pictures of one series apart."""


@dataclass(frozen=True)
class SeriesHeader:
    """What a user chooses a series by."""

    uid: str
    modality: str
    number: int | None
    description: str


@dataclass(frozen=True)
class StoredPixels:
    """How values are stored: (0028,0100), (0028,0101), (0028,0103), and what turns them into real ones.

    inverted: Photometric Interpretation (0028,0004) is MONOCHROME1. look_up_table: the real values
    come from a Modality LUT (0028,3000), not from slope and intercept. rescaled: the header gives slope
    or intercept. transfer_syntax: (0002,0010), "" where the file has no meta information.
    """

    bits_stored: int
    signed: bool
    inverted: bool
    slope: float
    intercept: float
    look_up_table: bool = False
    rescaled: bool = True
    transfer_syntax: str = ""


@dataclass(frozen=True)
class FrameHeader:
    """One image of a series.

    shape: (rows, columns). position_lps: centre of the first pixel, (0020,0032). orientation: row
    direction then column direction, (0020,0037). pixel_spacing: (between rows, between columns) in mm,
    (0028,0030). slice_distance: (0018,0088) or else (0018,0050). kind: words of the Image Type that
    tell pictures of one series apart, and the Stack ID (0020,9056). repeat: what stays the same all
    over one frame of a 4D study. order: sorts the repeats at one position.
    """

    path: Path
    frame_index: int
    instance_uid: str
    series: SeriesHeader
    shape: tuple[int, int]
    pixels: StoredPixels
    position_lps: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    at_detector: bool
    slice_distance: float | None
    kind: tuple[str, ...]
    repeat: tuple[float, ...]
    order: tuple[float, ...]


def looks_like_dicom(path: Path) -> bool:
    """Whether a file may be DICOM: the DICM mark, a DICOM suffix, or no suffix and no other known mark."""
    start = first_bytes(path, 132)
    if start[128:] == b"DICM" or has_suffix(path, SUFFIXES):
        return True
    return (not path.suffix or path.suffix[1:].isdigit()) and not start.startswith(_OTHER_MARKS)


def read_frames(path: Path) -> tuple[FrameHeader, ...] | str:
    """The frames of one file, or what it holds instead, as words for a message ("damaged file")."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        reason = _no_image_reason(header)
        return reason or _frames(path, header)
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
    if "SOPClassUID" not in header and "Rows" not in header:
        return "not a DICOM file"
    if "Rows" not in header or "Columns" not in header:
        return NO_IMAGE
    if (modality := str(header.get("Modality", ""))) in _NO_IMAGES:
        return _NO_IMAGES[modality]
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(header.get("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        return "colour image"
    if int(header.get("BitsAllocated") or 16) == 1:
        return "one-bit image"
    if "MOSAIC" in words(header.get("ImageType")):
        return "Siemens mosaic, slices tiled into one image: export single slices or enhanced DICOM"
    return ""


def _frames(path: Path, header: Dataset) -> tuple[FrameHeader, ...]:
    series = SeriesHeader(
        uid=str(header.get("SeriesInstanceUID", "")),
        modality=str(header.get("Modality", "")),
        number=whole_number(header, "SeriesNumber"),
        description=str(header.get("SeriesDescription", "")),
    )
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    per_frame: Sequence[Any] = header.get("PerFrameFunctionalGroupsSequence") or ()
    count = whole_number(header, "NumberOfFrames") or 1
    if count > _MAX_FRAMES or (per_frame and len(per_frame) != count):
        raise ValueError("the number of frames is impossible, or not that of their headers")
    if count > 1 and not per_frame:
        # One position for many frames says nothing about where each of them lies.
        header.pop("ImagePositionPatient", None)
    return tuple(
        _frame(path, n, series, FrameAttributes(header, shared, per_frame[n] if per_frame else None))
        for n in range(count)
    )


def _frame(path: Path, index: int, series: SeriesHeader, groups: FrameAttributes) -> FrameHeader:
    spacing, at_detector = _pixel_spacing(groups)
    header = groups.file
    temporal = groups.number("FrameContentSequence", "TemporalPositionIndex")
    if temporal is None:
        temporal = groups.number("", "TemporalPositionIdentifier")
    echo = groups.number("MREchoSequence", "EffectiveEchoTime") or groups.number("", "EchoTime") or 0.0
    diffusion = groups.number("MRDiffusionSequence", "DiffusionBValue") or 0.0
    instance = float(whole_number(header, "InstanceNumber") or 0)
    time = groups.number("", "AcquisitionTime") or 0.0
    return FrameHeader(
        path=path,
        frame_index=index,
        instance_uid=str(header.get("SOPInstanceUID", "")),
        series=series,
        shape=(int(header.Rows), int(header.Columns)),
        pixels=_stored_pixels(groups),
        position_lps=groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_orientation(groups),
        pixel_spacing=spacing,
        at_detector=at_detector,
        slice_distance=_slice_distance(groups),
        kind=_kind(groups),
        repeat=(echo, temporal or 0.0, diffusion),
        order=(echo, temporal or 0.0, instance, float(index), time),
    )


def _stored_pixels(groups: FrameAttributes) -> StoredPixels:
    header, group = groups.file, "PixelValueTransformationSequence"
    slope, intercept = groups.number(group, "RescaleSlope"), groups.number(group, "RescaleIntercept")
    return StoredPixels(
        bits_stored=int(header.get("BitsStored") or header.get("BitsAllocated") or 16),
        signed=bool(header.get("PixelRepresentation", 0)),
        inverted=str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1",
        slope=slope or 1.0,
        intercept=intercept or 0.0,
        look_up_table=bool(header.get("ModalityLUTSequence")),
        rescaled=slope is not None or intercept is not None,
        transfer_syntax=_transfer_syntax(header),
    )


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
    found = set(words(frame_type or groups.file.get("ImageType"))[2:]) & _KINDS
    component = _COMPONENTS.get(str(groups.find("MRImageFrameTypeSequence", "ComplexImageComponent")))
    if component is not None:
        found = (found - set(_COMPONENTS.values())) | {component}
    stack = groups.find("FrameContentSequence", "StackID")
    return (*sorted(found), f"stack {stack}" if stack else "")
