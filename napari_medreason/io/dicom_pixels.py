"""Stored DICOM pixels to real values, decoded in threads into one array."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import ReadOptions, allocate
from napari_medreason.io.dicom_decoders import (
    PixelFaultError,
    decodes_whole_file,
    fault,
    needs_process,
    stored_frames,
)
from napari_medreason.io.dicom_grid import Grid
from napari_medreason.io.dicom_headers import FrameHeader, StoredPixels
from napari_medreason.io.dicom_process import DecoderProcesses
from napari_medreason.io.dicom_values import DAMAGED

_MAX_THREADS = 4
_FRAMES_PER_TASK = 32
_SETTLE_SECONDS = 5.0
"""Longest wait for decoders that are at an image when another image has values beyond int16."""
_INT16 = np.iinfo(np.int16)
_KEEPS_VALUES = ("CT", "PT")
"""Modalities whose values are physical: MONOCHROME1 then only says how to show them."""

INVERTED = (
    "The images are stored with high values as black (MONOCHROME1); values were inverted, so bright is high."
)
SHOWN_INVERTED = (
    "The images ask to be shown with high values as black (MONOCHROME1); the calibrated values are unchanged."
)
NOT_HOUNSFIELD = "These CT images give no rescale to Hounsfield units; grey values are not calibrated."
LOOK_UP_TABLE = (
    "The images come with a look-up table for their values (Modality LUT), which is not applied; "
    "grey values are not calibrated."
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
    shape = (len(grid.frames), len(grid.frames[0]), *first.shape)
    for dtype in (np.int16, np.float32) if may_fit_int16(grid) else (np.float32,):
        values = allocate(shape, dtype, first.path.name)
        try:
            _decode_into(values, grid, options)
        except DoesNotFitError:
            del values
            continue
        return values[0] if shape[0] == 1 else values
    raise UnreadableImageError(f"{first.path.name} holds values that can't be kept as float32")


def value_warnings(grid: Grid) -> tuple[str, ...]:
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


def _decode_into(values: NDArray[np.generic], grid: Grid, options: ReadOptions) -> None:
    tasks, total = tasks_of(grid), len(grid.frames) * len(grid.frames[0])
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
        entries.sort(key=lambda entry: entry[0].frame_index)
        pixels = entries[0][0].pixels
        whole = decodes_whole_file(pixels.transfer_syntax, pixels.bits_stored)
        size = len(entries) if whole else frames_per_task
        tasks.extend(Task(path, tuple(entries[n : n + size])) for n in range(0, len(entries), size))
    return tasks


def decode_task(task: Task, values: Target, processes: DecoderProcesses, stop: Event) -> None:
    """Put the real values of the task's images into `values`, of its dtype, as `decode` has them.

    Ends early once `stop` is set. Raises UnreadableImageError, and DoesNotFitError for int16.
    """
    first = task.frames[0][0]
    compressed = needs_process(first.pixels.transfer_syntax)
    try:
        stored_images = (processes.stored_frames if compressed else stored_frames)(
            first.path,
            [image.frame_index for image, _ in task.frames],
            transfer_syntax=first.pixels.transfer_syntax,
            bits_stored=first.pixels.bits_stored,
        )
        for image, place in task.frames:
            if stop.is_set():
                return
            stored = next(stored_images)
            if stored.shape != image.shape:
                raise PixelFaultError("its pixel data is not of the size that its header says")
            values[place] = _real(stored, image, values.dtype)
    except (PixelFaultError, *DAMAGED, StopIteration) as error:
        raise UnreadableImageError(
            f"the image {task.path.name} can't be decoded: {fault(error)}; "
            "export it again, uncompressed if possible"
        ) from error


def _real(stored: NDArray[Any], image: FrameHeader, dtype: np.dtype[Any]) -> NDArray[Any]:
    pixels = image.pixels
    if dtype == np.int16:
        if stored.dtype.kind == "f":
            raise DoesNotFitError
        whole = _upright(stored.astype(np.int64), image) * int(pixels.slope) + int(pixels.intercept)
        if whole.min() < _INT16.min or whole.max() > _INT16.max:
            raise DoesNotFitError
        return whole.astype(np.int16)
    real = _upright(stored.astype(np.float64), image) * pixels.slope + pixels.intercept
    return np.asarray(real.astype(np.float32))


def _upright(stored: NDArray[Any], image: FrameHeader) -> NDArray[Any]:
    """Stored values with bright as high: MONOCHROME1 is turned over within the stored range."""
    pixels = image.pixels
    if not pixels.inverted or image.series.modality in _KEEPS_VALUES:
        return stored
    return np.asarray(_sum_of_extremes(pixels) - stored)


def _sum_of_extremes(pixels: StoredPixels) -> int:
    """Least plus greatest value that fits in Bits Stored (0028,0101)."""
    return -1 if pixels.signed else 2**pixels.bits_stored - 1
