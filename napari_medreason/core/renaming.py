"""Renaming a finished file to its place, also where Windows holds it for a moment."""

from __future__ import annotations

import time
from pathlib import Path

_ATTEMPTS = 5


def rename(source: Path, target: Path) -> None:
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
