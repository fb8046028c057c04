"""Whether a file really holds as many bytes as its header claims, before memory is taken for them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from napari_medreason.errors import UnreadableImageError

_MAX_DEFLATE_RATIO = 1032
"""Deflate can't expand further (zlib technical notes, "Maximum Compression Factor")."""
_CHUNK = 1 << 20


def check_data_size(path: Path, needed: int, name: str) -> None:
    """UnreadableImageError when the (possibly gzipped) file at `path` holds fewer than `needed` bytes."""
    if not path.is_file():
        raise UnreadableImageError(f"{name} needs the file {path.name} beside it, which is missing")
    try:
        held = _held_bytes(path, needed)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableImageError(f"{name} is damaged or cut short; copy or download it again") from error
    if held < needed:
        raise UnreadableImageError(
            f"{name} is cut short: its header promises {needed:,} bytes, it holds {held:,}; copy it again"
        )


def _held_bytes(path: Path, needed: int) -> int:
    """Size of the content; for gzip, counting stops once `needed` is reached."""
    size = path.stat().st_size
    if path.suffix.lower() != ".gz":
        return size
    if needed > size * _MAX_DEFLATE_RATIO or _stated_size(path) != needed % 2**32:
        return _count(path, needed)
    return needed


def _stated_size(path: Path) -> int:
    """ISIZE: uncompressed size modulo 2**32 of the last gzip member (RFC 1952, 2.3.1)."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")


def _count(path: Path, needed: int) -> int:
    held = 0
    with gzip.open(path, "rb") as file:
        while held < needed and (chunk := file.read(_CHUNK)):
            held += len(chunk)
    return held
