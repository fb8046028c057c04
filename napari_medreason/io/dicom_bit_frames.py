"""One-bit frames packed in the two ways that pydicom does not unpack: RLE, and Deflated Image Frame."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
"""Deflated Image Frame Compression (PS3.5, A.4.13): each frame a stream of its own."""
_RLE_HEADER = 64


def is_packed_bits(transfer_syntax: str, bits_allocated: int) -> bool:
    """Whether `bit_frames` is needed."""
    return bits_allocated == 1 and transfer_syntax in (RLELossless, DEFLATED_FRAMES)


def bit_frames(path: Path, shape: tuple[int, int], count: int) -> Iterator[NDArray[np.uint8]]:
    """The (rows, columns) frames of a file, 0 and 1; ValueError when they are cut short or damaged."""
    data = pydicom.dcmread(path)
    needed = -(-shape[0] * shape[1] // 8)
    unpack = _unrle if data.file_meta.TransferSyntaxUID == RLELossless else _inflate
    for frame in generate_frames(data.PixelData, number_of_frames=count):
        unpacked = unpack(frame, needed)
        if len(unpacked) < needed:
            raise ValueError("a frame is cut short")
        bits = np.unpackbits(np.frombuffer(unpacked, np.uint8, needed), bitorder="little")
        yield bits[: shape[0] * shape[1]].reshape(shape)


def _inflate(frame: bytes, needed: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, needed)


def _unrle(frame: bytes, needed: int) -> bytes:
    """The only segment of a frame (PS3.5, Annex G): runs of copied and of repeated bytes."""
    unpacked = bytearray()
    place = _RLE_HEADER
    while place < len(frame) - 1 and len(unpacked) < needed:
        control = frame[place]
        if control < 128:
            unpacked += frame[place + 1 : place + 2 + control]
            place += 2 + control
        else:
            # 128 is a filler
            unpacked += frame[place + 1 : place + 2] * (257 - control if control > 128 else 0)
            place += 2 if control > 128 else 1
    return bytes(unpacked)
