"""Frames survive the pipe; damaged ones are refused without hanging and without large allocations."""

import contextlib
import io
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from napari_medreason.engine.frames import (
    MAX_FRAME_BYTES,
    array_to_map,
    map_to_array,
    pack_frame,
    read_frame,
    unpack_body,
    write_frame,
)
from napari_medreason.errors import EngineError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]
ARRAYS = st.sampled_from([">f4", "<f4", *DTYPES]).flatmap(
    lambda dtype: st_numpy.arrays(np.dtype(dtype), st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


class Trickle(io.RawIOBase):
    """A pipe that gives and takes a few bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def read(self, size: int = -1) -> bytes:
        piece = bytes(self.data[: min(size, 3)])
        del self.data[: len(piece)]
        return piece

    def write(self, data) -> int:
        self.data += bytes(data[:3])
        return min(len(data), 3)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=3))
@settings(max_examples=40, deadline=None)
def test_frames_come_out_as_they_went_in_through_a_slow_pipe(messages):
    pipe = Trickle()
    for message in messages:
        write_frame(pipe, pack_frame(message))
    assert [read_frame(pipe) for _ in messages] == messages
    assert read_frame(pipe) is None


@given(ARRAYS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_arrays_come_out_equal_writable_and_little_endian(array, transposed):
    sent = array.T if transposed else array
    received = map_to_array(unpack_body(msgpack.packb(array_to_map(sent))), "array")
    np.testing.assert_array_equal(received, sent)
    assert received.dtype == sent.dtype.newbyteorder("<")
    assert received.flags.writeable
    assert received.flags.c_contiguous


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_garbage_is_refused_or_is_a_map(garbage):
    with contextlib.suppress(EngineError):
        assert isinstance(unpack_body(garbage), dict)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_a_garbage_stream_ends_in_an_error_or_cleanly(garbage):
    source = io.BytesIO(garbage)
    with contextlib.suppress(EngineError):
        for message in iter(lambda: read_frame(source), None):
            assert isinstance(message, dict)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_a_frame_that_is_cut_short_is_refused(message, data):
    frame = pack_frame(message)
    keep = data.draw(st.integers(1, len(frame) - 1))
    with pytest.raises(EngineError, match="inside a frame"):
        read_frame(io.BytesIO(frame[:keep]))


def test_an_oversize_frame_is_refused_before_anything_is_read():
    source = io.BytesIO(struct.pack(">I", MAX_FRAME_BYTES + 1) + b"x" * 100)
    with pytest.raises(EngineError, match=f"{MAX_FRAME_BYTES + 1} bytes"):
        read_frame(source)
    assert source.tell() == 4


def test_an_announced_length_costs_no_memory_until_the_bytes_come():
    source = io.BytesIO(struct.pack(">I", MAX_FRAME_BYTES) + b"x" * 100)
    assert _peak_bytes(source) < 20_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xdc\x40\x00" + (b"\xdc\x40\x00" + b"\x90" * 16384) * 62,
    ],
    ids=["long list", "long map", "long bytes", "deep nesting", "millions of entries"],
)
def test_small_bodies_cannot_unpack_into_large_objects(body):
    assert _peak_bytes(io.BytesIO(struct.pack(">I", len(body)) + body)) < 60_000_000


def _peak_bytes(source: io.BytesIO) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(EngineError):
            read_frame(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("message", [[1], 1, None, {1: 2}, {b"id": 1}])
def test_only_maps_with_text_keys_are_messages(message):
    with pytest.raises(EngineError):
        unpack_body(msgpack.packb(message))


@pytest.mark.parametrize("extension", [msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)])
def test_ext_types_are_refused(extension):
    with pytest.raises(EngineError, match="msgpack map"):
        unpack_body(msgpack.packb({"value": extension}))


@pytest.mark.parametrize("dtype", ["O", "U4", "S4", "c8", "M8[s]", "f2", [("a", "f4")]])
def test_other_dtypes_cannot_be_sent(dtype):
    with pytest.raises(EngineError, match="dtype"):
        array_to_map(np.zeros(2, np.dtype(dtype)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "|O"}, "dtype"),
        ({"dtype": ["<f4"]}, "dtype"),
        ({"shape": [3]}, "does not hold the bytes"),
        ({"shape": [-2, -1]}, "sizes"),
        ({"shape": [2**60, 2**60]}, "sizes"),
        ({"shape": [True, 2]}, "sizes"),
        ({"shape": [1, 1, 1, 1, 2]}, "shape"),
        ({"shape": 2}, "shape"),
        ({"bytes": "12345678"}, "does not hold the bytes"),
        ({"order": "F"}, "is not an array"),
    ],
)
def test_an_array_whose_description_does_not_fit_is_refused(changes, words):
    described = array_to_map(np.zeros(2, np.float32)) | changes
    with pytest.raises(EngineError, match=f"image.*{words}"):
        map_to_array(described, "image")


def test_a_mask_with_other_values_than_0_and_1_is_refused():
    described = array_to_map(np.zeros(3, bool)) | {"bytes": b"\x00\x02\x01"}
    with pytest.raises(EngineError, match="mask"):
        map_to_array(described, "mask")
