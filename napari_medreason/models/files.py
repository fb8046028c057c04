"""Files of the weight store that are either wholly written or not touched at all."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

_ATTEMPTS = 5


def write_text(file: Path, text: str) -> None:
    """Write a small UTF-8 file beside its place and rename it there; OSError leaves the old one as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        move(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename, again after a moment where Windows says that another program has the file open."""
    for attempt in range(_ATTEMPTS):
        try:
            source.replace(target)
        except PermissionError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.1 * 2**attempt)
        else:
            return
