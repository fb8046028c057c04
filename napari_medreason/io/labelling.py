"""From a label map file, and the image it belongs to, to a table of regions."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.body_frame import body_frame
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.region_columns import RegionSettings
from napari_medreason.core.regions import RegionTable, slice_regions
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError
from napari_medreason.io.base import counted
from napari_medreason.io.dicom_seg import is_segmentation
from napari_medreason.io.mask_on_study import load_mask
from napari_medreason.io.modality import TAKEN_AS_CT
from napari_medreason.io.registry import read
from napari_medreason.io.rtstruct import is_rtstruct

_GUESSED_MODALITY = TAKEN_AS_CT.partition(";")[0]

EMPTY = "The label map holds no label: every value is 0, which is background."
ONE_PIXEL = "{regions} a single pixel, which is given as both key points."
NO_BODY = (
    "The body is not seen whole on the image (it does not stand out from air, or is cut off at a side); "
    "sides, depths and levels are relative to the field of view."
)
UNKNOWN_IMAGE = "The orientation of the image is unknown; positions are relative to the field of view."
ELSEWHERE = (
    "Mask and image lie up to {distance:.1f} mm apart by their headers; the mask's own header is used, "
    "and positions are relative to its field of view."
)


def label_table(
    mask: Path, image: Path | None, settings: RegionSettings, *, frame: int | None = None
) -> tuple[RegionTable, tuple[str, ...]]:
    """The regions of a label map file, and what must be known before they are used.

    image: the study of the mask; patient positions are then relative to the body on it, and DICOM
    segmentations and structure sets are put on its slices. frame: 0-based, for a 4D label map. Raises
    UnreadableImageError, QuestionError, and LabelMapError for values that are no labels or a mask of another
    size than the image.
    """
    body_source = read(image) if image is not None else None
    volume = _mask_volume(mask, image, body_source, frame)
    if body_source is not None:
        _check_size(volume, body_source)
    table = slice_regions(
        volume,
        axis=settings.axis,
        rule=settings.rule,
        near_fraction=settings.near_fraction,
        key_points=settings.key_points,
        components=settings.components,
    )
    warnings = [text for text in volume.warnings if not text.startswith(_GUESSED_MODALITY)]
    if body_source is not None and not table.withheld:
        table, note = _against_body(table, volume, body_source)
        warnings += note
    return table, (*warnings, *_notes(table))


def _mask_volume(mask: Path, image: Path | None, study: Volume | None, frame: int | None) -> Volume:
    refers = is_segmentation(mask) or is_rtstruct(mask)
    if study is not None and refers:
        return load_mask(mask, study, image, frame=frame)
    if refers and is_rtstruct(mask):
        raise LabelMapError(f"{mask.name} holds contours, which have no slices of their own; give its image")
    return read(mask).frame(frame)


def _check_size(mask: Volume, image: Volume) -> None:
    if mask.shape_kji == image.shape_kji:
        return
    if sorted(mask.shape_kji) == sorted(image.shape_kji) and _apart_mm(mask, image) < _tolerance_mm(mask):
        return
    raise LabelMapError(
        f"the mask has {_size(mask)} voxels (slices x rows x columns), the image {_size(image)}; "
        "they must be of the same size: resample the mask to the grid of the image"
    )


def _against_body(table: RegionTable, mask: Volume, image: Volume) -> tuple[RegionTable, list[str]]:
    if not image.orientation_known:
        return table, [UNKNOWN_IMAGE]
    distance = _apart_mm(mask, image)
    if distance > _tolerance_mm(mask):
        return table, [ELSEWHERE.format(distance=distance)]
    still = image if image.voxels.ndim == 3 else replace(image, voxels=image.voxels[0])
    body = body_frame(still)
    return (table, [NO_BODY]) if body is None else (table.with_body(body), [])


def _notes(table: RegionTable) -> list[str]:
    notes = [table.withheld] if table.withheld else []
    if len(table) == 0:
        notes.append(EMPTY)
    if table.degenerate.any() and table.settings.key_points:
        notes.append(
            ONE_PIXEL.format(regions=counted(int(table.degenerate.sum()), "region is", "regions are"))
        )
    return notes


def _size(volume: Volume) -> str:
    return " x ".join(str(count) for count in volume.shape_kji)


def _tolerance_mm(volume: Volume) -> float:
    return 0.5 * min(volume.spacing_kji)


def _corners_lps(volume: Volume) -> NDArray[np.float64]:
    upper = [count - 1 for count in volume.shape_kji[::-1]]
    return index_to_lps(list(product(*[(0, last) for last in upper])), volume.affine)


def _apart_mm(mask: Volume, image: Volume) -> float:
    """The most that a corner of one grid is away from the nearest of the other; 0 for flipped storage."""
    ours, theirs = _corners_lps(mask), _corners_lps(image)
    distances = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    return float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))
