"""Which format reads or writes a file; formats are found, not listed."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import napari_medreason.io as package
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError
from napari_medreason.io.base import Cancelled, Format, Progress, ReadOptions, SeriesInfo, has_suffix
from napari_medreason.io.quiet import quiet_libraries

ENTRY_POINT_GROUP = "napari_medreason.formats"

_log = logging.getLogger(__name__)


@cache
def formats() -> tuple[Format, ...]:
    """Every module constant FORMAT of this package, by module name, then those of installed packages.

    Other packages name theirs in the entry-point group `napari_medreason.formats`; one that can't be
    loaded is logged and left out.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    own = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return (*own, *_third_party())


def _third_party() -> Iterator[Format]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value)):
        try:
            found = point.load()
        except (ImportError, AttributeError) as error:
            _log.warning("format %s (%s) can't be used: %s", point.name, point.value, error)
            continue
        if isinstance(found, Format):
            yield found
        else:
            _log.warning("format %s (%s) is no Format object", point.name, point.value)


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
    return _with_series(path, series).read(path, ReadOptions(series or "", progress, cancelled))


def read_lazily(path: str | Path, *, series: str | None = None) -> Volume:
    """Read the study at `path` with voxels that are decoded when first used, where that can be done.

    The same volume as from `read`, sooner: for calibrated CT as a DICOM folder or file, voxels is a
    dask array with one chunk per slice, and everything else comes from the headers. Other formats
    and archives are read whole. So are MR and others: their default window are percentiles of all
    values, and that must not depend on how the study was opened. Raises UnreadableImageError here
    when the first, middle or last slice can't be decoded, and on first use of any other such slice.
    """
    path = Path(path)
    found = _with_series(path, series)
    return (found.read_lazily or found.read)(path, ReadOptions(series or ""))


def _with_series(path: Path, series: str | None) -> Format:
    found = _format_of(path)
    if series and found.list_series is None:
        raise UnreadableImageError(f"{path.name} holds one image and no series; leave the series out")
    return found


def list_series(
    path: str | Path, *, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> tuple[SeriesInfo, ...]:
    """The series at `path`, largest first, from headers alone; none for formats that hold one image."""
    path = Path(path)
    found = _format_of(path)
    if found.list_series is None:
        return ()
    return found.list_series(path, ReadOptions("", progress, cancelled))


def write(path: str | Path, data: Volume | NDArray[np.generic], *, like: Volume | None = None) -> None:
    """Write a volume, or a (k, j, i) mask with the geometry of `like`, to a file named by its suffix.

    A bool mask becomes uint8; volumes keep their dtype and values. The file appears complete or not
    at all. Raises ExportError.
    """
    quiet_libraries()
    path = Path(path)
    writers = [found for found in formats() if found.write is not None]
    for found in writers:
        if found.write is not None and has_suffix(path, found.written_suffixes or found.suffixes):
            return found.write(path, _as_volume(data, like))
    known = ", ".join(suffix for found in writers for suffix in found.written_suffixes or found.suffixes)
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
    quiet_libraries()
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
