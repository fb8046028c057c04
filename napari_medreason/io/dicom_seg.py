"""DICOM segmentations (SEG): their segments, and all of them as one label map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels, pixel_array

from napari_medreason.core.anatomy import structures
from napari_medreason.core.geometry import Affine
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError, UnreadableImageError
from napari_medreason.io.base import Format, ReadOptions, first_bytes
from napari_medreason.io.dicom_bit_frames import DEFLATED_FRAMES, bit_frames, is_packed_bits
from napari_medreason.io.dicom_planes import SAME_PLACE, Planes
from napari_medreason.io.dicom_seg_grid import seg_affine
from napari_medreason.io.dicom_values import DAMAGED, FrameAttributes, first_item
from napari_medreason.io.label_codes import UNCODED
from napari_medreason.io.quiet import quiet_libraries

SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, Label Map Segmentation Storage."""
MODALITY = "SEG"
_FRACTION = 0.5
"""From this share of a voxel on, a fractional segment counts as there."""
_MAX_FRAMES = 200_000
_MAX_VOXELS = 2**33

_BARE_LABEL = re.compile(r"segment[ _]?\d+", re.IGNORECASE)
OVERLAP = "Segments overlap in {voxels:,} voxels; of these the segment with the higher number is shown."


@dataclass(frozen=True)
class Segment:
    """One segment: number (0062,0004), label (0062,0005), and its code (0062,000F) with a side.

    structure: id in the anatomy vocabulary, "" for other codes.
    """

    number: int
    name: str
    structure: str = ""


@dataclass(frozen=True)
class SegFrame:
    """One frame of a file: where it lies, and what it was drawn on.

    segment: 0 in a label map, whose values are segments. position_lps: centre of the first pixel, None
    without one. source: (SOP Instance UID, 1-based frame or 0) of the image it was drawn on, or None.
    """

    index: int
    segment: int
    position_lps: tuple[float, ...] | None
    source: tuple[str, int] | None = None


