"""Every way out of the program for masks and images: one table, one function, and a proof of each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, LabelMapError
from napari_medreason.io import dicom_seg, rtstruct
from napari_medreason.io.base import counted, has_suffix
from napari_medreason.io.dicom_seg_write import DrawnBy, write_seg
from napari_medreason.io.dicom_source import NO_DICOM, DicomSource, dicom_source
from napari_medreason.io.label_codes import LabelCode, label_codes
from napari_medreason.io.mask_on_study import load_mask
from napari_medreason.io.mask_report import mask_report, write_picture, write_report
from napari_medreason.io.nrrd_segments import ascii_name
from napari_medreason.io.proof import (
    Receipt,
    label_content,
    rtstruct_differences,
    seg_differences,
    volume_differences,
)
from napari_medreason.io.registry import read, write

NO_PLACE = "where the image was read from is not known; open the study with MedReason"
NO_ORIENTATION = "the image does not say how it lies in the patient; export NIfTI or NRRD"
MADE_UP_FRAME = "The source has no Frame of Reference UID; one made of its series is used."
UNCODED = "Without a SNOMED code, as “tissue”: {names}."
UNEVEN = "The slices of the study do not lie evenly; positions and volumes in the file are approximate."
ASCII_NAMES = "NRRD holds plain letters only; these names were changed: {names}."
UNKNOWN = "Its orientation is unknown, so the file does not state one."


@dataclass(frozen=True)
class ExportFormat:
    """One line of the table.

    suffixes: the first is the default. needs_dicom: refers to DICOM images. needs_voxels: shows the image,
    which is read again where only its grid is known.
    """

    id: str
    title: str
    suffixes: tuple[str, ...]
    needs_dicom: bool = False
    needs_voxels: bool = False

    def disabled(self, image: Volume, place: Path | None) -> str:
        """Why this format can't be written for masks on an image, "" when it can.

        place: the file or folder that the image was read from.
        """
        if self.needs_voxels and place is None and _has_no_voxels(image):
            return NO_PLACE
        if not self.needs_dicom:
            return ""
        if not image.series_uid or image.modality == dicom_seg.MODALITY:
            return NO_DICOM
        if not image.orientation_known:
            return NO_ORIENTATION
        return NO_PLACE if place is None else ""


MASK_FORMATS = (
    ExportFormat("nifti", "NIfTI labels", (".nii.gz", ".nii")),
    ExportFormat("nrrd", "NRRD segmentation, as in 3D Slicer", (".seg.nrrd", ".nrrd")),
    ExportFormat("dicom-seg", "DICOM segmentation (SEG)", (".seg.dcm", ".dcm"), needs_dicom=True),
    ExportFormat("rtstruct", "DICOM structure set (RTSTRUCT)", (".rtstruct.dcm", ".dcm"), needs_dicom=True),
    ExportFormat("report", "JSON report", (".json",)),
    ExportFormat("overlay", "PNG picture of the fullest slice", (".overlay.png", ".png"), needs_voxels=True),
)
"""What masks can be written as, in the order that choosers show."""
_FRAMES = ("nifti", "nrrd")
"""Forms that hold labels on several frames."""
IMAGE_FORMATS = (
    ExportFormat("nifti-image", "NIfTI image", (".nii.gz", ".nii")),
    ExportFormat("nrrd-image", "NRRD image", (".nrrd",)),
)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A mask and what it was drawn on.

    labels: (k, j, i) on the grid of the image, 0 is background; files of voxels also take frames in front.
    names: of labels. place: the file or folder that the image was read from. frame: 0-based, of a 4D image.
    drawn_by: for DICOM. about: what the JSON report says of an answer.
    """

    labels: NDArray[Any]
    image: Volume
    names: Mapping[int, str] = field(default_factory=dict)
    place: Path | None = None
    frame: int | None = None
    drawn_by: DrawnBy | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def mask_format(form: str) -> ExportFormat:
    """The line of the table with this id; ExportError lists the ids."""
    for one in MASK_FORMATS:
        if one.id == form:
            return one
    raise ExportError(f"{form!r} is no form of export; there are {', '.join(one.id for one in MASK_FORMATS)}")


def export_mask(path: Path, drawing: Drawing, form: str) -> Receipt:
    """Write a mask in one form of the table, read it back and compare.

    The file is whole or not touched; a file that differs from what was meant is kept and told. ExportError
    when it can't be written, LabelMapError for values that are no labels or another grid than the image's.
    """
    path, one = Path(path), mask_format(form)
    if not has_suffix(path, one.suffixes):
        raise ExportError(f"{path.name} is no name for {one.title}; use {' or '.join(one.suffixes)}")
    labels = _smallest(checked_labels(drawing.labels))
    if labels.shape[-3:] != drawing.image.shape_kji or labels.ndim > (4 if form in _FRAMES else 3):
        raise LabelMapError(
            f"the mask has shape {labels.shape}, its image {drawing.image.shape_kji}; they must agree"
        )
    if reason := one.disabled(drawing.image, drawing.place):
        raise ExportError(reason)
    drawing = replace(drawing, labels=labels)
    if form in ("report", "overlay"):
        return _report_export(path, drawing, form)
    return _dicom_export(path, drawing, form) if one.needs_dicom else _voxel_export(path, drawing)


