"""Voxels of a file whose header states their number: never more bytes are unpacked than it states."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import allocate

Packing = Literal["raw", "gzip", "zlib", "bzip2"]
_CHUNK = 1 << 22


def read_voxels(
    file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...], packing: Packing, name: str
) -> NDArray[np.generic]:
    """The next voxels of a file, C order and native byte order; what comes behind them is left alone.

    UnreadableImageError when there are fewer, they are damaged, or there is no memory for them.
    """
    needed = math.prod(shape) * dtype.itemsize
    _check_packed(file, needed, packing, name)
    voxels = allocate(shape, dtype.type, name)
    target = memoryview(voxels.reshape(-1).view(np.uint8).data)
    try:
        held = _fill(file, target, packing)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UnreadableImageError(f"{name} is damaged or cut short; copy or download it again") from error
    if held < needed:
        raise UnreadableImageError(
            f"{name} is cut short: its header promises {needed:,} bytes, it holds {held:,}; copy it again"
        )
    stored = voxels.view(dtype)
    return stored if stored.dtype.isnative else stored.byteswap().view(stored.dtype.newbyteorder("="))


def beside(path: Path, data_file: str) -> Path:
    """The data file that a header names; UnreadableImageError unless it lies right beside the header."""
    if Path(data_file).name != data_file or data_file in ("", ".", ".."):
        raise UnreadableImageError(
            f"{path.name} names a data file in another folder, or several; one beside the header is accepted"
        )
    place = path.with_name(data_file)
    if not place.is_file():
        raise UnreadableImageError(f"{path.name} needs the file {data_file} beside it, which is missing")
    return place


def _check_packed(file: BinaryIO, needed: int, packing: Packing, name: str) -> None:
    """Refuse sizes that the file can't hold before memory is taken (deflate: zlib technical notes)."""
    place = file.tell()
    held = file.seek(0, 2) - place
    file.seek(place)
    most = {"raw": held, "gzip": held * 1032, "zlib": held * 1032, "bzip2": held * 50_000}[packing]
    if needed > most:
        raise UnreadableImageError(
            f"{name} is cut short: its header promises {needed:,} bytes, which it can't hold; copy it again"
        )


def _fill(file: BinaryIO, target: memoryview, packing: Packing) -> int:
    if packing == "raw":
        return _fill_plain(file, target)
    if packing == "bzip2":
        plain = bz2.BZ2File(file)
        return _fill_plain(plain, target)
    window = zlib.MAX_WBITS | (16 if packing == "gzip" else 0)
    return _fill_deflated(file, target, lambda: zlib.decompressobj(window))


def _fill_plain(file: Any, target: memoryview) -> int:
    held = 0
    while held < len(target):
        count = file.readinto(target[held : held + _CHUNK])
        if not count:
            break
        held += count
    return held


def _fill_deflated(file: BinaryIO, target: memoryview, started: Callable[[], Any]) -> int:
    """One or several streams behind each other, as parallel packers write them."""
    held, unpacker, packed = 0, started(), b""
    while held < len(target):
        packed = packed or file.read(_CHUNK)
        if not packed:
            break
        part = unpacker.decompress(packed, len(target) - held)
        target[held : held + len(part)] = part
        held += len(part)
        packed = unpacker.unconsumed_tail
        if unpacker.eof:
            packed, unpacker = unpacker.unused_data, started()
    return held
