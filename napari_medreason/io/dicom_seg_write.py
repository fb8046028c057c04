"""Masks as DICOM segmentations (SEG) of the images they were drawn on."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from napari_medreason import __version__
from napari_medreason.errors import ExportError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.dicom_source import DicomSource
from napari_medreason.io.dicom_values import DAMAGED
from napari_medreason.io.label_codes import LabelCode
from napari_medreason.io.quiet import quiet_libraries

MANUFACTURER = "napari-medreason"
SERIES_OFFSET = 1000
"""Added to the series number of the source, so that the new series stands behind it."""
SERIES_DESCRIPTION = "Segmentation (napari-medreason)"


@dataclass(frozen=True)
class DrawnBy:
    """Who or what drew a mask, as DICOM wants to know: MANUAL, SEMIAUTOMATIC or AUTOMATIC, and by what."""

    kind: str = "SEMIAUTOMATIC"
    name: str = "not recorded"


def write_seg(
    path: Path,
    labels: NDArray[np.generic],
    codes_of: tuple[LabelCode, ...],
    source: DicomSource,
    drawn_by: DrawnBy | None = None,
) -> None:
    """Write (k, j, i) labels as one binary segmentation; slices without a label are left out.

    codes_of: from `label_codes`; segment numbers are theirs. The file refers to every source image and says
    of each frame which one it was drawn on. ExportError when the library refuses; the file is whole or not
    touched.
    """
    numbers = _segment_numbers(labels, codes_of)
    quiet_libraries()
    try:
        made = highdicom.seg.Segmentation(
            source_images=_alike(source),
            pixel_array=_in_file_order(numbers, source),
            segmentation_type="BINARY",
            segment_descriptions=[_description(one, drawn_by or DrawnBy()) for one in codes_of],
            series_instance_uid=generate_uid(),
            series_number=int(source.first.get("SeriesNumber") or 0) + SERIES_OFFSET,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            device_serial_number="none",
            content_label="SEGMENTATION",
            series_description=SERIES_DESCRIPTION,
            specific_character_set="ISO_IR 192",
        )
        with replace_file(path) as temporary:
            made.save_as(temporary)
    except DAMAGED as error:
        raise ExportError(
            f"the source images lack something that a DICOM segmentation must repeat ({_words(error)}); "
            "export NIfTI or NRRD"
        ) from error


def _alike(source: DicomSource) -> list[Dataset]:
    """The headers with orientation and pixel size where highdicom looks for them, and the same in all.

    One grid was made of them, so they agree but for rounding.
    """
    headers = [copy(header) for header in source.headers]
    if not source.is_multiframe:
        for header in headers:
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
            header.PixelSpacing = headers[0].get("PixelSpacing") or source.planes.pixel_spacing
            header.SliceThickness = header.get("SliceThickness") or f"{source.planes.slice_mm:.6g}"
        return headers
    shared = copy((headers[0].get("SharedFunctionalGroupsSequence") or [Dataset()])[0])
    own = headers[0].PerFrameFunctionalGroupsSequence[source.instances[0][2] - 1]
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if keyword not in shared and keyword in own:
            setattr(shared, keyword, own.get(keyword))
    headers[0].SharedFunctionalGroupsSequence = [shared]
    return headers


def _words(error: BaseException) -> str:
    """The name of the missing attribute, and nothing of the values of the header."""
    name = getattr(error, "name", None)
    return name if isinstance(name, str) and name else type(error).__name__


def _segment_numbers(
    labels: NDArray[np.generic], codes_of: tuple[LabelCode, ...]
) -> NDArray[np.unsignedinteger[Any]]:
    kind = np.uint8 if len(codes_of) < 256 else np.uint16
    numbers = np.zeros(labels.shape, kind)
    for one in codes_of:
        numbers[labels == one.value] = one.number
    return numbers


def _in_file_order(
    numbers: NDArray[np.unsignedinteger[Any]], source: DicomSource
) -> NDArray[np.unsignedinteger[Any]]:
    """One plane per image of the source: of a multi-frame file, all its frames."""
    if not source.is_multiframe:
        return numbers
    planes = np.zeros((int(source.first.NumberOfFrames), *numbers.shape[1:]), numbers.dtype)
    for plane, (_, _, frame) in zip(numbers, source.instances, strict=True):
        planes[frame - 1] = plane
    return planes


def _description(one: LabelCode, drawn_by: DrawnBy) -> highdicom.seg.SegmentDescription:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=drawn_by.name[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
    )
    found = highdicom.seg.SegmentDescription(
        segment_number=one.number,
        segment_label=one.name,
        segmented_property_category=one.category,
        segmented_property_type=one.kind,
        algorithm_type=drawn_by.kind,
        algorithm_identification=None if drawn_by.kind == "MANUAL" else algorithm,
        display_color=CIELabColor.from_rgb(*one.colour),
    )
    if one.side is not None:
        kind = found.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [
            highdicom.sr.CodedConcept(one.side.value, one.side.scheme_designator, one.side.meaning)
        ]
    return found
