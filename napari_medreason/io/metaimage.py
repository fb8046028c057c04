"""MetaImage (.mha, and .mhd with a data file beside it): the image part of the format, read strictly.

The keys are those of MetaIO's MetaImage documentation; directions are taken as LPS, as ITK does.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_medreason.core.geometry import Affine, checked_affine
from napari_medreason.core.volume import Volume
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import Format, ReadOptions, has_suffix
from napari_medreason.io.bounded_data import Packing, beside, read_voxels
from napari_medreason.io.modality import guess_modality

_SUFFIXES = (".mha", ".mhd")
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4"},
    **{
        "MET_UINT": "u4",
        "MET_LONG_LONG": "i8",
        "MET_ULONG_LONG": "u8",
        "MET_FLOAT": "f4",
        "MET_DOUBLE": "f8",
    },
}
_MAX_LINES, _MAX_LINE = 200, 4096
_DATA = "ElementDataFile"
_ORIGIN = ("Offset", "Position", "Origin")
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
NO_DIRECTIONS = (
    "The MetaImage header does not say how the image lies in the patient (no TransformMatrix); left and "
    "right can't be told, and no patient words are given."
)


def can_read(path: Path) -> bool:
    """Whether the name is that of a MetaImage."""
    return path.is_file() and has_suffix(path, _SUFFIXES)


def read(path: Path, options: ReadOptions) -> Volume:
    """A 3D or 4D image of grey values; frames are the fourth axis."""
    options.report(0, 1)
    try:
        with path.open("rb") as file:
            header = _header(file)
            volume = _volume(header, file, path)
    except (OSError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise UnreadableImageError(
            f"{path.name} is not a MetaImage or its header is damaged; 3D and 4D grey images are accepted"
        ) from error
    options.report(1, 1)
    return guess_modality(volume)


def _header(file: BinaryIO) -> dict[str, str]:
    """The fields up to and with ElementDataFile, which is the last."""
    header: dict[str, str] = {}
    for _ in range(_MAX_LINES):
        key, found, value = file.readline(_MAX_LINE).decode("ascii").partition("=")
        if not found:
            break
        header[key.strip()] = value.strip()
        if key.strip() == _DATA:
            return header
    raise ValueError("no ElementDataFile")


def _volume(header: dict[str, str], file: BinaryIO, path: Path) -> Volume:
    shape = tuple(int(size) for size in header["DimSize"].split())
    if not 3 <= len(shape) <= 4 or len(shape) != int(header["NDims"]) or min(shape) < 1:
        raise ValueError("dimensions")
    if header.get("ElementNumberOfChannels", "1") != "1" or header.get("BinaryData", "True") != "True":
        raise UnreadableImageError(
            f"{path.name} holds colours, vectors or text; binary grey values are accepted"
        )
    big = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False")) == "True"
    dtype = np.dtype((">" if big else "<") + _TYPES[header["ElementType"]])
    packing: Packing = "zlib" if header.get("CompressedData", "False") == "True" else "raw"
    if header[_DATA] == "LOCAL":
        voxels = read_voxels(file, dtype, shape[::-1], packing, path.name)
    else:
        with beside(path, header[_DATA]).open("rb") as data:
            _skip_header(data, int(header.get("HeaderSize", "0")), dtype.itemsize * math.prod(shape))
            voxels = read_voxels(data, dtype, shape[::-1], packing, path.name)
    known = any(key in header for key in _DIRECTIONS)
    return Volume(
        voxels,
        _affine(header, len(shape)),
        modality={"MET_MOD_CT": "CT", "MET_MOD_MR": "MR"}.get(header.get("Modality", ""), ""),
        name=path.name.rpartition(".")[0],
        orientation_known=known,
        warnings=() if known else (NO_DIRECTIONS,),
    )


def _skip_header(data: BinaryIO, size: int, needed: int) -> None:
    """HeaderSize -1: the voxels are the end of the file."""
    if size < 0:
        data.seek(-needed, 2)
    else:
        data.seek(size)


def _affine(header: dict[str, str], count: int) -> Affine:
    """(4, 4); each axis has its direction in `count` numbers that follow each other."""
    spacing = np.array(
        header.get("ElementSpacing", header.get("ElementSize", "1 1 1 1")).split()[:3], np.float64
    )
    origin = next((header[key] for key in _ORIGIN if key in header), "0 0 0 0")
    identity = " ".join(str(value) for value in np.eye(count, dtype=int).ravel())
    stated = next((header[key] for key in _DIRECTIONS if key in header), identity)
    directions = np.array(stated.split(), np.float64).reshape(count, count)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = (directions * spacing[:, np.newaxis]).T
    affine[:3, 3] = np.array(origin.split()[:3], np.float64)
    return checked_affine(affine)


FORMAT = Format("MetaImage", _SUFFIXES, can_read, read)
