"""Uncompressed DICOM pixels of one or two bytes, taken from their place in the file.

pydicom reads them too, but reads the header of every file again to do so, which takes as long as all
the rest. What is not as plain as this is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.dicom_decoders import PixelFaultError
from napari_medreason.io.dicom_frame import FrameHeader, StoredPixels

_PIXEL_DATA = bytes([0xE0, 0x7F, 0x10, 0x00])
_HEADER_SIZES = {str(ImplicitVRLittleEndian): 8, str(ExplicitVRLittleEndian): 12}
"""Of the element Pixel Data (7FE0,0010), by transfer syntax: tag, perhaps VR, and length in 4 bytes."""
_UNDEFINED = 0xFFFFFFFF

Stored = NDArray[np.integer[np.typing.NBitBase]]


def plain_frames(path: Path, wanted: Sequence[int], pixels: StoredPixels) -> Iterator[Stored] | None:
    """Stored values, (rows, columns) each, of these 0-based frames; None where they are not that plain.

    PixelFaultError, while they are taken, where the file is cut short.
    """
    header_size = _HEADER_SIZES.get(pixels.transfer_syntax)
    if header_size is None or pixels.bits_allocated not in (8, 16) or not pixels.offset:
        return None
    if not 0 < pixels.bits_stored <= pixels.bits_allocated:
        return None
    with path.open("rb") as file:
        file.seek(pixels.offset)
        start = file.read(header_size)
    if start[:4] != _PIXEL_DATA or (header_size == 12 and start[4:6] not in (b"OW", b"OB")):
        return None
    length = int.from_bytes(start[-4:], "little")
    if length == _UNDEFINED or length < _frame_size(pixels) * (max(wanted) + 1):
        return None
    return _frames(path, wanted, pixels, pixels.offset + header_size)


def check_sizes(images: Iterable[FrameHeader]) -> None:
    """UnreadableImageError where a file is smaller than its header claims, before memory is taken for it."""
    for image in images:
        pixels = image.pixels
        if pixels.transfer_syntax not in _HEADER_SIZES or not image.path.is_file():
            continue
        promised = _frame_size(pixels) * pixels.frame_count
        held = image.path.stat().st_size
        if held < promised:
            raise UnreadableImageError(
                f"the image {image.path.name} is cut short or damaged: its header claims {promised:,} bytes "
                f"of pixels, the file holds {held:,}; copy it again"
            )


def _frame_size(pixels: StoredPixels) -> int:
    return pixels.shape[0] * pixels.shape[1] * pixels.bits_allocated // 8


def _frames(path: Path, wanted: Sequence[int], pixels: StoredPixels, begin: int) -> Iterator[Stored]:
    size = _frame_size(pixels)
    dtype = np.dtype(f"<{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")
    with path.open("rb") as file:
        for index in wanted:
            file.seek(begin + index * size)
            data = file.read(size)
            if len(data) < size:
                raise PixelFaultError("its pixel data is cut short or damaged")
            yield _stored_bits(np.frombuffer(data, dtype).reshape(pixels.shape), pixels)


def _stored_bits(values: Stored, pixels: StoredPixels) -> Stored:
    """Without what stands in the bits above Bits Stored (0028,0101); the sign is that of these bits."""
    unused = pixels.bits_allocated - pixels.bits_stored
    return (values << unused) >> unused if unused else values
