"""PNG and JPEG pictures as one uncalibrated slice."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from napari_medreason.core.volume import Volume
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import Format, ReadOptions, first_bytes, has_suffix

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_MAX_PIXELS = 100_000_000
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises on damaged files."""

PICTURE_WARNING = (
    "A picture has no patient orientation, no pixel size in mm and no calibrated grey values; "
    "sides, distances and sizes can't be given."
)


def can_read(path: Path) -> bool:
    """Whether name or first bytes are those of a PNG or JPEG file."""
    return path.is_file() and (has_suffix(path, _SUFFIXES) or first_bytes(path, 8).startswith(_MAGIC))


def read(path: Path, options: ReadOptions) -> Volume:
    """A picture as a (1, rows, columns) volume, turned as its EXIF tag says; colour is refused."""
    options.report(0, 1)
    pixels = _grey_pixels(path)
    options.report(1, 1)
    return Volume(
        voxels=np.ascontiguousarray(pixels)[np.newaxis],
        affine=np.eye(4),
        name=path.stem,
        orientation_known=False,
        calibrated=False,
        warnings=(PICTURE_WARNING,),
    )


def _grey_pixels(path: Path) -> NDArray[np.generic]:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            columns, rows = image.size
            if columns * rows > _MAX_PIXELS:
                raise UnreadableImageError(
                    f"{path.name} has {columns} x {rows} pixels; pictures up to {_MAX_PIXELS:,} are read; "
                    "make it smaller"
                )
            upright = ImageOps.exif_transpose(image)
            return _to_grey(path, upright)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(
            f"{path.name} has far too many pixels; pictures up to {_MAX_PIXELS:,} are read; make it smaller"
        ) from error
    except _DAMAGED as error:
        raise UnreadableImageError(
            f"{path.name} is not a whole PNG or JPEG file; save or copy it again"
        ) from error


def _to_grey(path: Path, image: Image.Image) -> NDArray[np.generic]:
    if image.mode in ("L", "1", "LA"):
        return np.asarray(image.convert("L"))
    if image.mode in ("I;16", "I"):  # 16-bit PNG; "I" in older Pillow
        return np.asarray(image).astype(np.uint16)
    rgb = np.asarray(image.convert("RGB"))
    if (rgb[..., 0] != rgb[..., 1]).any() or (rgb[..., 0] != rgb[..., 2]).any():
        raise UnreadableImageError(
            f"{path.name} is a colour picture; a grey one is accepted (a CT or MR slice saved as PNG or JPEG)"
        )
    return rgb[..., 0]


FORMAT = Format("PNG or JPEG picture", _SUFFIXES, can_read, read)
