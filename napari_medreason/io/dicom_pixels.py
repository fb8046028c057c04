"""Stored DICOM pixels to real values, decoded in threads into one array."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import ReadOptions, allocate
from napari_medreason.io.dicom_decoders import (
    PixelFaultError,
    decodes_whole_file,
    fault,
    needs_process,
    stored_frames,
)
from napari_medreason.io.dicom_frame import FrameHeader, StoredPixels
from napari_medreason.io.dicom_grid import Grid
from napari_medreason.io.dicom_plain import check_sizes, plain_frames
from napari_medreason.io.dicom_process import DecoderProcesses
from napari_medreason.io.dicom_values import DAMAGED

_MAX_THREADS = 4
_FRAMES_PER_TASK = 32
_SETTLE_SECONDS = 5.0
"""Longest wait for decoders that are at an image when another image has values beyond int16."""
_INT16 = np.iinfo(np.int16)
_KEEPS_VALUES = ("CT", "PT")
"""Modalities whose values are physical: MONOCHROME1 then only says how to show them."""

INVERTED = Caution(
    "The images are stored with high values as black (MONOCHROME1); values were inverted, so bright is high.",
    "values",
)
SHOWN_INVERTED = Caution(
    "The images ask to be shown with high values as black (MONOCHROME1); calibrated values are unchanged.",
    "values",
)
NOT_HOUNSFIELD = Caution(
    "These CT images give no rescale to Hounsfield units; grey values are not calibrated.", "values"
)
LOOK_UP_TABLE = Caution(
    "The images come with a look-up table for their values (Modality LUT), which is not applied; "
    "grey values are not calibrated.",
    "values",
)


class DoesNotFitError(Exception):
    """A value is not a whole number within int16."""


class Target(Protocol):
    """Where decoded images go: an array (frame, k, j, i), or what takes them by (frame, k)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images."""

    def __setitem__(self, place: tuple[int, int], image: NDArray[Any], /) -> None:
        """Take the (rows, columns) image at (frame, k)."""


@dataclass(frozen=True, eq=False)
class Task:
    """Frames of one file and the (frame, k) where the values of each go."""

    path: Path
    frames: tuple[tuple[FrameHeader, tuple[int, int]], ...]


def decode(grid: Grid, options: ReadOptions) -> NDArray[np.generic]:
    """Real values, (frame, k, j, i), or (k, j, i) for a single frame.

    slope x stored + intercept, each image with its own: int16 when every value is a whole number
    that fits, else float32. Memory is the result plus one image per thread. Raises
    UnreadableImageError when an image can't be decoded.
    """
    first = grid.frames[0][0]
    tasks = tasks_of(grid)
    check_sizes(task.frames[0][0] for task in tasks)
    shape = (len(grid.frames), len(grid.frames[0]), *first.shape)
    for dtype in (np.int16, np.float32) if may_fit_int16(grid) else (np.float32,):
        values = allocate(shape, dtype, first.path.name)
        try:
            _decode_into(values, tasks, options)
        except DoesNotFitError:
            del values
            continue
        return values[0] if shape[0] == 1 else values
    raise UnreadableImageError(f"{first.path.name} holds values that can't be kept as float32")


def value_warnings(grid: Grid) -> tuple[Caution, ...]:
    """What a user must know about the grey values."""
    images = [image for frame in grid.frames for image in frame]
    found = []
    if any(image.pixels.inverted for image in images):
        found.append(SHOWN_INVERTED if images[0].series.modality in _KEEPS_VALUES else INVERTED)
    if any(image.pixels.look_up_table for image in images):
        found.append(LOOK_UP_TABLE)
    elif not values_calibrated(grid):
        found.append(NOT_HOUNSFIELD)
    return tuple(found)


def values_calibrated(grid: Grid) -> bool:
    """False where, on any image, a look-up table is not applied or unsigned CT comes without a rescale."""
    return not any(
        image.pixels.look_up_table or _is_raw_ct(image) for frame in grid.frames for image in frame
    )


def _is_raw_ct(image: FrameHeader) -> bool:
    return image.series.modality == "CT" and not image.pixels.rescaled and not image.pixels.signed


def may_fit_int16(grid: Grid) -> bool:
    """Whether slopes and intercepts are whole, so that int16 is worth trying."""
    scales = {(image.pixels.slope, image.pixels.intercept) for frame in grid.frames for image in frame}
    return all(part == round(part) and abs(part) <= _INT16.max for scale in scales for part in scale)


def _decode_into(values: NDArray[np.generic], tasks: list[Task], options: ReadOptions) -> None:
    total = sum(len(task.frames) for task in tasks)
    stop, processes = Event(), DecoderProcesses()
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        pending = {pool.submit(decode_task, task, values, processes, stop): task for task in tasks}
        try:
            _collect(pending, total, options)
        except DoesNotFitError:
            # Nothing is damaged: decoders may end the image they are at, to be used again.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in pending if not future.cancelled()], timeout=_SETTLE_SECONDS)
            raise
        finally:
            stop.set()
            processes.close()
            pool.shutdown(wait=True, cancel_futures=True)
            processes.collect()


def _collect(pending: dict[Future[None], Task], total: int, options: ReadOptions) -> None:
    done_images = 0
    waiting = set(pending)
    options.report(0, total)
    while waiting:
        finished, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            done_images += len(pending[future].frames)
        options.report(done_images, total)


def tasks_of(grid: Grid, *, frames_per_task: int = _FRAMES_PER_TASK) -> list[Task]:
    """What is decoded together: an image, or so many neighbouring frames of a multi-frame file.

    All its frames where the decoder works on whole files anyway.
    """
    by_file: dict[Path, list[tuple[FrameHeader, tuple[int, int]]]] = defaultdict(list)
    for n, frame in enumerate(grid.frames):
        for k, image in enumerate(frame):
            by_file[image.path].append((image, (n, k)))
    tasks: list[Task] = []
    for path, entries in by_file.items():
        entries.sort(key=lambda entry: (entry[0].frame_index, entry[1]))
        pixels = entries[0][0].pixels
        whole = decodes_whole_file(pixels.transfer_syntax, pixels.bits_stored)
        size = len(entries) if whole else frames_per_task
        tasks.extend(Task(path, tuple(entries[n : n + size])) for n in range(0, len(entries), size))
    return tasks


def decode_task(task: Task, values: Target, processes: DecoderProcesses, stop: Event) -> None:
    """Put the real values of the task's images into `values`, of its dtype, as `decode` has them.

    Ends early once `stop` is set. Raises UnreadableImageError, and DoesNotFitError for int16.
    """
    try:
        stored_images = _stored(task, processes)
        for _, group in groupby(task.frames, key=lambda entry: entry[0].frame_index):
            stored = next(stored_images)
            for image, place in group:
                if stop.is_set():
                    return
                values[place] = _real(_part(stored, image), image, values.dtype)
    except (PixelFaultError, *DAMAGED, StopIteration) as error:
        if not task.path.is_file():
            raise UnreadableImageError(
                f"the image {task.path.name} is no longer there; put it back, or open the study again"
            ) from error
        raise UnreadableImageError(
            f"the image {task.path.name} can't be decoded: {fault(error)}; "
            "export it again, uncompressed if possible"
        ) from error


def _stored(task: Task, processes: DecoderProcesses) -> Iterator[NDArray[Any]]:
    """Stored values of each frame of the task, once where its images are tiles of one frame."""
    path, pixels = task.path, task.frames[0][0].pixels
    wanted = list(dict.fromkeys(image.frame_index for image, _ in task.frames))
    compressed = needs_process(pixels.transfer_syntax)
    if not compressed and (plain := plain_frames(path, wanted, pixels)) is not None:
        return plain
    read = processes.stored_frames if compressed else stored_frames
    return read(path, wanted, transfer_syntax=pixels.transfer_syntax, bits_stored=pixels.bits_stored)


def _part(stored: NDArray[Any], image: FrameHeader) -> NDArray[Any]:
    """The image itself, or its tile of a mosaic."""
    if image.tile is not None and stored.ndim == 2:
        row, column = image.tile
        stored = stored[row : row + image.shape[0], column : column + image.shape[1]]
    if stored.shape != image.shape:
        raise PixelFaultError("its pixel data is not of the size that its header says")
    return stored


def _real(stored: NDArray[Any], image: FrameHeader, dtype: np.dtype[Any]) -> NDArray[Any]:
    pixels = image.pixels
    if dtype == np.int16:
        return _whole(stored, image)
    real = _upright(stored.astype(np.float64), image) * pixels.slope + pixels.intercept
    return np.asarray(real.astype(np.float32))


def _whole(stored: NDArray[Any], image: FrameHeader) -> NDArray[np.int16]:
    """As int16; DoesNotFitError unless every value is a whole number that fits.

    Once the extremes fit, arithmetic modulo 2**16 gives every other value exactly.
    """
    if stored.dtype.kind == "f":
        raise DoesNotFitError
    slope, intercept = int(image.pixels.slope), int(image.pixels.intercept)
    for extreme in (stored.min(), stored.max()):
        value = int(_upright(np.array(int(extreme)), image)) * slope + intercept
        if not _INT16.min <= value <= _INT16.max:
            raise DoesNotFitError
    whole = stored.astype(np.int16)
    if _is_turned(image):
        np.subtract(_wrapped(_sum_of_extremes(image.pixels)), whole, out=whole)
    if slope != 1:
        np.multiply(whole, _wrapped(slope), out=whole)
    if intercept:
        np.add(whole, _wrapped(intercept), out=whole)
    return whole


def _wrapped(value: int) -> np.int16:
    """A whole number modulo 2**16."""
    return np.int16((value + 2**15) % 2**16 - 2**15)


def _upright(stored: NDArray[Any], image: FrameHeader) -> NDArray[Any]:
    """Stored values with bright as high: MONOCHROME1 is turned over within the stored range."""
    return np.asarray(_sum_of_extremes(image.pixels) - stored) if _is_turned(image) else stored


def _is_turned(image: FrameHeader) -> bool:
    return image.pixels.inverted and image.series.modality not in _KEEPS_VALUES


def _sum_of_extremes(pixels: StoredPixels) -> int:
    """Least plus greatest value that fits in Bits Stored (0028,0101)."""
    return -1 if pixels.signed else 2**pixels.bits_stored - 1
