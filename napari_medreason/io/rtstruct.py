"""Masks as DICOM structure sets (RTSTRUCT): closed contours on the slices of a series, and back.

The convention of the contours is that of core.contours; with it, reading gives exactly the mask back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from napari_medreason import __version__
from napari_medreason.core.contours import filled, outlines
from napari_medreason.errors import ExportError, LabelMapError, UnreadableImageError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.base import first_bytes
from napari_medreason.io.dicom_planes import Planes
from napari_medreason.io.dicom_seg_write import MANUFACTURER, SERIES_OFFSET
from napari_medreason.io.dicom_source import DicomSource
from napari_medreason.io.dicom_values import DAMAGED
from napari_medreason.io.label_codes import LabelCode
from napari_medreason.io.quiet import quiet_libraries

_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.2"
"""Study Component Management, what this sequence has always named the study by (retired, still expected)."""
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_DECIMALS = 5
"""Of a contour coordinate in mm: 10 nm, and at most 16 characters as DICOM asks (DS)."""
_OFF_PLANE = 0.5
"""Points further from their slice than this share of the distance between slices belong to no slice."""


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of a structure set; contours: by slice k, each (n, 2) points (x, y) in pixels."""

    number: int
    name: str
    contours: dict[int, list[NDArray[np.float64]]]

    def mask(self, shape_kji: tuple[int, int, int]) -> NDArray[np.bool_]:
        """The (k, j, i) pixels whose centres lie inside of an odd number of contours."""
        mask = np.zeros(shape_kji, np.bool_)
        for k, contours in self.contours.items():
            mask[k] = filled(contours, (shape_kji[1], shape_kji[2]))
        return mask


def is_rtstruct(path: Path) -> bool:
    """Whether a file is a DICOM structure set, by its header."""
    if not path.is_file() or first_bytes(path, 132)[128:] != b"DICM":
        return False
    quiet_libraries()
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.get("MediaStorageSOPClassUID")) == RTStructureSetStorage
    except DAMAGED:
        return False


def referenced_series(path: Path) -> tuple[str, ...]:
    """Series Instance UIDs (0020,000E) of the images that a structure set refers to."""
    quiet_libraries()
    try:
        data = pydicom.dcmread(path, specific_tags=["SOPClassUID", "ReferencedFrameOfReferenceSequence"])
        if str(data.get("SOPClassUID")) != RTStructureSetStorage:
            raise UnreadableImageError(f"{path.name} is no DICOM structure set (RTSTRUCT)")
        return tuple(
            str(series.SeriesInstanceUID)
            for frame in data.get("ReferencedFrameOfReferenceSequence") or ()
            for study in frame.get("RTReferencedStudySequence") or ()
            for series in study.get("RTReferencedSeriesSequence") or ()
        )
    except DAMAGED as error:
        raise UnreadableImageError(f"{path.name} is no DICOM structure set, or is damaged") from error


def read_rois(path: Path, planes: Planes) -> Iterator[Roi]:
    """The regions of a structure set on the slices of a series, in the order of the file.

    Regions without closed contours are left out. Raises UnreadableImageError for other and damaged files,
    and LabelMapError when contours lie on no slice or cross slices.
    """
    quiet_libraries()
    try:
        data = pydicom.dcmread(path)
        if str(data.get("SOPClassUID")) != RTStructureSetStorage:
            raise UnreadableImageError(f"{path.name} is no DICOM structure set (RTSTRUCT)")
        names = {int(item.ROINumber): str(item.get("ROIName", "")) for item in data.StructureSetROISequence}
        for item in data.get("ROIContourSequence") or ():
            number = int(item.ReferencedROINumber)
            contours = _contours(item, planes, path.name)
            if contours:
                yield Roi(number, names.get(number, ""), contours)
    except DAMAGED as error:
        raise UnreadableImageError(f"{path.name} is no DICOM structure set, or is damaged") from error


