"""Decoding in child processes: a damaged file can end a child, never the viewer."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.io.dicom_decoders import PixelFaultError

_COMMAND = (sys.executable, "-P", "-m", "napari_medreason.io.dicom_child")
"""-P keeps files of the current folder from being imported."""
_CRASHED = "its compressed data is damaged so badly that the decoder crashed"

_idle: list[subprocess.Popen[bytes]] = []
"""Children that wait for work; they end by themselves after a while, or when this process ends."""


class DecoderProcesses:
    """The child processes of one reading, one for each thread at work; idle ones or new ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rested: list[subprocess.Popen[bytes]] = []
        self._at_work: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def stored_frames(
        self, path: Path, wanted: Sequence[int], *, transfer_syntax: str, bits_stored: int
    ) -> Iterator[NDArray[Any]]:
        """What `dicom_decoders.stored_frames` gives; PixelFaultError when the child says so or dies."""
        request = {
            "path": str(path.absolute()),
            "wanted": list(wanted),
            "transfer_syntax": transfer_syntax,
            "bits_stored": bits_stored,
        }
        child = self._ask(request)
        for left in range(len(wanted), 0, -1):
            frame = _receive(child)
            if left == 1:
                self._rest(child)
            yield frame

    def close(self) -> None:
        """Keep the children that have answered for the next reading, kill those that are at work."""
        with self._lock:
            self._closed = True
            _idle.extend(self._rested)
            self._rested.clear()
            for child in self._at_work:
                child.kill()

    def collect(self) -> None:
        """Clear up the killed children, once no thread uses them any more."""
        for child in self._at_work:
            _end(child)

    def _ask(self, request: dict[str, Any]) -> subprocess.Popen[bytes]:
        """A child that has taken up the request: this thread's, an idle one, or a new one."""
        while (child := self._waiting()) is not None:
            if _takes_up(child, request):
                return child
            _end(child)
        child = self._started()
        if not _takes_up(child, request):
            raise PixelFaultError("its decoder can't be started")
        return child

    def _waiting(self) -> subprocess.Popen[bytes] | None:
        """A child without work, now at work: one that this reading has used before, or an idle one."""
        with self._lock:
            self._check_open()
            child = self._rested.pop() if self._rested else _pop_idle()
            if child is not None:
                self._at_work.append(child)
            return child

    def _rest(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if not self._closed:
                self._at_work.remove(child)
                self._rested.append(child)

    def _check_open(self) -> None:
        if self._closed:
            raise PixelFaultError("reading was stopped")

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            self._check_open()
            try:
                child = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            except OSError as error:
                raise PixelFaultError(f"its decoder can't be started ({error.strerror})") from error
            self._at_work.append(child)
            return child


def _pop_idle() -> subprocess.Popen[bytes] | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and let go of its pipes."""
    child.kill()
    with contextlib.suppress(OSError), child:
        pass


def _end_idle() -> None:
    while (child := _pop_idle()) is not None:
        _end(child)


atexit.register(_end_idle)


def _takes_up(child: subprocess.Popen[bytes], request: dict[str, Any]) -> bool:
    """Whether the child answers that it has the request."""
    if child.stdin is None or child.stdout is None:
        return False
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
    except OSError:
        return False
    return child.stdout.readline() == b"taken\n"


def _receive(child: subprocess.Popen[bytes]) -> NDArray[Any]:
    if child.stdout is None or not (line := child.stdout.readline()).endswith(b"\n"):
        raise PixelFaultError(_CRASHED)
    message = json.loads(line)
    if "fault" in message:
        raise PixelFaultError(message["fault"])
    dtype, shape = np.dtype(message["dtype"]), tuple(message["shape"])
    size = math.prod(shape) * dtype.itemsize
    data = child.stdout.read(size)
    if len(data) < size:
        raise PixelFaultError(_CRASHED)
    return np.frombuffer(data, dtype).reshape(shape)
