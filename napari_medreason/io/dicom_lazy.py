"""DICOM slices decoded on first use: what napari's reader opens, since napari waits for it."""

from __future__ import annotations

import math
import threading
import weakref
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.dicom_grid import Grid
from napari_medreason.io.dicom_pixels import DoesNotFitError, Task, decode_task, may_fit_int16, tasks_of
from napari_medreason.io.dicom_process import DecoderProcesses
from napari_medreason.io.quiet import quiet_libraries


def decode_lazily(grid: Grid) -> NDArray[np.generic]:
    """Real values as a dask array, (frame, k, j, i) or (k, j, i), one chunk per slice.

    Same values and dtype as `dicom_pixels.decode` gives. What is decoded stays in memory, so that in
    the end as much is in use as after reading all at once, never more. The first, middle and last
    slice are decoded now: what can't be decoded at all is refused at opening, and they settle the
    dtype. int16 holds for them and is expected of the others; a slice that breaks this later is
    refused, and `io.read`, which sees all slices first, gives float32 for such a series.
    Raises UnreadableImageError, also later from the array.
    """
    if may_fit_int16(grid):
        try:
            return _array(LazySlices(grid, np.int16))
        except DoesNotFitError:
            pass
    return _array(LazySlices(grid, np.float32))


class LazySlices:
    """An array (frame, k, j, i), or (k, j, i) of one frame, whose slices are decoded when first indexed.

    Read only; may be indexed from several threads at once. Each slice has memory of its own, so that
    a cache that still holds one does not hold the study.
    """

    def __init__(self, grid: Grid, dtype: type[np.generic]) -> None:
        self.dtype = np.dtype(dtype)
        self._places = (len(grid.frames), len(grid.frames[0]))
        self._image_shape = grid.frames[0][0].shape
        self._lead = (0,) if len(grid.frames) == 1 else ()
        self.shape = (*self._places[len(self._lead) :], *self._image_shape)
        self.ndim = len(self.shape)
        # One frame each, so that a damaged one keeps no other from being shown.
        works = [_Work(task, self.dtype) for task in tasks_of(grid, frames_per_task=1)]
        self._work_at = {place: work for work in works for _, place in work.task.frames}

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.generic]:
        try:
            return self._take(*self._lead, *index)
        except DoesNotFitError as error:
            raise UnreadableImageError(
                "a slice holds values far beyond those of the first, middle and last slice; "
                "open the study with “Open study…”, which reads every slice first"
            ) from error

    def _take(self, frames: int | slice, slices: int | slice, *inside: int | slice) -> NDArray[np.generic]:
        numbers = np.arange(math.prod(self._places)).reshape(self._places)[frames, slices]
        images = [self.decoded(*divmod(int(n), self._places[1])) for n in np.ravel(numbers)]
        block = images[0] if len(images) == 1 else np.stack(images)
        return block.reshape(*numbers.shape, *self._image_shape)[(..., *inside)]

    def decoded(self, frame: int, k: int) -> NDArray[np.generic]:
        """The slice (rows, columns); DoesNotFitError when int16 can't hold its values."""
        return self._work_at[frame, k].image((frame, k))

    def places_from_the_middle(self) -> list[tuple[int, int]]:
        """Every (frame, k), the middle slices of the first frame first."""
        frames, count = self._places
        slices = sorted(range(count), key=lambda k: abs(k - count // 2))
        return [(frame, k) for frame in range(frames) for k in slices]

    def probe(self) -> None:
        """Decode the first, middle and last slice."""
        frames, count = self._places
        for place in ((0, 0), (frames // 2, count // 2), (frames - 1, count - 1)):
            self.decoded(*place)


class _Work:
    """A task and the images it has given, by (frame, k); takes them like an array of that dtype."""

    def __init__(self, task: Task, dtype: np.dtype[np.generic]) -> None:
        self.task = task
        self.dtype = dtype
        self._images: dict[tuple[int, int], NDArray[np.generic]] = {}
        self._lock = threading.Lock()

    def __setitem__(self, place: tuple[int, int], image: NDArray[np.generic]) -> None:
        image.flags.writeable = False
        self._images[place] = image

    def image(self, place: tuple[int, int]) -> NDArray[np.generic]:
        """The image at a place; decodes the whole task where it is not there yet."""
        with self._lock:
            if place not in self._images:
                _decode(self)
            return self._images[place]


_made: weakref.WeakValueDictionary[str, LazySlices] = weakref.WeakValueDictionary()


def lazy_slices(voxels: NDArray[np.generic]) -> LazySlices | None:
    """What an array from `decode_lazily` reads; None for any other array."""
    return _made.get(str(getattr(voxels, "name", "")))


def _array(slices: LazySlices) -> NDArray[np.generic]:
    import dask.array

    slices.probe()
    sizes = (*(1,) * (slices.ndim - 2), *slices.shape[-2:])
    meta = np.empty((0,) * slices.ndim, slices.dtype)
    name = f"dicom-{uuid4().hex}"
    _made[name] = slices
    found: Any = dask.array.from_array(  # type: ignore[no-untyped-call]
        slices, chunks=sizes, name=name, asarray=False, inline_array=True, meta=meta
    )
    array: NDArray[np.generic] = found
    return array


def _decode(work: _Work) -> None:
    task = work.task
    if not task.path.is_file():
        raise UnreadableImageError(
            f"the image {task.path.name} is no longer where it was when the study was opened; "
            "put it back, or open the study again"
        )
    quiet_libraries()
    processes = DecoderProcesses()
    try:
        decode_task(task, work, processes, threading.Event())
    finally:
        processes.close()
        processes.collect()
