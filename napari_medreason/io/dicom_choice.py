"""Which grid of a folder is read, what can be chosen instead, and what is not put together by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

from napari_medreason.core.cautions import Caution
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io import dicom_seg
from napari_medreason.io.base import ReadOptions, SeriesInfo
from napari_medreason.io.dicom_affine import image_directions
from napari_medreason.io.dicom_files import beside, has_siblings, is_directory_file
from napari_medreason.io.dicom_grid import Grid
from napari_medreason.io.dicom_seg_grid import seg_affine
from napari_medreason.io.dicom_series import NO_UID, Scan, Stack, same_series, scan, scan_files
from napari_medreason.io.dicom_values import DAMAGED, whole_number

WHOLE_SERIES = "+folder"
"""Ends the id of a series that is read from the folder of the one file that was given."""
MORE_BESIDE = Caution(
    "More of its series lies beside it: open the folder, or choose the whole series, for all.", "gaps"
)
_SAME_DIRECTION = 0.01
_BETWEEN = 0.25
"""A slice lies between others when it is further than this share of their step from each of them."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """One grid, or the file of one segmentation, among all that was found."""

    found: Scan
    part: Stack | Path


def choices(path: Path, options: ReadOptions) -> tuple[SeriesInfo, ...]:
    """What `choose` can be asked for: images, largest first, then segmentations.

    One file of a series comes after the whole series, where more of it lies in the same folder.
    """
    found = scan(path, options)
    listed = (*(stack.info for stack in found.stacks), *(info for _, info in _segmentations(found)))
    whole = _whole_series(path, found, options)
    return listed if whole is None else (whole.info, *listed)


def choose(path: Path, options: ReadOptions) -> Chosen:
    """The series asked for, or the largest; UnreadableImageError where that would be a guess too far."""
    found = scan(path, options)
    if options.series.endswith(WHOLE_SERIES):
        whole = _whole_series(path, found, options)
        if whole is not None and whole.info.uid == options.series:
            return Chosen(found, whole)
    if options.series:
        return _asked(found, options.series)
    if not found.stacks:
        return Chosen(found, found.segmentations[0])
    _refuse_several_patients(path, found)
    _refuse_differing_sizes(path, found)
    return Chosen(found, found.stacks[0])


def _asked(found: Scan, series: str) -> Chosen:
    for stack in found.stacks:
        if stack.info.uid == series:
            return Chosen(found, stack)
    for file, info in _segmentations(found):
        if info.uid == series:
            return Chosen(found, file)
    raise UnreadableImageError(
        f"no series has the id {series!r}; there are {len(found.stacks)}: {_some_ids(found)}"
    )


def _some_ids(found: Scan) -> str:
    return ", ".join(stack.info.uid for stack in found.stacks[:5])


def _refuse_several_patients(path: Path, found: Scan) -> None:
    patients = {stack.grid.frames[0][0].patient for stack in found.stacks} - {b""}
    if len(patients) > 1:
        raise UnreadableImageError(
            f"{path.name} holds images of {len(patients)} patients; choose one series (--series, or "
            f"“Open study…”): {_some_ids(found)}"
        )


def _refuse_differing_sizes(path: Path, found: Scan) -> None:
    """Slices of another size between those of the largest stack would be left out as if missing."""
    main = found.stacks[0]
    for other in found.stacks[1:]:
        if _lies_between(main.grid, other.grid):
            sizes = [f"{part.info.shape_kji[2]} x {part.info.shape_kji[1]}" for part in (main, other)]
            raise UnreadableImageError(
                f"the slices of a series in {path.name} differ in size or pixel size ({sizes[0]} and "
                f"{sizes[1]} pixels) and make no volume; export the series again, or choose the slices of "
                f"one size (--series {main.info.uid})"
            )


def _lies_between(main: Grid, other: Grid) -> bool:
    """Whether slices of `other` are of the same series and orientation and in between those of `main`."""
    first, second = main.frames[0][0], other.frames[0][0]
    if same_series(first) != same_series(second) or not (main.orientation_known and other.orientation_known):
        return False
    if len(main.frames[0]) < 2 or not np.allclose(
        image_directions(first), image_directions(second), atol=_SAME_DIRECTION
    ):
        return False
    normal = image_directions(first)[2]
    levels, others = (
        np.array([image.position_lps for image in grid.frames[0]], np.float64) @ normal
        for grid in (main, other)
    )
    step = float(np.median(np.diff(levels)))
    distance = np.abs(others[:, np.newaxis] - levels).min(axis=1)
    inside = (others > levels[0]) & (others < levels[-1])
    return bool((inside & (distance > _BETWEEN * step)).any())


def _whole_series(path: Path, found: Scan, options: ReadOptions) -> Stack | None:
    """The grid in the folder of a file that its slices are part of; None when there is no more of it."""
    if path.is_dir() or is_directory_file(path) or not found.stacks:
        return None
    first = found.stacks[0].grid.frames[0][0]
    if not first.series.uid:
        return None
    around = scan_files(beside(path), options)
    home = next((stack for stack in around.stacks if path in _files(stack)), None)
    if home is None or _files(home) == {path}:
        return None
    description = f"{home.info.description} (whole series, {len(_files(home))} files)".strip()
    return replace(
        home, info=replace(home.info, uid=first.series.uid + WHOLE_SERIES, description=description)
    )


def _files(stack: Stack) -> set[Path]:
    return {image.path for frame in stack.grid.frames for image in frame}


def sibling_warnings(path: Path, chosen: Stack) -> tuple[Caution, ...]:
    """One sentence when a single file was opened and more of its series lies in the same folder."""
    alone = path.is_file() and not chosen.info.uid.endswith(WHOLE_SERIES) and not is_directory_file(path)
    return (MORE_BESIDE,) if alone and has_siblings(path, chosen.grid.frames[0][0].series.uid) else ()


def _segmentations(found: Scan) -> Iterator[tuple[Path, SeriesInfo]]:
    """Segmentations that can be read, and how the user names them."""
    taken = {stack.info.uid for stack in found.stacks}
    for file in found.segmentations:
        try:
            info = _segmentation_info(file)
        except (UnreadableImageError, *DAMAGED):
            continue
        uid, number = info.uid, 2
        while uid in taken:
            uid, number = f"{info.uid}#{number}", number + 1
        taken.add(uid)
        yield file, replace(info, uid=uid)


def _segmentation_info(file: Path) -> SeriesInfo:
    header = pydicom.dcmread(
        file,
        stop_before_pixels=True,
        specific_tags=["SeriesInstanceUID", "SeriesNumber", "SeriesDescription"],
    )
    found = dicom_seg.open_seg(file)
    slices = max(seg_affine(found)[1]) + 1
    return SeriesInfo(
        uid=str(header.get("SeriesInstanceUID") or NO_UID),
        modality=dicom_seg.MODALITY,
        number=whole_number(header, "SeriesNumber"),
        description=str(header.get("SeriesDescription", "")),
        shape_kji=(slices, *found.shape),
    )
