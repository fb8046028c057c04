"""DICOM image series: a folder, or one file (enhanced multi-frame or a single slice)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.volume import Volume
from napari_medreason.io import dicom_seg
from napari_medreason.io.base import Format, ReadOptions, SeriesInfo
from napari_medreason.io.dicom_choice import choices, choose, sibling_warnings
from napari_medreason.io.dicom_grid import INDISTINCT, Grid, copies_caution
from napari_medreason.io.dicom_headers import SUFFIXES, looks_like_dicom
from napari_medreason.io.dicom_lazy import decode_lazily
from napari_medreason.io.dicom_pixels import decode, value_warnings, values_calibrated
from napari_medreason.io.dicom_series import Scan, Stack, scan_warnings
from napari_medreason.io.modality import guess_modality


def can_read(path: Path) -> bool:
    """Every folder, and files that look like DICOM; segmentations are left to their own module."""
    return path.is_dir() or (looks_like_dicom(path) and not dicom_seg.is_segmentation(path))


def list_series(path: Path, options: ReadOptions) -> tuple[SeriesInfo, ...]:
    """One entry per grid found, largest first, then segmentations."""
    return choices(path, options)


def read(path: Path, options: ReadOptions) -> Volume:
    """One series as a volume; the largest when none is asked for."""
    return _opened(path, options, decode)


def read_lazily(path: Path, options: ReadOptions) -> Volume:
    """As `read`, but slices of calibrated CT are decoded when they are first used."""
    return _opened(path, options, _decode_when_used)


def _decode_when_used(grid: Grid, options: ReadOptions) -> NDArray[np.generic]:
    """A dask array where the default window is fixed, else everything: percentiles need all values."""
    ct = grid.frames[0][0].series.modality == "CT"
    return decode_lazily(grid) if ct and _calibrated(grid) else decode(grid, options)


def _calibrated(grid: Grid) -> bool:
    return grid.calibrated and values_calibrated(grid)


def _opened(
    path: Path, options: ReadOptions, decoded: Callable[[Grid, ReadOptions], NDArray[np.generic]]
) -> Volume:
    chosen = choose(path, options)
    if isinstance(chosen.part, Path):
        return dicom_seg.read(chosen.part, options)
    found, stack = chosen.found, chosen.part
    grid, info = stack.grid, stack.info
    uid = grid.frames[0][0].series.uid
    # Copies show only in their values, so these are needed now.
    voxels, doubts = _without_equal_frames(
        decode(grid, options) if grid.indistinct else decoded(grid, options), grid
    )
    warnings = (*grid.warnings, *doubts, *value_warnings(grid), *scan_warnings(found, stack))
    warnings += sibling_warnings(path, stack)
    if not options.series and len(found.stacks) + len(found.segmentations) > 1:
        warnings += (_others(found, stack),)
    volume = Volume(
        voxels=voxels,
        affine=grid.affine,
        modality=info.modality,
        name=f"{info.modality} series {info.number}" if info.number is not None else info.modality,
        orientation_known=grid.orientation_known,
        calibrated=_calibrated(grid),
        series_uid=info.uid if uid else "",
        warnings=warnings,
        slices_checked=grid.orientation_known,
        slice_positions=grid.slice_positions,
    )
    return guess_modality(volume)


def _without_equal_frames(
    voxels: NDArray[np.generic], grid: Grid
) -> tuple[NDArray[np.generic], tuple[Caution, ...]]:
    """One frame where headers do not tell the frames apart and their values do not either."""
    if not grid.indistinct:
        return voxels, ()
    if all(np.array_equal(voxels[0], frame) for frame in voxels[1:]):
        return voxels[0].copy(), (copies_caution((len(grid.frames) - 1) * len(grid.frames[0])),)
    return voxels, (INDISTINCT,)


def _others(found: Scan, stack: Stack) -> Caution:
    count = len(found.stacks) + len(found.segmentations) - 1
    rest = "another series is" if count == 1 else f"{count} other series are"
    return Caution(
        f"The largest series is shown ({stack.info.slice_count} slices); {rest} there to choose from.",
        "other",
    )


FORMAT = Format("DICOM", SUFFIXES, can_read, read, list_series, read_lazily=read_lazily)
