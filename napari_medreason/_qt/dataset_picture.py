"""The picture of a record: its slice with the outline of the mask, its box and its key points."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medreason import io
from napari_medreason._qt.dataset_form import CONFIG
from napari_medreason.core.plane import cut
from napari_medreason.core.record import Record
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.errors import MedReasonError

OUTLINE, BOX, POINT = (255, 210, 60), (90, 170, 255), (255, 90, 90)


def source_folders(records_file: Path) -> dict[str, Path]:
    """Folders of the sources by name, from the configuration beside the records; empty without one."""
    config = records_file.with_name(CONFIG)
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sources = table.get("sources", [])
    return {str(one.get("name")): config.parent / str(one.get("root")) for one in sources}


def record_picture(record: Record, folders: Mapping[str, Path]) -> tuple[NDArray[np.uint8], str]:
    """(rows, columns, 3) RGB picture of the result plane, and why its image is missing, "" when it is not."""
    grey, fault = _grey(record, folders)
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    mask = record.mask
    picture[mask & ~ndimage.binary_erosion(mask)] = OUTLINE
    _draw_box(picture, record)
    for x, y in record.key_points_plane:
        row, column = round(y), round(x)
        picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = POINT
    return picture, fault


def _grey(record: Record, folders: Mapping[str, Path]) -> tuple[NDArray[np.uint8], str]:
    mask_only = np.where(record.mask, 90, 20).astype(np.uint8)
    folder, place = folders.get(record.source), record.image
    if folder is None or not place.path:
        return mask_only, "only a mask is known"
    try:
        volume = _volume(folder / place.path)
        window = default_window(volume)
        image = cut(volume, place.axis, place.index, window).image
    except MedReasonError as error:
        return mask_only, str(error)
    if image.shape != place.shape:
        return mask_only, "the image has another size than the record"
    shown = np.clip((image.astype(float) - window.low) / max(window.high - window.low, 1e-9), 0, 1)
    return (np.nan_to_num(shown) * 235).astype(np.uint8), ""


@lru_cache(maxsize=2)
def _volume(path: Path) -> Volume:
    return io.read(path)


def _draw_box(picture: NDArray[np.uint8], record: Record) -> None:
    x0, y0, x1, y1 = (int(edge) for edge in record.box_plane)
    last_row, last_column = picture.shape[0] - 1, picture.shape[1] - 1
    top, bottom, left, right = max(0, y0 - 1), min(last_row, y1), max(0, x0 - 1), min(last_column, x1)
    picture[[top, bottom], left : right + 1] = BOX
    picture[top : bottom + 1, [left, right]] = BOX
