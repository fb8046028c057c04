"""Files of the weight store that are either wholly written or not touched at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from napari_medreason.core.renaming import rename


def write_text(file: Path, text: str) -> None:
    """Write a small UTF-8 file beside its place and rename it there; OSError leaves the old one as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        rename(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
