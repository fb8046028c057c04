"""DICOM segmentations and structure sets as Labels layers, on the study they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, LabelMapError, MedReasonError, UnreadableImageError
from napari_medreason.io import dicom_seg, rtstruct
from napari_medreason.io.base import ReadOptions
from napari_medreason.io.mask_on_study import load_mask
from napari_medreason.layers.opened import OpenedStudy, opened_studies
from napari_medreason.layers.study import (
    AXIS_LABELS,
    METADATA_KEY,
    STORED_AXIS_LABELS,
    LayerDataTuple,
    StudyRef,
    display_array,
    grid_volume,
    image_layer,
    open_studies,
)


def mask_layer(path: Path) -> tuple[LayerDataTuple, tuple[str, ...]]:
    """The segments of a file as one Labels layer with their names, and doubts about it.

    It lies on the study of its series that is open; without one a segmentation lies where its own header
    says, and a structure set is refused (UnreadableImageError): contours have no grid of their own.
    """
    referenced = _referenced(path)
    fault: MedReasonError | None = None
    for opened in _open_of(referenced):
        grid = grid_volume(opened.study, opened.slice_positions)
        try:
            mask = load_mask(path, grid, opened.place)
        except (LabelMapError, ExportError) as error:
            fault = error
            continue
        return _layer(mask, opened.study), mask.warnings
    if rtstruct.is_rtstruct(path):
        reason = f": {fault}" if fault else ""
        raise UnreadableImageError(f"open the series that {path.name} was drawn on first{reason}")
    alone = dicom_seg.read(path, ReadOptions())
    study: StudyRef = image_layer(alone, path)[1]["metadata"][METADATA_KEY]["study"]
    return _layer(alone, study), alone.warnings


def _referenced(path: Path) -> tuple[str, ...]:
    return (
        rtstruct.referenced_series(path)
        if rtstruct.is_rtstruct(path)
        else dicom_seg.open_seg(path).referenced_series
    )


def _open_of(referenced: tuple[str, ...]) -> list[OpenedStudy]:
    shown = {study.id for study in open_studies()}
    return [
        one
        for one in opened_studies()
        if one.study.id in shown and one.study.series_uid.partition("#")[0].partition("+")[0] in referenced
    ]


def _layer(mask: Volume, study: StudyRef) -> LayerDataTuple:
    labels = np.ascontiguousarray(mask.voxels)
    names = dict(mask.label_names)
    spatial = slice(-3, None)
    attributes: dict[str, Any] = {
        "name": f"{study.name} - {', '.join(names.values())}"[:80] if names else "segmentation",
        "scale": study.scale[spatial],
        "translate": study.translate[spatial],
        "units": ("mm",) * 3 if study.calibrated and study.orientation_known else ("pixel",) * 3,
        "axis_labels": AXIS_LABELS if study.orientation_known else STORED_AXIS_LABELS,
        "features": {"index": list(names), "name": list(names.values())},
        "metadata": {METADATA_KEY: {"study": study, "label_names": names}},
    }
    return display_array(labels, study), attributes, "labels"
