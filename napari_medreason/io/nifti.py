"""NIfTI-1 and NIfTI-2, single files and .hdr/.img pairs."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from napari_medreason.core.geometry import RAS_FROM_LPS
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.base import Format, ReadOptions, allocate, first_bytes, has_suffix
from napari_medreason.io.gzip_size import check_data_size
from napari_medreason.io.modality import guess_modality
from napari_medreason.io.nifti_header import geometry

_SINGLE = (".nii.gz", ".nii")
_PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
_DAMAGED = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What nibabel and gzip raise on damaged files."""
_BIDS_MR = ("t1w", "t2w", "pdw", "flair", "t2starw", "bold", "sbref", "dwi", "epi", "angio", "mp2rage", "uni")
_MAX_NIFTI1_SIZE = 32767


def can_read(path: Path) -> bool:
    """Whether the name is that of a NIfTI file (an .hdr or .img file may hold something else)."""
    return path.is_file() and has_suffix(path, _SINGLE + _PAIR) and first_bytes(path, 132)[128:] != b"DICM"


def read(path: Path, options: ReadOptions) -> Volume:
    """A 3D or 4D NIfTI image; see `nifti_header.geometry` for its affine.

    Values are scl_slope x stored + scl_inter: float32 where the header has a scale that changes
    them, else the stored dtype. Time is the fourth axis. RGB, complex and 5D images are refused.
    """
    options.report(0, 1)
    image = _open(path)
    shape = _grid_shape(image, path.name)
    check_data_size(Path(image.file_map["image"].filename), _needed_bytes(image), path.name)
    place = geometry(image.header, (shape[0], shape[1], shape[2]), path.name)
    voxels = _voxels(image, shape, path.name)
    options.report(1, 1)
    volume = Volume(
        voxels=voxels,
        affine=place.affine,
        modality=_stated_modality(path),
        name=_stem(path),
        orientation_known=place.orientation_known,
        warnings=place.warnings,
    )
    return guess_modality(volume)


def write(path: Path, volume: Volume) -> None:
    """A volume as one NIfTI file in mm: RAS affine as sform (code 1, scanner) and, without shear, qform.

    Both codes are 0 when the orientation is unknown, so that other programs don't trust it either.
    """
    voxels = volume.voxels
    if voxels.dtype.kind not in "iuf" or (voxels.dtype.itemsize == 2 and voxels.dtype.kind == "f"):
        raise ExportError(f"NIfTI can't hold {voxels.dtype} voxels; use integers or float32/float64")
    kind: Any = nibabel.Nifti1Image if max(voxels.shape) <= _MAX_NIFTI1_SIZE else nibabel.Nifti2Image
    affine_ras = RAS_FROM_LPS @ volume.affine
    # Without an affine of its own nibabel leaves the codes alone; with one it sets the sform when it saves.
    known = volume.orientation_known
    image = kind(voxels.transpose(), affine_ras if known else None, dtype=voxels.dtype)
    _set_forms(image.header, affine_ras, known=known)
    image.header.set_xyzt_units("mm", "sec" if voxels.ndim == 4 else "unknown")
    with replace_file(path) as temporary:
        nibabel.save(image, temporary)


def _set_forms(header: Any, affine_ras: NDArray[np.float64], *, known: bool) -> None:
    header.set_qform(affine_ras, code=0, strip_shears=True)
    header.set_sform(affine_ras, code=int(known))
    sheared = not np.allclose(header.get_qform(), affine_ras, atol=1e-3)
    header["qform_code"] = int(known and not sheared)


def _open(path: Path) -> Any:
    try:
        image: Any = nibabel.load(path, mmap=False)
    except _DAMAGED as error:
        raise UnreadableImageError(
            f"{path.name} is not a NIfTI file or is damaged; NIfTI-1 and NIfTI-2 are accepted; copy it again"
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise UnreadableImageError(
            f"{path.name} holds a {type(image).__name__}, not a NIfTI volume; convert it to NIfTI"
        )
    return image


def _grid_shape(image: Any, name: str) -> tuple[int, ...]:
    """(i, j, k) or (i, j, k, frame); 2D images get one slice."""
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        kind = "colour" if dtype.kind == "V" else "complex"
        raise UnreadableImageError(f"{name} holds {kind} values; grey (real) values are accepted")
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape += (1,) * (3 - len(shape))
    if not 3 <= len(shape) <= 4 or min(shape) < 1:
        raise UnreadableImageError(f"{name} has shape {image.shape}; 3D, or 4D with time last, is accepted")
    return shape


def _needed_bytes(image: Any) -> int:
    count = 1
    for size in image.shape:
        count *= int(size)
    return int(image.dataobj.offset) + count * int(image.get_data_dtype().itemsize)


def _voxels(image: Any, shape: tuple[int, ...], name: str) -> NDArray[np.generic]:
    """(k, j, i) or (frame, k, j, i), C order, native byte order."""
    try:
        stored = np.asarray(image.dataobj.get_unscaled())
    except MemoryError as error:
        raise UnreadableImageError(
            f"{name} is larger than the memory that is free; crop the study"
        ) from error
    except _DAMAGED as error:
        raise UnreadableImageError(f"{name} is damaged or cut short; copy or download it again") from error
    voxels = stored.reshape(shape, order="F").transpose()
    slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, inter) != (1.0, 0.0):
        return _scaled(voxels, slope, inter)
    if voxels.dtype == np.longdouble:
        return voxels.astype(np.float64)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _scaled(voxels: NDArray[np.generic], slope: float, inter: float) -> NDArray[np.float32]:
    """Slope x stored + inter in float64, kept as float32, one outer index at a time to save memory."""
    result = allocate(voxels.shape, np.float32, "the image")
    for source, target in zip(voxels, result, strict=True):
        with np.errstate(over="ignore"):
            target[...] = source.astype(np.float64) * slope + inter
    return result


def _stem(path: Path) -> str:
    suffix = next(known for known in _SINGLE + _PAIR if has_suffix(path, (known,)))
    return path.name[: -len(suffix)]


def _stated_modality(path: Path) -> str:
    """Modality (0008,0060) from the JSON file beside a BIDS or dcm2niix image, or from a BIDS name.

    BIDS names begin with "sub-"; "angio" and the like at the end of other names say nothing certain.
    """
    try:
        entry = json.loads(path.with_name(_stem(path) + ".json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        entry = None
    stated = entry.get("Modality") if isinstance(entry, dict) else None
    if stated in ("CT", "MR"):
        return str(stated)
    name = _stem(path).lower()
    ending = name.rpartition("_")[2]
    if name == "ct" or (name.startswith("sub-") and ending == "ct"):
        return "CT"
    return "MR" if name.startswith("sub-") and ending in _BIDS_MR else ""


FORMAT = Format("NIfTI", _SINGLE + _PAIR, can_read, read, write=write, written_suffixes=_SINGLE)
