"""Which format reads or writes a file; formats are found, not listed."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import napari_medreason.io as package
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError
from napari_medreason.io.base import Cancelled, Format, Progress, ReadOptions, SeriesInfo, has_suffix


@cache
def formats() -> tuple[Format, ...]:
    """Every module constant FORMAT of this package, in the order of the module names."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return tuple(module.FORMAT for module in modules if hasattr(module, "FORMAT"))


def read(
    path: str | Path,
    *,
    series: str | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Volume:
    """Read the study at `path` (file, folder or zip) into memory.

    series: `SeriesInfo.uid` of the one wanted; the largest by default, and then the others are
    named in `warnings`. progress: called twice over for DICOM (headers, then slices). Raises
    UnreadableImageError, and CancelledError once `cancelled()` is true.
    """
    path = Path(path)
    found = _format_of(path)
    if series and found.list_series is None:
        raise UnreadableImageError(f"{path.name} holds one image and no series; leave the series out")
    return found.read(path, ReadOptions(series or "", progress, cancelled))


def list_series(
    path: str | Path, *, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> tuple[SeriesInfo, ...]:
    """The series at `path`, largest first, from headers alone; one entry for a single-image file."""
    path = Path(path)
    found = _format_of(path)
    options = ReadOptions("", progress, cancelled)
    if found.list_series is not None:
        return found.list_series(path, options)
    volume = found.read(path, options)
    return (SeriesInfo("", volume.modality, None, volume.name, volume.shape_kji, volume.frame_count),)


def write(path: str | Path, data: Volume | NDArray[np.generic], *, like: Volume | None = None) -> None:
    """Write a volume, or a (k, j, i) mask with the geometry of `like`, to a file named by its suffix.

    A bool mask becomes uint8; volumes keep their dtype and values. The file appears complete or not
    at all. Raises ExportError.
    """
    path = Path(path)
    writers = [found for found in formats() if found.write is not None]
    for found in writers:
        if found.write is not None and has_suffix(path, found.suffixes):
            return found.write(path, _as_volume(data, like))
    known = ", ".join(suffix for found in writers for suffix in found.suffixes)
    raise ExportError(f"{path.name} has no suffix that can be written; use one of {known}")


def _as_volume(data: Volume | NDArray[np.generic], like: Volume | None) -> Volume:
    if isinstance(data, Volume):
        return data
    if like is None:
        raise ExportError("a mask is written with the geometry of its image; give that image as `like`")
    if data.shape not in (like.shape_kji, like.voxels.shape):
        raise ExportError(f"the mask has shape {data.shape}, its image {like.voxels.shape}; they must agree")
    return replace(like, voxels=data.astype(np.uint8) if data.dtype == np.bool_ else data)


def _format_of(path: Path) -> Format:
    if not path.exists():
        raise UnreadableImageError(f"there is no file or folder {path.name!r} at this place; check the path")
    try:
        found = next((entry for entry in formats() if entry.can_read(path)), None)
    except OSError as error:
        raise UnreadableImageError(f"{path.name} can't be opened: {error.strerror}") from error
    if found is None:
        raise UnreadableImageError(f"{path.name} is no image format that is known; accepted: {accepted()}")
    return found


def accepted() -> str:
    """The accepted formats as words for a message."""
    return ", ".join(f"{found.name} ({' '.join(found.suffixes)})" for found in formats())
