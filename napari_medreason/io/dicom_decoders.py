"""Which library decodes the stored pixels of a DICOM file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_PLUGINS: dict[str, str] = {
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
    RLELossless: "pylibjpeg",
}
"""Which of pydicom's decoders is asked, where GDCM would be asked too and gives up less gracefully."""


class PixelFaultError(Exception):
    """Pixels can't be decoded; the text says why, as the end of a sentence."""


def needs_process(transfer_syntax: str) -> bool:
    """Whether the pixels are compressed, so that a decoder written in C, C++ or Rust works on them."""
    return UID(transfer_syntax).is_encapsulated if UID(transfer_syntax).is_transfer_syntax else False


def decodes_whole_file(transfer_syntax: str, bits_stored: int) -> bool:
    """Whether `stored_frames` decodes or unpacks every frame of a file even to give one of them."""
    unpacked = transfer_syntax in ("", DeflatedExplicitVRLittleEndian)
    return unpacked or _only_gdcm(transfer_syntax, bits_stored)


def _only_gdcm(transfer_syntax: str, bits_stored: int) -> bool:
    return transfer_syntax == JPEGExtended12Bit and bits_stored > 8


def fault(error: BaseException) -> str:
    """Why pixels can't be decoded, as the end of a sentence for the user."""
    if isinstance(error, PixelFaultError):
        return str(error)
    if isinstance(error, NotImplementedError | RuntimeError):
        return "its compression is not supported, or the data is damaged"
    if isinstance(error, AttributeError):
        return "it has no pixel data, or lacks a tag that is needed to decode it"
    return "its pixel data is cut short or damaged"


def stored_frames(
    path: Path, wanted: Sequence[int], *, transfer_syntax: str, bits_stored: int
) -> Iterator[NDArray[Any]]:
    """Stored values, (rows, columns) each, of the frames with these 0-based indices, one by one.

    pydicom and its decoders do the work, in this process, and read single frames from the file where
    it can be done. They leave out JPEG Extended with 12 bits, which GDCM decodes as a whole file.
    """
    if _only_gdcm(transfer_syntax, bits_stored):
        images = _gdcm_images(path)
        return iter([images[index] for index in wanted])
    source: Path | pydicom.FileDataset = path
    if transfer_syntax in ("", DeflatedExplicitVRLittleEndian):
        source = _whole(path)
    plugin = _PLUGINS.get(transfer_syntax, "")
    return iter_pixels(source, indices=list(wanted), raw=True, decoding_plugin=plugin)


def _whole(path: Path) -> pydicom.FileDataset:
    """The data set; the transfer syntax is filled in where the file has no meta information."""
    found = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in found.file_meta:
        implicit, little = found.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return found


def _gdcm_images(path: Path) -> NDArray[Any]:
    """(frame, rows, columns) of a 16-bit grey image; RuntimeError when GDCM can't decode it."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise RuntimeError("GDCM can't read the file")
    image = reader.GetImage()
    stored = image.GetPixelFormat()
    if stored.GetBitsAllocated() != 16 or stored.GetSamplesPerPixel() != 1:
        raise RuntimeError("GDCM gives no 16-bit grey image")
    sizes = [image.GetDimension(axis) for axis in range(image.GetNumberOfDimensions())]
    dtype = np.int16 if stored.GetPixelRepresentation() else np.uint16
    # GDCM hands its bytes over as text.
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, dtype).reshape(-1, sizes[1], sizes[0])