@dataclass(frozen=True, eq=False)
class SegFile:
    """The headers of a segmentation. orientation: row, then column direction; spacing: rows, columns, mm.

    slice_step: as stated, in mm. slice_distance: the same, or the thickness of a slice.
    """

    path: Path
    shape: tuple[int, int]
    segments: tuple[Segment, ...]
    frames: tuple[SegFrame, ...]
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_step: float | None
    slice_distance: float | None
    referenced_series: tuple[str, ...]
    limit: float
    packed_bits: bool = False

    def masks(self) -> Iterator[tuple[SegFrame, NDArray[np.integer[Any]]]]:
        """Each frame with its (rows, columns) values: 0 and 1, or segment numbers in a label map."""
        try:
            for frame, stored in zip(self.frames, self._stored(), strict=True):
                yield frame, (stored >= self.limit).astype(np.uint8) if frame.segment else stored
        except DAMAGED as error:
            raise UnreadableImageError(f"{self.path.name}: its pixels are damaged or cut short") from error

    def _stored(self) -> Iterable[NDArray[Any]]:
        """Stored values of each frame, (rows, columns)."""
        if self.packed_bits:
            return bit_frames(self.path, self.shape, len(self.frames))
        if self.shape[0] * self.shape[1] % 8:
            # Frames of single bits then begin within a byte, where pydicom can't take them one by one.
            whole = pixel_array(self.path, raw=True).reshape(-1, *self.shape)
            return (whole[frame.index] for frame in self.frames)
        return iter_pixels(self.path, indices=[frame.index for frame in self.frames], raw=True)


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation, by its header."""
    if not path.is_file() or first_bytes(path, 132)[128:] != b"DICM":
        return False
    quiet_libraries()
    try:
        return str(pydicom.filereader.read_file_meta_info(path).get("MediaStorageSOPClassUID")) in SOP_CLASSES
    except DAMAGED:
        return False


def read(path: Path, options: ReadOptions) -> Volume:
    """All segments as one label map on the grid of their frames: values are segment numbers.

    Slices without a frame between others are 0. UnreadableImageError when the frames make no grid.
    """
    options.report(0, 1)
    found = open_seg(path)
    affine, slice_of = seg_affine(found)
    rows, columns = found.shape
    count = max(slice_of) + 1
    if count * rows * columns > _MAX_VOXELS:
        raise UnreadableImageError(
            f"{path.name} claims {count:,} slices of {rows} x {columns}; it is not opened"
        )
    voxels = np.zeros((count, rows, columns), _label_type(found))
    overlap = 0
    for (frame, mask), k in zip(found.masks(), slice_of, strict=True):
        inside = mask > 0
        overlap += int(np.count_nonzero(voxels[k][inside]))
        voxels[k][inside] = frame.segment or mask[inside]
    options.report(1, 1)
    return Volume(
        voxels,
        affine,
        modality=MODALITY,
        name=path.stem,
        orientation_known=found.orientation is not None,
        calibrated=found.pixel_spacing is not None,
        series_uid=found.referenced_series[0] if found.referenced_series else "",
        warnings=_overlap_doubts(overlap),
        label_names={segment.number: segment.name for segment in found.segments},
    )


def segments(path: Path) -> Iterator[tuple[Segment, NDArray[np.bool_], Affine]]:
    """Every segment with its (k, j, i) mask on the grid of all frames, and the affine to LPS mm.

    Segments may overlap. UnreadableImageError as from `read`.
    """
    found = open_seg(path)
    affine, slice_of = seg_affine(found)
    for segment in found.segments:
        mask = np.zeros((max(slice_of) + 1, *found.shape), np.bool_)
        for (frame, values), k in zip(found.masks(), slice_of, strict=True):
            if frame.segment in (0, segment.number):
                mask[k] |= values == (1 if frame.segment else segment.number)
        yield segment, mask, affine


def on_planes(path: Path, planes: Planes) -> tuple[NDArray[np.unsignedinteger[Any]], tuple[str, ...]]:
    """All segments as (k, j, i) labels on the slices of a series, however these lie, and doubts.

    LabelMapError when a frame with a segment lies on no slice, or its pixels are not those of the slice.
    """
    found = open_seg(path)
    labels = np.zeros((len(planes.origins), *planes.shape), _label_type(found))
    if found.shape != planes.shape or not _same_pixels(found, planes):
        raise LabelMapError(f"{path.name} has other pixels than the image; it was drawn on another one")
    overlap = 0
    for frame, mask in found.masks():
        inside = mask > 0
        if not inside.any():
            continue
        k = planes.slice_at(frame.position_lps)
        if k is None:
            raise LabelMapError(f"{path.name} has a frame that lies on no slice of the image")
        overlap += int(np.count_nonzero(labels[k][inside]))
        labels[k][inside] = frame.segment or mask[inside]
    return labels, _overlap_doubts(overlap)


def _overlap_doubts(voxels: int) -> tuple[str, ...]:
    return (OVERLAP.format(voxels=voxels),) if voxels else ()


def _same_pixels(found: SegFile, planes: Planes) -> bool:
    if found.orientation is None or found.pixel_spacing is None:
        return False
    row, column = np.array(found.orientation).reshape(2, 3)
    row_mm, column_mm = found.pixel_spacing
    apart = max(
        np.abs(row * column_mm - planes.row_step).max() * planes.shape[1],
        np.abs(column * row_mm - planes.column_step).max() * planes.shape[0],
    )
    return bool(apart < SAME_PLACE * min(row_mm, column_mm))


def open_seg(path: Path) -> SegFile:
    """The headers of a segmentation; UnreadableImageError for other files and damaged ones."""
    quiet_libraries()
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            held = path.stat().st_size - file.tell()
        if str(header.get("SOPClassUID")) not in SOP_CLASSES:
            raise UnreadableImageError(f"{path.name} is no DICOM segmentation (SEG)")
        found = _seg_file(path, header)
        if held < _pixel_bytes(header):
            raise UnreadableImageError(f"{path.name} is cut short; copy it again")
        return found
    except DAMAGED as error:
        raise UnreadableImageError(f"{path.name} is no DICOM segmentation, or is damaged") from error


def _pixel_bytes(header: Dataset) -> int:
    """Size of Pixel Data (7FE0,0010) with its tag and length as the header promises; 0 where it is packed.

    pydicom fills up one-bit frames that are cut short, and says nothing.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == DEFLATED_FRAMES or syntax.is_encapsulated or syntax.is_deflated:
        return 0
    values = int(header.get("NumberOfFrames", 1)) * int(header.Rows) * int(header.Columns)
    return (8 if syntax.is_implicit_VR else 12) + -(-values * int(header.BitsAllocated) // 8)


def _seg_file(path: Path, header: Dataset) -> SegFile:
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    count = int(header.get("NumberOfFrames", 1))
    if not 1 <= count <= _MAX_FRAMES or len(groups) != count or "SegmentSequence" not in header:
        raise UnreadableImageError(
            f"{path.name} holds {len(groups)} descriptions of {count:,} frames; segmentations in the patient "
            "with one description per frame are accepted"
        )
    attributes = [FrameAttributes(header, shared, group) for group in groups]
    label_map = str(header.get("SegmentationType")) == "LABELMAP"
    orientations = {
        one.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6) for one in attributes
    }
    if len(orientations) > 1:
        raise UnreadableImageError(f"{path.name} holds frames of several orientations; one is accepted")
    fractional = str(header.get("SegmentationType")) == "FRACTIONAL"
    return SegFile(
        path=path,
        shape=(int(header.Rows), int(header.Columns)),
        segments=tuple(_segment(item) for item in header.SegmentSequence),
        frames=tuple(_frame(n, one, label_map=label_map) for n, one in enumerate(attributes)),
        orientation=orientations.pop(),
        pixel_spacing=attributes[0].numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        slice_step=_millimetres(attributes[0], "SpacingBetweenSlices"),
        slice_distance=_millimetres(attributes[0], "SpacingBetweenSlices", "SliceThickness"),
        referenced_series=tuple(
            str(item.get("SeriesInstanceUID", "")) for item in header.get("ReferencedSeriesSequence", ())
        ),
        limit=_FRACTION * float(header.get("MaximumFractionalValue", 1)) if fractional else 1,
        packed_bits=is_packed_bits(str(header.file_meta.TransferSyntaxUID), int(header.BitsAllocated)),
    )


