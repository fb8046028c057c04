"""Weight files: which ones a folder holds, their hashes, and the check against known hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_medreason.errors import WeightsError

_PACKAGE = Path(__file__).parent.parent
_OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_LARGEST_HEADER = 100_000_000


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, sorted by name; WeightsError when there are none."""
    if not folder.is_dir():
        raise WeightsError(
            f"{folder.name or folder!s} is not a folder; give the folder that holds config.json and "
            "the .safetensors files"
        )
    files = tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        others = sorted(file.name for pattern in _OTHER_FORMATS for file in folder.glob(pattern))
        found = f"only {', '.join(others[:3])}" if others else "no weight file"
        raise WeightsError(
            f"{folder.name} holds {found}; only .safetensors files are read, please download or "
            "convert to that format"
        )
    return files


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hexadecimal digits; WeightsError when unreadable."""
    try:
        status = file.stat()
        return _hashed(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{file.name} can't be read ({error.strerror}); {_advice(file)}") from error


def weights_sha256(files: Iterable[Path]) -> str:
    """One hash for a set of weight files, whatever their names and order."""
    return combined_sha256(file_sha256(file) for file in files)


def combined_sha256(hashes: Iterable[str]) -> str:
    """SHA-256 of the hashes (64 lower-case hexadecimal digits each), sorted and joined without separator.

    This is `weights_sha256` wherever the program shows one, also for a single file.
    """
    return hashlib.sha256("".join(sorted(hashes)).encode("ascii")).hexdigest()


def safetensors_header(file: Path) -> tuple[int, dict[str, Any]]:
    """Bytes before the values in a safetensors file, and what its header says of each tensor by name.

    OSError or ValueError when it can't be read; the values are not looked at.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_LARGEST_HEADER, file.stat().st_size - 8):
            raise ValueError("the header is longer than the file, or than any real one")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    return 8 + length, {name: about for name, about in header.items() if name != "__metadata__"}


def verify(folder: Path, expected: Mapping[str, str]) -> None:
    """Compare the files of a folder with their expected SHA-256, file name to 64 hexadecimal digits.

    WeightsError names the first file that is missing or differs. Files that aren't listed are ignored.
    """
    for name, digest in sorted(expected.items()):
        file = folder / name
        if not file.is_file():
            raise WeightsError(f"{name} is missing from {folder.name}; {_advice(file)}")
        if file_sha256(file) != digest.lower():
            raise WeightsError(
                f"{name} is damaged or was changed: its SHA-256 is not the expected {digest[:12]}…; "
                f"{_advice(file)}"
            )


def _advice(file: Path) -> str:
    """How to get a file back: those of the embedded model come with the package."""
    shipped = file.absolute().is_relative_to(_PACKAGE)
    return f"please install {'napari-medreason' if shipped else 'the weights'} again"


@lru_cache(maxsize=64)
def _hashed(file: Path, size: int, modified_ns: int) -> str:
    """Size and time of change are part of the key, so a changed file is read again."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