def export_image(path: Path, image: Volume) -> Receipt:
    """Write the voxels of an image in the form that the suffix names, read them back and compare."""
    write(path, image)
    k, j, i = image.shape_kji
    content = f"{counted(k, 'slice', 'slices')} of {j} x {i}"
    if image.voxels.ndim == 4:
        content += f", {counted(image.frame_count, 'frame', 'frames')}"
    return Receipt(Path(path).name, content, volume_differences(Path(path), image), _place_notes(image))


def export_file(
    mask: Path,
    out: Path,
    form: str,
    *,
    study: Volume,
    place: Path,
    frame: int | None = None,
    names: Mapping[int, str] | None = None,
) -> Receipt:
    """Write a mask file in one form of the table, in the geometry of the study it was drawn on.

    place: where the study was read from. frame: of a 4D study. names: of labels, in place of those that
    the file gives. Errors as in `load_mask` and `export_mask`.
    """
    found = load_mask(mask, study, place, frame=frame)
    known = {**found.label_names, **(names or {})}
    receipt = export_mask(out, Drawing(found.voxels, study, known, place, frame), form)
    doubts = found.warnings[len(study.warnings) :]
    return replace(receipt, notes=(*doubts, *receipt.notes))


def _voxel_export(path: Path, drawing: Drawing) -> Receipt:
    image = drawing.image
    drawn = {int(value) for value in np.unique(drawing.labels)} - {0}
    if not drawn:
        raise ExportError("no label is drawn in the mask; there is nothing to export")
    names, notes = _written_names(path, drawing.names, drawn)
    # Without modality and warnings of the image: what is read back is a label map.
    meant = Volume(
        drawing.labels,
        image.affine,
        orientation_known=image.orientation_known,
        label_names=names,
    )
    write(path, meant)
    notes = (*notes, *_place_notes(image))
    return Receipt(path.name, label_content(drawing.labels), volume_differences(path, meant), notes)


def _written_names(
    path: Path, names: Mapping[int, str], drawn: set[int]
) -> tuple[dict[int, str], tuple[str, ...]]:
    """The names of drawn labels as a file will hold them, and what is told of those that it can't hold."""
    values = [value for value in sorted(drawn) if names.get(value, "").strip()]
    found = {one.value: one.name for one in label_codes(np.array(values), names)} if values else {}
    if not has_suffix(path, (".nrrd",)):
        return found, ()
    plain = {value: ascii_name(name) or f"label {value}" for value, name in found.items()}
    changed = [f"“{name}” to “{plain[value]}”" for value, name in found.items() if plain[value] != name]
    return plain, (ASCII_NAMES.format(names=_some(changed)),) if changed else ()


def _place_notes(image: Volume) -> tuple[str, ...]:
    """What a regular grid without doubts can't say of where an image lies."""
    uneven = () if image.slice_positions is None else (UNEVEN,)
    return uneven if image.orientation_known else (UNKNOWN, *uneven)


def _some(words: list[str]) -> str:
    return ", ".join(words[:5]) + (" …" if len(words) > 5 else "")


def _has_no_voxels(image: Volume) -> bool:
    """Whether a volume is a grid alone: one value, repeated without memory of its own."""
    return image.voxels.size > 1 and not any(image.voxels.strides)


def _report_export(path: Path, drawing: Drawing, form: str) -> Receipt:
    labels, image = drawing.labels, drawing.image
    if form == "report":
        notes = () if image.slice_positions is None else (UNEVEN,)
        report = mask_report(labels, image, drawing.names, drawing.about)
        if notes:
            report["notes"] = list(notes)
        return Receipt(path.name, label_content(labels), write_report(path, report), notes)
    if not labels.any():
        raise ExportError("no label is drawn in the mask; there is nothing to export")
    if _has_no_voxels(image) and drawing.place is not None:
        image = read(drawing.place, series=image.series_uid or None)
    if image.shape_kji != labels.shape:
        raise ExportError("the study has changed since it was opened; open it again")
    still = image if image.voxels.ndim == 3 else image.frame(drawing.frame or 0)
    index, differences = write_picture(path, labels, still)
    return Receipt(path.name, f"axial slice {index}", differences)


def _dicom_export(path: Path, drawing: Drawing, form: str) -> Receipt:
    codes_of = label_codes(drawing.labels, drawing.names)
    if drawing.place is None:
        raise ExportError(NO_PLACE)
    source = dicom_source(drawing.place, drawing.image, frame=drawing.frame)
    if form == "dicom-seg":
        write_seg(path, drawing.labels, codes_of, source, drawing.drawn_by)
        content = label_content(drawing.labels, "segment", "segments")
        differences = seg_differences(path, drawing.labels, codes_of, source)
    else:
        rtstruct.write_rtstruct(path, drawing.labels, codes_of, source)
        content = label_content(drawing.labels, "region", "regions")
        differences = rtstruct_differences(path, drawing.labels, codes_of, source)
    return Receipt(path.name, content, differences, _notes(codes_of, source))


def _notes(codes_of: tuple[LabelCode, ...], source: DicomSource) -> tuple[str, ...]:
    uncoded = [one.name for one in codes_of if not one.coded]
    notes = (UNCODED.format(names=_some(uncoded)),) if uncoded else ()
    return (*notes, MADE_UP_FRAME) if source.made_up_frame else notes


def _smallest(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The labels in the smallest type that holds them: every program reads 8 and 16 bits."""
    highest = int(labels.max(initial=0))
    for kind in (np.uint8, np.uint16, np.int32):
        if highest <= np.iinfo(kind).max:
            return labels.astype(kind, copy=False)
    return labels.astype(np.int64, copy=False)
