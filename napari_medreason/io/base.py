"""What a file format is to the rest of the program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.volume import Volume
from napari_medreason.errors import CancelledError, UnreadableImageError

Progress = Callable[[int, int], None]
"""Receives (done, total) now and then, always from the thread that called `read`."""
Cancelled = Callable[[], bool]
"""Asked between files; True means stop and raise errors.CancelledError."""


@dataclass(frozen=True)
class SeriesInfo:
    """One image series that `read` can be asked for, known from its headers alone.

    uid: what `read(series=...)` takes: the SeriesInstanceUID (0020,000E), or a stand-in where there is
    none, with "#2", "#3" and so on behind it for further grids of the same series (localisers, another
    orientation, phase images). shape_kji: (slices, rows, columns) of one frame.
    """

    uid: str
    modality: str
    number: int | None
    description: str
    shape_kji: tuple[int, int, int]
    frame_count: int = 1

    @property
    def slice_count(self) -> int:
        """Number of slices of one frame."""
        return self.shape_kji[0]


@dataclass(frozen=True)
class ReadOptions:
    """What the caller of `read` wants; series "" means the largest."""

    series: str = ""
    progress: Progress | None = None
    cancelled: Cancelled | None = None

    def report(self, done: int, total: int) -> None:
        """Pass progress on, and stop here when the user cancelled."""
        if self.cancelled is not None and self.cancelled():
            raise CancelledError("reading was cancelled")
        if self.progress is not None:
            self.progress(done, total)


@dataclass(frozen=True)
class Format:
    """One file format; a module of this package with a constant FORMAT is found by `formats`.

    suffixes: lower case, with the dot, most specific first. can_read looks at name and first bytes
    only. list_series and write may be None when the format has one image per file or is read only.
    written_suffixes: those that write takes, when it does not take all.
    read_lazily: as read, but voxels are decoded on first use; None where all are read at once.
    """

    name: str
    suffixes: tuple[str, ...]
    can_read: Callable[[Path], bool] = field(repr=False)
    read: Callable[[Path, ReadOptions], Volume] = field(repr=False)
    list_series: Callable[[Path, ReadOptions], tuple[SeriesInfo, ...]] | None = field(
        default=None, repr=False
    )
    write: Callable[[Path, Volume], None] | None = field(default=None, repr=False)
    read_lazily: Callable[[Path, ReadOptions], Volume] | None = field(default=None, repr=False)
    written_suffixes: tuple[str, ...] = ()


def allocate(shape: tuple[int, ...], dtype: type[np.generic], name: str) -> NDArray[Any]:
    """An array that is not filled yet; UnreadableImageError when there is no memory for it."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        size = math.prod(shape) * np.dtype(dtype).itemsize / 2**30
        raise UnreadableImageError(
            f"{name} needs {size:.1f} GiB of memory, more than there is; crop the study or close programs"
        ) from error


def counted(count: int, one: str, many: str) -> str:
    """A number with its words, such as "1 slice is" or "3 slices are"."""
    return f"{count:,} {one if count == 1 else many}"


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the file name ends with one of the suffixes, in any case of letters."""
    return path.name.lower().endswith(suffixes)


def first_bytes(path: Path, count: int) -> bytes:
    """At most `count` bytes from the start of a file."""
    with path.open("rb") as file:
        return file.read(count)