def _contours(item: Dataset, planes: Planes, name: str) -> dict[int, list[NDArray[np.float64]]]:
    found: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for contour in item.get("ContourSequence") or ():
        if str(contour.get("ContourGeometricType")) in _CLOSED:
            points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
            k = _slice_of(points, planes, name)
            found[k].append(planes.to_pixels(points, k))
    return dict(found)


def _slice_of(points: NDArray[np.float64], planes: Planes, name: str) -> int:
    heights = (points - planes.origins[0]) @ planes.normal
    k, distance = planes.nearest(points[0])
    if distance > _OFF_PLANE * planes.slice_mm or np.ptp(heights) > _OFF_PLANE * planes.slice_mm:
        raise LabelMapError(
            f"{name} has a contour that lies on no slice of the image; give the series it was drawn on"
        )
    return k


def write_rtstruct(
    path: Path, labels: NDArray[np.generic], codes_of: tuple[LabelCode, ...], source: DicomSource
) -> None:
    """Write (k, j, i) labels as one structure set with closed contours on the source's slices.

    codes_of: from `label_codes`; ROI numbers are theirs. ExportError when it can't be written; the file is
    whole or not touched.
    """
    data = _structure_set(source)
    data.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    data.StructureSetROISequence = [_roi(one, source) for one in codes_of]
    data.ROIContourSequence = [_roi_contour(one, labels, source) for one in codes_of]
    data.RTROIObservationsSequence = [_observation(one) for one in codes_of]
    try:
        with replace_file(path) as temporary:
            data.save_as(temporary, enforce_file_format=True)
    except DAMAGED as error:
        raise ExportError(
            f"{path.name} can't be written as a structure set: {type(error).__name__}"
        ) from error


def _structure_set(source: DicomSource) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    # Implicit VR: with an explicit one the numbers of a long contour do not fit into their length field.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    first, now = source.first, datetime.now()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for keyword in (
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    ):
        setattr(data, keyword, first.get(keyword))
    data.Modality, data.Manufacturer = "RTSTRUCT", MANUFACTURER
    data.ManufacturerModelName, data.SoftwareVersions = MANUFACTURER, __version__
    data.SeriesInstanceUID, data.InstanceNumber = generate_uid(), 1
    data.SeriesNumber = int(first.get("SeriesNumber") or 0) + SERIES_OFFSET
    data.SeriesDescription = "Contours (napari-medreason)"
    data.OperatorsName = None
    data.FrameOfReferenceUID = first.FrameOfReferenceUID
    data.PositionReferenceIndicator = None
    data.StructureSetLabel = "CONTOURS"
    data.StructureSetDate, data.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.InstanceCreationDate, data.InstanceCreationTime = data.StructureSetDate, data.StructureSetTime
    data.ApprovalStatus = "UNAPPROVED"
    return data


def _frame_of_reference(source: DicomSource) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [_image(instance) for instance in source.instances]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(instance: tuple[str, str, int]) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = instance[0], instance[1]
    if instance[2]:
        image.ReferencedFrameNumber = instance[2]
    return image


def _roi(one: LabelCode, source: DicomSource) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = one.number, one.name
    roi.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    return roi


def _roi_contour(one: LabelCode, labels: NDArray[np.generic], source: DicomSource) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = one.number
    item.ROIDisplayColor = list(one.colour)
    mask = labels == one.value
    item.ContourSequence = [
        _contour(points, int(k), source)
        for k in np.flatnonzero(mask.any(axis=(1, 2)))
        for points in outlines(mask[k])
    ]
    return item


def _contour(points: NDArray[np.float64], k: int, source: DicomSource) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_image(source.instances[k])]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    places = source.planes.to_lps(points, k).ravel()
    contour.ContourData = [f"{value:.{_DECIMALS}f}" for value in places.tolist()]
    return contour


def _observation(one: LabelCode) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = one.number
    item.RTROIInterpretedType, item.ROIInterpreter = "", None
    if one.coded:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = one.kind.value, one.kind.scheme_designator
        code.CodeMeaning = one.kind.meaning
        item.RTROIIdentificationCodeSequence = [code]
    return item
