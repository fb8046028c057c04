"""Files that are either wholly written or not touched at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_medreason.core.renaming import rename
from napari_medreason.errors import ExportError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The temporary name keeps every suffix (writers such as nibabel go by it). Its content is flushed
    to the disk before the rename; after an error it is removed and `path` is as it was. ExportError
    when the folder is missing or can't be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ExportError(f"the folder for {path.name} does not exist; create it or choose another")
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        _flush(temporary)
        rename(temporary, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(f"{path.name} can't be written: {reason}; check space and permission") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
