"""Which files of a folder belong together as one grid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from napari_medreason.core.cautions import Caution
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import ReadOptions, SeriesInfo, counted
from napari_medreason.io.dicom_files import files_at
from napari_medreason.io.dicom_frame import FrameHeader
from napari_medreason.io.dicom_grid import Grid, arrange
from napari_medreason.io.dicom_headers import NO_IMAGE, SEGMENTATION, read_frames
from napari_medreason.io.dicom_split import split

_SCAN_THREADS = 4
"""Headers are small; more than one thread pays on network drives."""
MIXED_SERIES = (
    "The series holds images that make no single grid (localisers, other orientations, sizes or kinds): "
    "{parts} parts, of which one is shown."
)
NO_UID = "no-uid"
"""What images without SeriesInstanceUID (0020,000E) are chosen by."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images that make one grid, and how the user names it."""

    info: SeriesInfo
    grid: Grid


@dataclass(frozen=True, eq=False)
class Scan:
    """What a folder or file holds; left_out counts files without a usable image by what they are."""

    stacks: tuple[Stack, ...]
    left_out: Counter[str]
    segmentations: tuple[Path, ...] = ()


def scan(path: Path, options: ReadOptions) -> Scan:
    """Read the headers of every DICOM file at `path`, folders within it included; largest stack first.

    path: a folder, a DICOMDIR, or one file. The largest stack is the one with most voxels in one frame.
    Raises UnreadableImageError when there is no image and no segmentation.
    """
    files, left_out = files_at(path, options)
    found = scan_files(files, options)
    found.left_out.update(left_out)
    if path.is_dir():
        del found.left_out["not a DICOM file"]
    if not found.stacks and not found.segmentations:
        raise UnreadableImageError(_nothing(path, found.left_out))
    return found


def scan_files(files: list[Path], options: ReadOptions) -> Scan:
    """What these files hold, as `scan` has it; may be nothing."""
    images: list[FrameHeader] = []
    segmentations: list[Path] = []
    left_out: Counter[str] = Counter()
    for file, found in zip(files, _read_all(files, options), strict=True):
        if found == SEGMENTATION:
            segmentations.append(file)
        elif isinstance(found, str):
            left_out[found] += 1
        else:
            images.extend(found)
    return Scan(_stacks(images), left_out, tuple(segmentations))


def _read_all(files: list[Path], options: ReadOptions) -> Iterator[tuple[FrameHeader, ...] | str]:
    with ThreadPoolExecutor(_SCAN_THREADS) as pool:
        futures = [pool.submit(read_frames, file) for file in files]
        try:
            for done, future in enumerate(futures):
                options.report(done, len(files))
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    options.report(len(files), len(files))


def _nothing(path: Path, left_out: Counter[str]) -> str:
    wanted = "CT or MR slices with grey values (DICOM) are accepted"
    if path.is_file():
        what = next(iter(left_out), "not a DICOM file")
        return f"{path.name} can't be read as an image: {what}; {wanted}"
    if not left_out:
        return f"the folder {path.name!r} holds no DICOM image; {wanted}; give other files by their own name"
    return f"{path.name} holds no image that can be read: {_reasons(left_out)}; {wanted}"


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{what} ({counted(count, 'file', 'files')})" for what, count in left_out.most_common())


def scan_warnings(found: Scan, stack: Stack) -> tuple[Caution, ...]:
    """What was passed over, and whether the series of a stack holds more than one grid.

    Reports, plans and DICOMDIR go without saying.
    """
    images = Counter({what: count for what, count in found.left_out.items() if what != NO_IMAGE})
    said = [Caution(f"Left out: {_reasons(images)}.", "other")] if images else []
    uid = stack.grid.frames[0][0].series.uid
    parts = sum(1 for other in found.stacks if other.grid.frames[0][0].series.uid == uid)
    if uid and parts > 1:
        said.append(Caution(MIXED_SERIES.format(parts=parts), "mixed"))
    return tuple(said)


def _stacks(images: list[FrameHeader]) -> tuple[Stack, ...]:
    groups: dict[tuple[object, ...], list[FrameHeader]] = defaultdict(list)
    for image in images:
        groups[(*same_series(image), image.shape, image.position_lps is None)].append(image)
    parts = [part for group in groups.values() for part in split(group)]
    grids = sorted((arrange(part) for part in parts), key=_size, reverse=True)
    seen: Counter[str] = Counter()
    stacks = []
    for grid in grids:
        uid = grid.frames[0][0].series.uid or NO_UID
        seen[uid] += 1
        stacks.append(Stack(_info(grid, uid if seen[uid] == 1 else f"{uid}#{seen[uid]}"), grid))
    return tuple(stacks)


def same_series(image: FrameHeader) -> tuple[object, ...]:
    """What images have in common that can belong to one grid; not the UID alone, which is copied at times."""
    return image.series.uid, image.series.number, image.patient, image.kind


def _size(grid: Grid) -> tuple[int, int, int]:
    """Voxels of one frame, then frames, then the lower series number: what makes a grid the largest."""
    first = grid.frames[0][0]
    voxels = first.shape[0] * first.shape[1] * len(grid.frames[0])
    return voxels, len(grid.frames), -(first.series.number or 0)


def _info(grid: Grid, uid: str) -> SeriesInfo:
    first = grid.frames[0][0]
    series = first.series
    shape = (len(grid.frames[0]), *first.shape)
    return SeriesInfo(uid, series.modality, series.number, series.description, shape, len(grid.frames))
