"""Planes and masks of records as 8-bit pictures, for the released forms, and masks back from pictures."""

from __future__ import annotations

import io as memory
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_medreason import io
from napari_medreason.core.plane import cut, plane_grid
from napari_medreason.core.record import ImageReference, Record
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.errors import DataSetError

from .cases import Case, CaseError, read_image, relative_path


class Planes:
    """Planes of images below one root, as 8-bit grey through the default window.

    A record's path is looked for below the root and below the folder named like its source. The last
    volume is kept, because the records of one image follow each other.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._place: Path | None = None
        self._volume: Volume | None = None
        self._window: Window | None = None

    def picture(self, record: Record) -> NDArray[np.uint8]:
        """(rows, columns) uint8 of the record's plane; CaseError when it has no image or another size."""
        image = record.image
        if not image.path:
            raise CaseError("no image, only a label map", f"{image.mask_path} has no image")
        volume, window = self._open(record)
        if image.shape != tuple(_plane_shape(volume, image)):
            raise CaseError("image of another size", f"{image.path} does not have the shape of its record")
        return grey(cut(volume, image.axis, image.index, window).image, window)

    def _open(self, record: Record) -> tuple[Volume, Window]:
        place = self._find(record)
        if place != self._place or self._volume is None or self._window is None:
            case = Case(record.source, "", "", place.parent, place.name, (), modality=record.image.modality)
            volume = read_image(case)
            self._place, self._volume, self._window = place, volume, default_window(volume)
        return self._volume, self._window

    def _find(self, record: Record) -> Path:
        relative = relative_path(record.image.path, f"record {record.id}")
        for place in (self._root / relative, self._root / record.source / relative):
            if place.exists():
                return place
        raise CaseError("image not found", f"{relative} is not below the root; name it with --root")


def _plane_shape(volume: Volume, image: ImageReference) -> tuple[int, int]:
    return plane_grid(volume, image.axis, image.index).shape


def grey(image: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    """Grey values through a window as 0 to 255; values that are not finite are black."""
    scaled = (np.nan_to_num(image, nan=window.low) - window.low) / (window.high - window.low)
    return np.asarray(np.round(np.clip(scaled, 0, 1) * 255), np.uint8)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a grey picture; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with io.replace_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A grey picture as the bytes of a PNG file."""
    with memory.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def mask_pixels(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask as 0 and 255."""
    return mask.astype(np.uint8) * np.uint8(255)


def read_mask(source: Path | bytes, name: str, *, over: int = 0) -> NDArray[np.bool_]:
    """(rows, columns) bool mask of a picture: pixels above `over`; DataSetError when it can't be read."""
    try:
        with Image.open(source if isinstance(source, Path) else memory.BytesIO(source)) as image:
            return np.asarray(image.convert("L")) > over
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataSetError(f"{name} is not a whole picture; copy or download it again") from error


def resized(pixels: NDArray[np.uint8], size: tuple[int, int], *, nearest: bool) -> NDArray[np.uint8]:
    """A picture at another (columns, rows); masks by nearest neighbour, images bilinear."""
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def plane_name(record: Record) -> str:
    """A file name for a record's plane, in the manner of SA-Med2D: set, image, axis and slice."""
    image = record.image
    shared = re.sub(r"(\.nii)?(\.gz)?(\.\w{2,5})?$", "", image.path or image.mask_path)
    safe = re.sub(r"[^A-Za-z0-9]+", "-", shared).strip("-") or "image"
    frame = f"_f{image.frame:04d}" if image.frame is not None else ""
    kind, place = image.modality.lower() or "img", f"{image.axis[0]}{frame}_{image.index:04d}"
    return f"{kind}_00--{record.source}--{safe}--{place}"


def region_name(record: Record) -> str:
    """A file name for a record's mask: that of its plane, and which region of it."""
    return f"{plane_name(record)}--{record.value:04d}_{record.region[:6]}"
