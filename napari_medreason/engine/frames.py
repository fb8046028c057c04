"""Frames on a pipe: a 4-byte big-endian length, then one msgpack map. No pickle, no ext types."""

from __future__ import annotations

import math
import struct
from typing import Any, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import EngineError

MAX_FRAME_BYTES = 512 * 1024 * 1024
MAX_FIRST_FRAME_BYTES = 65_536
"""The first reply of an engine is its short greeting; text of something else reads as a length far above."""
MAX_ITEMS = 1_000_000
"""Entries of all lists and maps of one frame together; pixels travel as bytes and do not count."""

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1024 * 1024
_MAX_LIST_LENGTH = 16_384
_MAX_DIMENSIONS = 4
_DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<i8", "<f4", "<f8")
}

Map = dict[str, Any]


class ByteSource(Protocol):
    """The reading half of a pipe; may give fewer bytes than asked, and b"" at its end."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes."""


class ByteSink(Protocol):
    """The writing half of a pipe; may take fewer bytes than offered."""

    def write(self, data: memoryview, /) -> int | None:
        """How many bytes were taken."""


def pack_frame(message: Map) -> bytes:
    """One frame as bytes; EngineError when it is larger than 512 MiB."""
    body = msgpack.packb(message, use_bin_type=True, unicode_errors="replace")
    if len(body) > MAX_FRAME_BYTES:
        raise EngineError(_too_large(len(body)))
    return _LENGTH.pack(len(body)) + bytes(body)


def write_frame(sink: ByteSink, frame: bytes) -> None:
    """Write all bytes of a packed frame; OSError when the other side has gone."""
    rest = memoryview(frame)
    while rest:
        rest = rest[sink.write(rest) or 0 :]


def read_frame(source: ByteSource, *, most_bytes: int = MAX_FRAME_BYTES) -> Map | None:
    """The next frame, or None when the source ended between frames; EngineError when it is damaged.

    most_bytes: a frame that announces more is refused before any of it is waited for. Memory grows with
    the bytes that really arrive, not with the length that was announced.
    """
    head = _read_exactly(source, _LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise EngineError("the engine connection ended inside a frame; ask again")
    (length,) = _LENGTH.unpack(head)
    if length > most_bytes:
        raise EngineError(_too_large(length, most_bytes))
    body = _read_exactly(source, length)
    if len(body) < length:
        raise EngineError("the engine connection ended inside a frame; ask again")
    return unpack_body(body)


def unpack_body(body: bytes | bytearray) -> Map:
    """The map that a frame's body holds; EngineError when it is anything else."""
    budget = _Budget()
    try:
        message = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            ext_hook=_no_ext,
            list_hook=budget.spend,
            object_hook=budget.spend,
            max_array_len=_MAX_LIST_LENGTH,
            max_map_len=_MAX_LIST_LENGTH,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise EngineError(f"a frame is not one msgpack map ({type(error).__name__}: {error})") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise EngineError(f"a frame holds a {type(message).__name__}; a map with text keys is accepted")
    return message


def array_to_map(array: NDArray[Any]) -> Map:
    """An array as {dtype, shape, bytes}: little endian, C order; EngineError for other dtypes."""
    little = array.dtype.newbyteorder("<")
    if little.str not in _DTYPES:
        raise EngineError(f"an array of dtype {array.dtype} can't be sent; accepted: {', '.join(_DTYPES)}")
    return {
        "dtype": little.str,
        "shape": [int(size) for size in array.shape],
        "bytes": array.astype(little, copy=False).tobytes("C"),
    }


def map_to_array(value: object, name: str) -> NDArray[Any]:
    """A new, writable array from {dtype, shape, bytes}; EngineError names what does not fit."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "bytes"}:
        raise EngineError(f"{name} is not an array; a map with dtype, shape and bytes is accepted")
    dtype = _DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise EngineError(f"{name} has dtype {value['dtype']!r:.40}; accepted: {', '.join(_DTYPES)}")
    shape, data = _checked_shape(value["shape"], name), value["bytes"]
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        raise EngineError(f"{name} does not hold the bytes of a {dtype.str} array of shape {shape}")
    if dtype.kind == "b" and data.strip(b"\x00\x01"):
        raise EngineError(f"{name} is a mask with values other than 0 and 1")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _checked_shape(shape: object, name: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise EngineError(f"{name} has no shape of at most {_MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size <= MAX_FRAME_BYTES for size in shape):
        raise EngineError(f"{name} has sizes that are not counts of pixels")
    return tuple(shape)


class _Budget:
    """Stops a small frame from unpacking into millions of objects."""

    def __init__(self) -> None:
        self.left = MAX_ITEMS

    def spend(self, items: Any) -> Any:
        self.left -= len(items) + 1
        if self.left < 0:
            raise ValueError(f"more than {MAX_ITEMS} list and map entries")
        return items


def _no_ext(code: int, data: bytes) -> Any:
    raise ValueError(f"ext type {code} is not accepted")


def _read_exactly(source: ByteSource, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        piece = source.read(min(size - len(data), _READ_BYTES))
        if not piece:
            break
        data += piece
    return data


def _too_large(length: int, most_bytes: int = MAX_FRAME_BYTES) -> str:
    return (
        f"a frame announces {length} bytes, at most {most_bytes} are accepted; "
        "if the engine runs elsewhere, something else may be writing to its standard output"
    )
