"""Siemens mosaics: the slices of a volume as tiles of one image, and where each of them lies.

How many tiles there are, and in which direction they follow, is in the CSA headers (0029,xx10) and
(0029,xx20), private data of the manufacturer that nibabel can read. Without them a mosaic is refused:
nothing else says which of its ends is which.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medreason.io.dicom_values import value_of, words
from napari_medreason.io.quiet import quiet_libraries

NO_DIRECTION = (
    "Siemens mosaic (slices tiled into one image) that does not say how many slices it holds and in which "
    "direction they follow, because its CSA header was removed: export single slices or enhanced DICOM"
)
CONTRADICTION = (
    "Siemens mosaic (slices tiled into one image) that can't be taken apart, because {reason}: export "
    "single slices or enhanced DICOM"
)
_PROTOCOL = ("MrPhoenixProtocol", "MrProtocol")
_COUNT = re.compile(r"^sSliceArray\.lSize\s*=\s*(\d+)", re.MULTILINE)
_POSITION = re.compile(r"^sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*(\S+)", re.MULTILINE)
_AXES = {"Sag": 0, "Cor": 1, "Tra": 2}
_MAX_TILES = 1024
_SAME_DIRECTION = 0.99

Vector = tuple[float, ...]


class NoMosaicError(ValueError):
    """The header does not say how the tiles lie."""


@dataclass(frozen=True)
class Mosaic:
    """How the tiles of a mosaic lie.

    count: number of slices. normal: unit vector from one slice to the next, LPS. distance: of neighbouring
    slices in mm.
    """

    count: int
    normal: Vector
    distance: float

    @property
    def tiles_per_side(self) -> int:
        """Tiles in a row, and rows of tiles."""
        return math.ceil(math.sqrt(self.count))

    def tile_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of a slice, from those of the mosaic."""
        rows, columns = (size // self.tiles_per_side for size in shape)
        if rows * self.tiles_per_side != shape[0] or columns * self.tiles_per_side != shape[1]:
            raise NoMosaicError("its size does not fit the number of slices that it states")
        return rows, columns

    def tile_places(self, tile: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """(row, column) of the first pixel of each slice: along the rows, then downwards."""
        for number in range(self.count):
            down, along = divmod(number, self.tiles_per_side)
            yield down * tile[0], along * tile[1]

    def position(
        self,
        number: int,
        shape: tuple[int, int],
        corner: Vector | None,
        orientation: Vector | None,
        spacing: Vector | None,
    ) -> Vector:
        """LPS mm of the first pixel of a slice.

        corner: Image Position (0020,0032), which Siemens states as if the whole mosaic were one image
        around the centre of the first slice.
        """
        if corner is None or orientation is None or spacing is None:
            raise NoMosaicError("it has no position")
        row, column = np.array(orientation).reshape(2, 3)
        tile = self.tile_shape(shape)
        beside, above = (shape[1] - tile[1]) / 2, (shape[0] - tile[0]) / 2
        first = np.array(corner) + row * spacing[1] * beside + column * spacing[0] * above
        return tuple(float(part) for part in first + number * self.distance * np.array(self.normal))


def is_mosaic(header: Dataset) -> bool:
    """Whether Image Type (0008,0008) says that an image is a mosaic."""
    return "MOSAIC" in words(value_of(header, "ImageType"))


def read_mosaic(path: Path) -> Mosaic | str:
    """How the tiles of a mosaic lie, or why that can't be known, as words for a message."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    blocks = list(_csa_blocks(header))
    try:
        return _from_image_block(header, blocks) or _from_protocol(header, blocks) or NO_DIRECTION
    except NoMosaicError as error:
        return CONTRADICTION.format(reason=error)


def _csa_blocks(header: Dataset) -> Iterator[dict[str, Any]]:
    """The CSA headers of a file by the names of their entries; the private creator may be gone."""
    quiet_libraries()
    from nibabel.nicom import csareader

    for element in header.group_dataset(0x0029):
        if element.tag.element & 0xFF not in (0x10, 0x20) or not isinstance(element.value, bytes):
            continue
        try:
            found: dict[str, Any] = csareader.read(element.value)  # type: ignore[no-untyped-call]
            yield {name: tag["items"] for name, tag in found["tags"].items()}
        except (csareader.CSAError, struct.error, ValueError, LookupError, AssertionError, NameError):
            continue


def _from_image_block(header: Dataset, blocks: list[dict[str, Any]]) -> Mosaic | None:
    """From NumberOfImagesInMosaic and SliceNormalVector of the image header."""
    for block in blocks:
        counts, normal = block.get("NumberOfImagesInMosaic"), block.get("SliceNormalVector")
        if counts and normal and len(normal) == 3:
            return _checked(header, int(counts[0]), np.array(normal, np.float64), None)
    return None


def _from_protocol(header: Dataset, blocks: list[dict[str, Any]]) -> Mosaic | None:
    """From the list of slices in the protocol, which may go either way through the tiles.

    The centre of the first tile is that of the first or of the last slice of the list.
    """
    text = next((_text(block[name][0]) for block in blocks for name in _PROTOCOL if block.get(name)), "")
    stated = _COUNT.search(text)
    if stated is None or not 1 < int(stated[1]) <= _MAX_TILES:
        return None
    centres = np.zeros((int(stated[1]), 3))
    for number, axis, value in _POSITION.findall(text):
        if int(number) < len(centres):
            centres[int(number), _AXES[axis]] = float(value)
    corner, shape = value_of(header, "ImagePositionPatient"), (int(header.Rows), int(header.Columns))
    spacing = np.array(value_of(header, "PixelSpacing"), np.float64)
    row, column = np.array(value_of(header, "ImageOrientationPatient"), np.float64).reshape(2, 3)
    first = (
        np.array(corner, np.float64) + row * spacing[1] * shape[1] / 2 + column * spacing[0] * shape[0] / 2
    )
    along = centres[-1] - centres[0]
    backwards = np.linalg.norm(first - centres[-1]) < np.linalg.norm(first - centres[0])
    step = float(np.linalg.norm(along)) / (len(centres) - 1)
    return _checked(header, len(centres), -along if backwards else along, step)


def _text(value: Any) -> str:
    """As text; nibabel gives bytes where no zero byte ends the text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _checked(header: Dataset, count: int, along: NDArray[np.float64], step: float | None) -> Mosaic:
    """A mosaic whose slices follow each other along the normal of their planes."""
    row, column = np.array(value_of(header, "ImageOrientationPatient"), np.float64).reshape(2, 3)
    length = float(np.linalg.norm(along))
    distance = float(
        value_of(header, "SpacingBetweenSlices") or step or value_of(header, "SliceThickness") or 0
    )
    upright = np.cross(row, column)
    cosine = float(along @ upright) / length if length > 0 else 0.0
    if not 1 <= count <= _MAX_TILES or abs(cosine) < _SAME_DIRECTION or not 0 < abs(distance) < 1e3:
        raise NoMosaicError("what it states about its slices can't be true")
    made = Mosaic(count, tuple(float(part) for part in upright * np.sign(cosine)), abs(distance))
    made.tile_shape((int(value_of(header, "Rows")), int(value_of(header, "Columns"))))
    return made
