"""FreeSurfer images: MGH, and MGZ packed with gzip; nibabel reads them."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_medreason.core.geometry import RAS_FROM_LPS, checked_affine
from napari_medreason.core.volume import Volume
from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import Format, ReadOptions, has_suffix
from napari_medreason.io.modality import guess_modality

_PACKED = (".mgz", ".mgh.gz")
_SUFFIXES = (*_PACKED, ".mgh")
_FLAG_AT = 28
"""Where goodRASFlag stands in the header, two bytes, big endian."""
_DAMAGED = (
    *(ImageFileError, HeaderDataError, WrapStructError, MGHError, OSError, EOFError, ValueError, TypeError),
    *(KeyError, OverflowError, struct.error, zlib.error),
)
"""What nibabel and gzip raise on damaged files."""
NO_RAS = (
    "The MGH header does not say how the image lies in the patient (goodRASFlag is 0); left and right can't "
    "be told, and no patient words are given."
)


def can_read(path: Path) -> bool:
    """Whether the name is that of an MGH file."""
    return path.is_file() and has_suffix(path, _SUFFIXES)


def read(path: Path, options: ReadOptions) -> Volume:
    """A 3D or 4D MGH image: frames are the fourth axis, the affine that of the header, in mm."""
    options.report(0, 1)
    try:
        with _unpacked(path) as file:
            known = _has_directions(file)
            # from_filename would leave the file open where the header is damaged
            image: Any = nibabel.MGHImage.from_stream(file)
            shape = tuple(int(size) for size in image.shape)
            affine = checked_affine(RAS_FROM_LPS @ image.affine)
            _check_size(path, math.prod(shape) * int(image.get_data_dtype().itemsize))
            stored = np.asarray(image.dataobj)
    except MemoryError as error:
        raise UnreadableImageError(f"{path.name} is larger than the memory that is free; crop it") from error
    except _DAMAGED as error:
        raise UnreadableImageError(f"{path.name} is not an MGH image or is damaged; copy it again") from error
    voxels = stored.astype(stored.dtype.newbyteorder("="), copy=False).transpose()
    options.report(1, 1)
    volume = Volume(
        voxels[0] if voxels.ndim == 4 and len(voxels) == 1 else voxels,
        affine,
        name=path.name.partition(".")[0],
        orientation_known=known,
        warnings=() if known else (NO_RAS,),
    )
    return guess_modality(volume)


def _unpacked(path: Path) -> Any:
    return gzip.open(path) if has_suffix(path, _PACKED) else path.open("rb")


def _has_directions(file: Any) -> bool:
    """goodRASFlag; nibabel fills in directions, and the flag, where it is 0."""
    flag = int.from_bytes(file.read(_FLAG_AT + 2)[_FLAG_AT:], "big")
    file.seek(0)
    return flag > 0


def _check_size(path: Path, needed: int) -> None:
    """Refuse what the header promises and the file can't hold (deflate: zlib technical notes)."""
    most = path.stat().st_size * (1032 if has_suffix(path, _PACKED) else 1)
    if needed > most:
        raise UnreadableImageError(f"{path.name} is cut short or its header is wrong; copy it again")


FORMAT = Format("MGH", _SUFFIXES, can_read, read)
