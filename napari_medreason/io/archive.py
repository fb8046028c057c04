"""Zip archives of DICOM series (or of one other image), unpacked within bounds into a temporary folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from napari_medreason.core.volume import Volume
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import Format, ReadOptions, SeriesInfo, counted, first_bytes, has_suffix

_SUFFIXES = (".zip",)
_MAX_FILES = 50_000
_MAX_BYTES = 16 * 2**30
_MAX_RATIO = 1032
"""Deflate can't shrink further (zlib technical notes); an archive that claims more is malicious."""
_CHUNK = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises on damaged, encrypted or exotic archives."""


def can_read(path: Path) -> bool:
    """Whether name or first bytes are those of a zip archive."""
    return path.is_file() and (has_suffix(path, _SUFFIXES) or first_bytes(path, 4) == b"PK\x03\x04")


def list_series(path: Path, options: ReadOptions) -> tuple[SeriesInfo, ...]:
    """The series inside the archive, largest first."""
    from napari_medreason.io import registry

    with unpacked(path, options) as inside:
        return registry.list_series(inside, progress=options.progress, cancelled=options.cancelled)


def read(path: Path, options: ReadOptions) -> Volume:
    """One series of the archive; the temporary folder is gone afterwards."""
    from napari_medreason.io import registry

    with unpacked(path, options) as inside:
        return registry.read(
            inside,
            series=options.series,
            progress=options.progress,
            cancelled=options.cancelled,
        )


@contextmanager
def unpacked(path: Path, options: ReadOptions) -> Iterator[Path]:
    """A folder with the content, or the file when the archive holds just one."""
    with tempfile.TemporaryDirectory(prefix="medreason-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / (path.stem or "archive")
        folder.mkdir()
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder, path.name, options)
        except _DAMAGED as error:
            raise UnreadableImageError(
                f"{path.name} is damaged, encrypted or no zip archive; unpack it and open the folder"
            ) from error
        except OSError as error:
            raise UnreadableImageError(f"{path.name} can't be unpacked: {error.strerror}") from error
        files = [entry for entry in folder.rglob("*") if entry.is_file()]
        if files and all(map(can_read, files)):
            raise UnreadableImageError(
                f"{path.name} holds other zip archives and no image; unpack it and open those one by one"
            )
        yield files[0] if len(files) == 1 else folder


def _unpack(archive: zipfile.ZipFile, folder: Path, name: str, options: ReadOptions) -> None:
    entries = [entry for entry in archive.infolist() if not (entry.is_dir() or _is_hidden(entry))]
    _check_bounds(entries, name)
    for done, entry in enumerate(entries):
        options.report(done, len(entries))
        target = folder / _safe_name(entry.filename, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as sink:
            # zipfile itself stops at the size that the entry states, so the bounds above hold.
            shutil.copyfileobj(source, sink, _CHUNK)


def _check_bounds(entries: list[zipfile.ZipInfo], name: str) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MAX_FILES or total > _MAX_BYTES:
        raise UnreadableImageError(
            f"{name} holds {counted(len(entries), 'file', 'files')}, {total / 2**30:.1f} GiB; up to "
            f"{_MAX_FILES:,} files and {_MAX_BYTES / 2**30:.0f} GiB are unpacked here; unpack it yourself "
            "and open the folder"
        )
    if total > _MAX_RATIO * sum(entry.compress_size for entry in entries) + _CHUNK:
        raise UnreadableImageError(f"{name} claims an impossible size for its content; it is not opened")


def _safe_name(filename: str, name: str) -> Path:
    """A relative path that stays inside the target folder, whatever the archive says."""
    parts = _parts(filename)
    if not parts or parts[0].startswith("/") or ".." in parts or _DRIVE.match(filename):
        raise UnreadableImageError(
            f"{name} holds a file that would land outside its folder; it is not opened"
        )
    return Path(*(part.replace(":", "_") for part in parts))  # Windows takes no colon in a name


def _is_hidden(entry: zipfile.ZipInfo) -> bool:
    """Whether a file belongs to the system that packed the archive, as in __MACOSX, and not to the study."""
    parts = _parts(entry.filename)
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def _parts(filename: str) -> tuple[str, ...]:
    return PurePosixPath(filename.replace("\\", "/")).parts


FORMAT = Format("zip archive", _SUFFIXES, can_read, read, list_series)
