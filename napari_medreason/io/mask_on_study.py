"""Mask files of every kind on the grid of the study they were drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.grid_match import on_grid_of
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError
from napari_medreason.io import dicom_seg, rtstruct
from napari_medreason.io.base import ReadOptions
from napari_medreason.io.dicom_planes import Planes, planes_of
from napari_medreason.io.dicom_source import dicom_source
from napari_medreason.io.registry import read

REGIONS_OVERLAP = "Regions overlap in {voxels:,} voxels; of these the smaller region is shown."
AS_STORED = Caution(
    "The mask does not say how it lies in the patient; it was taken to be stored as its image is, "
    "so look whether it lies right.",
    "orientation",
)


def load_mask(path: Path, image: Volume, place: Path | None = None, *, frame: int | None = None) -> Volume:
    """A mask file of any readable kind on the grid of an image, with the names that it gives.

    Doubts about the mask follow the warnings of the image. DICOM segmentations and structure sets are put on
    the slices of the series at `place`, so that uneven and tilted ones come out right. Raises
    UnreadableImageError and LabelMapError.
    """
    if rtstruct.is_rtstruct(path):
        return _rois_on(path, image, _planes(image, place, frame))
    if dicom_seg.is_segmentation(path):
        return _segments_on(path, image, place, frame)
    mask = read(path).frame(None)
    labels = on_grid_of(replace(mask, voxels=checked_labels(mask.voxels)), image)
    doubts = (AS_STORED,) if image.orientation_known and not mask.orientation_known else ()
    return _mask_on(image, labels, mask.label_names, doubts)


def _mask_on(
    image: Volume, labels: NDArray[np.generic], names: Mapping[int, str], doubts: tuple[str, ...]
) -> Volume:
    return replace(image, voxels=labels, label_names=names, warnings=(*image.warnings, *doubts))


def _planes(image: Volume, place: Path | None, frame: int | None) -> Planes:
    """The slices as they lie: as their reader kept them, or of the series; else those of the regular grid."""
    if image.slice_positions is not None or place is None or not image.series_uid:
        return planes_of(image)
    return dicom_source(place, image, frame=frame).planes


def _segments_on(path: Path, image: Volume, place: Path | None, frame: int | None) -> Volume:
    names = {segment.number: segment.name for segment in dicom_seg.open_seg(path).segments}
    try:
        labels, doubts = _on_slices(path, image, place, frame)
    except LabelMapError:
        # another order of storage, as from a flipped NIfTI image
        alone = dicom_seg.read(path, ReadOptions())
        return _mask_on(image, on_grid_of(alone, image), names, alone.warnings)
    return _mask_on(image, labels, names, doubts)


def _on_slices(
    path: Path, image: Volume, place: Path | None, frame: int | None
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    try:
        return dicom_seg.on_planes(path, planes_of(image))
    except LabelMapError:
        # Positions that the reader took as even, but that are rounded; only the series has them.
        planes = _planes(image, place, frame)
    return dicom_seg.on_planes(path, planes)


def _rois_on(path: Path, image: Volume, planes: Planes) -> Volume:
    """Where regions overlap, the smaller one is kept: an organ, not the outline of the body around it."""
    rois = list(rtstruct.read_rois(path, planes))
    labels = np.zeros(image.shape_kji, np.uint8 if len(rois) < 256 else np.uint16)
    sizes, shared = np.zeros(len(rois) + 1, np.int64), np.zeros(image.shape_kji, np.bool_)
    for number, roi in enumerate(rois, 1):
        mask = roi.mask(image.shape_kji)
        before = labels[mask]
        sizes[number] = before.size
        labels[mask] = np.where((before == 0) | (sizes[before] >= before.size), number, before)
        shared[mask] |= before > 0
    overlap = int(np.count_nonzero(shared))
    doubts = (REGIONS_OVERLAP.format(voxels=overlap),) if overlap else ()
    return _mask_on(image, labels, {n: roi.name for n, roi in enumerate(rois, 1)}, doubts)