def _millimetres(attributes: FrameAttributes, *keywords: str) -> float | None:
    for keyword in keywords:
        distance = attributes.number("PixelMeasuresSequence", keyword)
        if distance:
            return abs(distance)
    return None


def _frame(index: int, attributes: FrameAttributes, *, label_map: bool) -> SegFrame:
    number = attributes.number("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    derivation = first_item(attributes.own, "DerivationImageSequence")
    source = first_item(derivation, "SourceImageSequence")
    return SegFrame(
        index=index,
        segment=0 if label_map else int(number or 1),
        position_lps=attributes.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        source=None
        if source is None
        else (
            str(source.get("ReferencedSOPInstanceUID", "")),
            _first_number(source.get("ReferencedFrameNumber")),
        ),
    )


def _first_number(value: Any) -> int:
    """The first of one or several frame numbers, 0 without."""
    if value in (None, ""):
        return 0
    return int(value) if isinstance(value, int | str) else int(value[0])


def _segment(item: Dataset) -> Segment:
    """A bare "Segment 1" gives way to the meaning of its code, where that one says more."""
    label = str(item.get("SegmentLabel", "")).strip()
    code = first_item(item, "SegmentedPropertyTypeCodeSequence")
    says_more = code is not None and str(code.get("CodeValue")) != UNCODED.value
    if code is not None and (not label or (says_more and _BARE_LABEL.fullmatch(label))):
        label = str(code.get("CodeMeaning", "")) or label
    return Segment(
        int(item.SegmentNumber), label, _by_code().get(str(code.get("CodeValue")), "") if code else ""
    )


@cache
def _by_code() -> dict[str, str]:
    """Ids of the vocabulary by SNOMED code; the first where several share one."""
    codes: dict[str, str] = {}
    for one in structures().values():
        if one.snomed:
            codes.setdefault(one.snomed, one.id)
    return codes


def _label_type(found: SegFile) -> type[np.unsignedinteger[Any]]:
    highest = max((segment.number for segment in found.segments), default=0)
    return np.uint8 if highest < 256 else np.uint16


FORMAT = Format("DICOM segmentation", (".dcm",), is_segmentation, read)
