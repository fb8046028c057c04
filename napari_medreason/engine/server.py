"""The engine process: requests come in on standard input, replies go out on standard output.

Models run on the main thread, one request at a time; requests about weights run beside them, each on its
own thread, so that a question does not wait for a download. A reader thread takes requests meanwhile, so
that a cancel is seen between tokens and steps, and ends the process when standard input closes.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import sys
import threading
from functools import partial
from io import FileIO, TextIOWrapper

from napari_medreason import __version__
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import ByteSink, ByteSource, Map, pack_frame, read_frame, write_frame
from napari_medreason.engine.methods import Methods, Request
from napari_medreason.engine.methods_weights import weight_methods
from napari_medreason.engine.protocol import PROTOCOL_VERSION, error_to_map
from napari_medreason.engine.shelf import Registry, Shelf, installed_registry
from napari_medreason.errors import CancelledError, EngineError, MedReasonError

logger = logging.getLogger(__name__)

_END_SECONDS = 2.0


class Engine:
    """Answers requests until the source ends: those that need models one after the other."""

    def __init__(self, sink: ByteSink, registry: Registry) -> None:
        self._sink, self._sending = sink, threading.Lock()
        self._background = weight_methods()
        self._methods = {**Methods(Shelf(registry)).table(), **self._background}
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._open: dict[int, Request] = {}
        self._running: set[int] = set()
        self._bookkeeping = threading.Lock()
        self._done = threading.Event()
        self._exit_code = 0

    def run(self, source: ByteSource) -> int:
        """Work until the source ends; returns the exit code, 1 when a frame was damaged."""
        threading.Thread(target=self._read, args=(source,), name="requests", daemon=True).start()
        while (request := self._queue.get()) is not None:
            self._answer(request)
        self._done.set()
        return self._exit_code

    # On the reader thread.

    def _read(self, source: ByteSource) -> None:
        try:
            while (message := read_frame(source)) is not None:
                self._take(message)
        except EngineError as error:
            self._exit_code = 1
            self._send(0, "error", error_to_map(error))
        finally:
            self._end()

    def _take(self, message: Map) -> None:
        request_id = message.get("id")
        try:
            with Fields(message, "request") as fields:
                new_id, method = fields.integer("id"), fields.text("method")
                arguments = fields.take("arguments")
            self._accept(Request(new_id, method, arguments, partial(self._send, new_id)))
        except EngineError as error:
            self._send(request_id if type(request_id) is int else 0, "error", error_to_map(error))

    def _accept(self, request: Request) -> None:
        if request.method == "hello":
            value = {"protocol": PROTOCOL_VERSION, "version": __version__, "pid": os.getpid()}
            self._send(request.id, "result", value)
        elif request.method == "cancel":
            with Fields(request.arguments, "cancel") as fields:
                target = fields.integer("id")
            self._send(request.id, "result", {"open": self._cancel(target)})
        elif request.method in self._methods:
            self._enqueue(request)
        else:
            known = ", ".join(["hello", "cancel", *self._methods])
            raise EngineError(f"the method {request.method!r:.40} is not known; accepted: {known}")

    def _enqueue(self, request: Request) -> None:
        with self._bookkeeping:
            if request.id in self._open:
                raise EngineError(f"request {request.id} is still open; give every request a new id")
            self._open[request.id] = request
        if request.method in self._background:
            name = f"{request.method} {request.id}"
            threading.Thread(target=self._answer, args=(request,), name=name, daemon=True).start()
        else:
            self._queue.put(request)

    def _cancel(self, target: int) -> bool:
        """A waiting request ends here and now; a running one is told and ends between two steps."""
        with self._bookkeeping:
            request = self._open.get(target)
            waiting = request is not None and target not in self._running
            if waiting:
                del self._open[target]
        if request is None:
            return False
        request.cancelled.set()
        if waiting:
            self._send(target, "error", error_to_map(CancelledError("the request was cancelled")))
        return True

    def _end(self) -> None:
        with self._bookkeeping:
            for request in self._open.values():
                request.cancelled.set()
        self._queue.put(None)
        if not self._done.wait(_END_SECONDS):
            os._exit(self._exit_code)  # a model that does not stop must not outlive the viewer

    # On the main thread, or on a request's own.

    def _answer(self, request: Request) -> None:
        with self._bookkeeping:
            if self._open.get(request.id) is not request:
                return  # it was cancelled while it waited; its id may belong to another one by now
            self._running.add(request.id)
        try:
            request.check()
            with Fields(request.arguments, request.method) as fields:
                value = self._methods[request.method](request, fields)
            request.check()
            self._finish(request, "result", value)
        except Exception as error:  # the request border: a model's fault must not end the engine
            if not isinstance(error, (CancelledError, MedReasonError)):
                logger.exception("request %d (%s) failed", request.id, request.method)
            self._finish(request, "error", error_to_map(error))

    def _finish(self, request: Request, kind: str, value: object) -> None:
        frame = pack_frame({"id": request.id, "kind": kind, "value": value})
        with self._bookkeeping:
            self._open.pop(request.id, None)
            self._running.discard(request.id)
        self._send_frame(frame)

    def _send(self, request_id: int, kind: str, value: object) -> None:
        self._send_frame(pack_frame({"id": request_id, "kind": kind, "value": value}))

    def _send_frame(self, frame: bytes) -> None:
        try:
            with self._sending:
                write_frame(self._sink, frame)
        except OSError:
            logger.debug("nobody reads the replies any more")


def take_over_standard_streams() -> tuple[FileIO, FileIO]:
    """Keep standard input and output for frames; what libraries print goes to standard error.

    Descriptor 0 then reads nothing, so that no library can swallow a frame by asking a question.
    """
    source_descriptor, sink_descriptor = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(source_descriptor, os.O_BINARY)
        msvcrt.setmode(sink_descriptor, os.O_BINARY)
    return FileIO(source_descriptor, "rb"), FileIO(sink_descriptor, "wb")


def serve(registry: Registry | None = None) -> int:
    """Run an engine on the standard streams until standard input closes; returns the exit code."""
    source, sink = take_over_standard_streams()
    faulthandler.enable()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with source, sink:
        return Engine(sink, registry or installed_registry()).run(source)


def main() -> None:
    """`medreason engine` and `python -m napari_medreason.engine`; does not return."""
    leave_a_core_to_the_viewer()
    code = serve()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # tearing down torch takes seconds, in which the viewer would wait to close


def leave_a_core_to_the_viewer() -> None:
    """Let torch compute on all cores but one, unless the user set OMP_NUM_THREADS; before torch loads.

    Threads that wait for a core that the viewer (or anything else) holds make each other slow: with two
    cores and one busy, questions took two to four times as long on two threads as on one.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
