"""NRRD images and label maps, with attached (.nrrd) or detached (.nhdr) header; pynrrd parses the header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np
from nrrd.errors import NRRDError
from numpy.typing import NDArray

from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.base import Format, ReadOptions, first_bytes, has_suffix
from napari_medreason.io.bounded_data import Packing, beside, read_voxels
from napari_medreason.io.modality import guess_modality
from napari_medreason.io.nrrd_header import Axes, NrrdGeometry, axes_of, geometry
from napari_medreason.io.nrrd_segments import merged_layers, segment_fields, segments_of

_SUFFIXES = (".nrrd", ".nhdr")
_WRITTEN = (".nrrd",)
_DAMAGED = (NRRDError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError, StopIteration)
"""What pynrrd raises on damaged headers."""
_PACKINGS: Mapping[str, Packing] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
}
_TEXT = ("ascii", "text", "txt")
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), "i8"),
    **dict.fromkeys(("signed long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int"), "u8"),
    **dict.fromkeys(("uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
"""The names of the NRRD format (section "type:") and their NumPy letters."""
_MAX_HEADER = 1 << 20


def can_read(path: Path) -> bool:
    """Whether the first bytes are those of an NRRD file."""
    return path.is_file() and first_bytes(path, 4) == b"NRRD"


def read(path: Path, options: ReadOptions) -> Volume:
    """A 3D image, a 4D one with one axis outside of space, or a segmentation of 3D Slicer.

    Layers of a segmentation (4D) become one label map. Colours, vectors and 5D images are refused.
    """
    options.report(0, 1)
    header, axes, place, voxels = _opened(path)
    volume = Volume(
        _frames_first(voxels, axes),
        place.affine,
        name=_stem(path),
        orientation_known=place.orientation_known,
        warnings=place.warnings,
    )
    options.report(1, 1)
    segments = segments_of(header)
    if segments:
        return merged_layers(volume, segments)
    return guess_modality(volume)


def write(path: Path, volume: Volume) -> None:
    """A volume as one NRRD file in LPS mm, packed with gzip; label names as 3D Slicer's segments.

    Without a known orientation only spacings are written, so that other programs don't trust it either.
    """
    voxels = volume.voxels
    if voxels.dtype == np.bool_:
        voxels = voxels.view(np.uint8)
    if voxels.dtype.kind not in "iuf" or voxels.dtype == np.float16:
        raise ExportError(f"NRRD can't hold {voxels.dtype} voxels; use integers or float32/float64")
    header: dict[str, Any] = {"encoding": "gzip", "kinds": ["domain"] * 3, **_place(volume)}
    if voxels.ndim == 4:
        header["kinds"] = ["domain"] * 3 + ["time" if volume.orientation_known else "list"]
    if volume.label_names or has_suffix(path, (".seg.nrrd",)):
        header |= segment_fields(replace(volume, voxels=voxels))
    with replace_file(path) as temporary:
        nrrd.write(str(temporary), np.ascontiguousarray(voxels), header, index_order="C", compression_level=6)


def _place(volume: Volume) -> dict[str, Any]:
    """Where the voxels lie, as header fields; further axes have no direction."""
    further = volume.voxels.ndim - 3
    if not volume.orientation_known:
        k, j, i = volume.spacing_kji
        return {"spacings": [i, j, k] + [float("nan")] * further}
    directions = np.full((volume.voxels.ndim, 3), np.nan)
    directions[:3] = volume.affine[:3, :3].T
    return {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": volume.affine[:3, 3],
        "space units": ["mm", "mm", "mm"],
    }


def _opened(path: Path) -> tuple[Mapping[str, Any], Axes, NrrdGeometry, NDArray[np.generic]]:
    """Header fields, what they say about space, and the voxels with the slowest axis first."""
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(_lines(file))
            axes = axes_of(header, path.name)
            place = geometry(header, axes, path.name)
            data_file = header.get("datafile", header.get("data file"))
            if data_file is None:
                return header, axes, place, _voxels(header, file, path.name)
            with beside(path, str(data_file)).open("rb") as data:
                return header, axes, place, _voxels(header, data, path.name)
    except _DAMAGED as error:
        raise UnreadableImageError(
            f"{path.name} is not an NRRD file or its header is damaged; copy or download it again"
        ) from error


def _lines(file: BinaryIO) -> list[bytes]:
    """The header up to its empty line; a list, so that pynrrd does not seek behind it by its own count."""
    lines: list[bytes] = []
    while len(line := file.readline(_MAX_HEADER)) < _MAX_HEADER and file.tell() < _MAX_HEADER * 16:
        if not line.strip():
            return [*lines, b"\n"]
        lines.append(line)
    raise ValueError("the header has no end")


def _voxels(header: Mapping[str, Any], file: BinaryIO, name: str) -> NDArray[np.generic]:
    shape = tuple(int(size) for size in header["sizes"][::-1])
    if len(shape) != int(header["dimension"]) or min(shape, default=0) < 1:
        raise UnreadableImageError(f"{name}: sizes and dimension of the NRRD header do not agree")
    encoding = str(header["encoding"]).lower()
    for _ in range(int(header.get("lineskip", header.get("line skip", 0)))):
        file.readline()
    dtype = _dtype(header, name, text=encoding in _TEXT)
    if encoding in _TEXT:
        values = np.array(file.read().split(), dtype)
        return values.reshape(shape)
    if encoding not in _PACKINGS:
        raise UnreadableImageError(
            f"{name} is packed as {encoding[:20]!r}; raw, gzip, bzip2 and text are accepted"
        )
    skip = int(header.get("byteskip", header.get("byte skip", 0)))
    if skip and encoding != "raw":
        raise UnreadableImageError(f"{name} skips bytes inside of packed data; unpack it first")
    if skip == -1:
        file.seek(-math.prod(shape) * dtype.itemsize, 2)
    else:
        file.seek(skip, 1)
    return read_voxels(file, dtype, shape, _PACKINGS[encoding], name)


def _dtype(header: Mapping[str, Any], name: str, *, text: bool) -> np.dtype[Any]:
    letters = _TYPES.get(str(header["type"]))
    if letters is None:
        raise UnreadableImageError(
            f"{name} holds values of a type that is no number; grey values are accepted"
        )
    if letters[1] == "1" or text:
        return np.dtype(letters)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian")))
    if order is None:
        raise UnreadableImageError(f"{name}: the NRRD header does not say the byte order (endian)")
    return np.dtype(order + letters)


def _frames_first(voxels: NDArray[np.generic], axes: Axes) -> NDArray[np.generic]:
    """(k, j, i), or (frame, k, j, i), from voxels with the slowest axis first."""
    slowest = voxels.ndim - 1
    spatial = [slowest - axis for axis in reversed(axes.spatial)]
    if axes.frames is None:
        return voxels if voxels.ndim == 3 else voxels[np.newaxis]
    return np.ascontiguousarray(voxels.transpose([slowest - axes.frames, *spatial]))


def _stem(path: Path) -> str:
    suffixes = (".seg.nrrd", *_SUFFIXES)
    suffix = next((known for known in suffixes if has_suffix(path, (known,))), "")
    return path.name[: len(path.name) - len(suffix)]


FORMAT = Format("NRRD", _SUFFIXES, can_read, read, write=write, written_suffixes=_WRITTEN)
