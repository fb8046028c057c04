"""One thread that owns the engine process and all open requests, so that nothing here needs locks."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from napari_medreason.core.plane import Plane
from napari_medreason.engine.call import Call, OnState, deliver
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map, pack_frame
from napari_medreason.engine.process import EngineProcess
from napari_medreason.engine.protocol import (
    PROTOCOL_VERSION,
    UNKNOWN_PLANE,
    is_patient,
    map_to_error,
    plane_hash,
)
from napari_medreason.engine.protocol_weights import BACKGROUND_METHODS
from napari_medreason.engine.values import plane_to_map
from napari_medreason.errors import CancelledError, EngineError, MedReasonError

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 2.0
"""An engine that still works on a cancelled request after this time, in which it could stop, is killed."""
PATIENT_SECONDS = 30.0
"""The same while it starts, loads or embeds, counted from its last sign of life."""

_HELLO = 0


class Dispatcher:
    """Sends calls to an engine process and hands its replies to their callbacks, on its own thread."""

    def __init__(self, command: Sequence[str], on_state: OnState | None) -> None:
        self.process: EngineProcess | None = None
        self._command, self._on_state = list(command), on_state
        self._ids = itertools.count(_HELLO + 1)
        self._calls: dict[int, Call] = {}
        self._stopping: dict[int, float] = {}
        self._background: set[int] = set()
        self._patient_with: int | None = None
        self._last_sign = 0.0
        self._ready_since = 0.0
        self._actions: queue.Queue[Callable[[], None]] = queue.Queue()
        self._submitting = threading.Lock()
        self._closed = False
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="medreason-engine-client", daemon=True)
        self._thread.start()

    def submit(self, call: Call) -> int:
        """Queue a call from any thread; returns its id. EngineError after `close`."""
        with self._submitting:
            if self._closed:
                raise EngineError(
                    "the engine client was closed and takes no more requests; restart the viewer"
                )
            call.id = next(self._ids)
            self._actions.put(partial(self._begin, call))
        return call.id

    def cancel(self, call_id: int) -> None:
        """Cancel a call from any thread; unknown and ended calls are left alone."""
        self._actions.put(partial(self._cancel, call_id))

    def close(self) -> None:
        """Cancel what is open, end the process and this thread; from any thread, more than once."""
        with self._submitting:
            if not self._closed:
                self._closed = True
                self._actions.put(self._finish)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # Everything below runs on the dispatcher's thread.

    def _run(self) -> None:
        while not self._finished:
            try:
                self._next_action()()
            except Exception as error:  # the request border: this thread must live, or no request ever ends
                logger.exception("the engine client failed")
                fault = EngineError(f"the engine client failed ({type(error).__name__}); ask again")
                self._actions.put(partial(self._lose, fault))

    def _next_action(self) -> Callable[[], None]:
        """What was put into the queue first; the engine's replacement when a cancelled request is overdue."""
        try:
            return self._actions.get(timeout=self._seconds_left())
        except queue.Empty:
            return self._restart_unresponsive

    def _begin(self, call: Call) -> None:
        self._calls[call.id] = call
        self._send(call)

    def _send(self, call: Call) -> None:
        try:
            process = self.process or self._start()
            arguments = call.arguments()
            if call.plane is not None:
                arguments["plane"] = self._sent_planes(process, call, (call.plane,))[0]
            if call.planes:
                arguments["planes"] = list(self._sent_planes(process, call, call.planes))
            if call.method in BACKGROUND_METHODS:
                self._background.add(call.id)
            process.send(pack_frame({"id": call.id, "method": call.method, "arguments": arguments}))
        except MedReasonError as error:
            self._end(call, call.on_error, error)
        except Exception as error:  # the request border: any caller's values end up here
            logger.debug("a request could not be written", exc_info=True)
            fault = EngineError(f"the request can't be sent ({type(error).__name__}: {error})")
            self._end(call, call.on_error, fault)

    def _sent_planes(self, process: EngineProcess, call: Call, planes: Sequence[Plane]) -> tuple[str, ...]:
        """Hashes of planes that the engine has by now."""
        call.plane_keys = tuple(plane_hash(plane) for plane in planes)
        for plane, key in zip(planes, call.plane_keys, strict=True):
            self._send_plane(process, plane, key)
        return call.plane_keys

    def _send_plane(self, process: EngineProcess, plane: Plane, key: str) -> None:
        if key in process.planes:
            return
        arguments = {"hash": key, "plane": plane_to_map(plane)}
        process.send(pack_frame({"id": next(self._ids), "method": "plane", "arguments": arguments}))
        process.planes.add(key)

    def _start(self) -> EngineProcess:
        self.process = EngineProcess(
            self._command,
            on_frame=lambda process, message: self._actions.put(partial(self._receive, process, message)),
            on_end=lambda process, fault: self._actions.put(partial(self._ended, process, fault)),
        )
        self._report_state("starting")
        self._patient_with, self._last_sign = _HELLO, time.monotonic()
        self.process.send(pack_frame({"id": _HELLO, "method": "hello", "arguments": {}}))
        return self.process

    def _receive(self, process: EngineProcess, message: Map) -> None:
        if process is not self.process:
            return
        try:
            with Fields(message, "reply") as fields:
                call_id, kind, value = fields.integer("id"), fields.text("kind"), fields.take("value")
            self._note_sign(call_id, kind, value)
            if call_id == _HELLO:
                self._greeted(kind, value)
            elif call_id in self._calls:
                self._reply(self._calls[call_id], kind, value)
        except EngineError as error:
            self._lose(error)

    def _note_sign(self, call_id: int, kind: str, value: object) -> None:
        if call_id in self._background:  # says nothing about the models, which run on another thread
            return
        self._last_sign = time.monotonic()
        if kind == "progress" and isinstance(value, dict) and is_patient(value.get("stage")):
            self._patient_with = call_id
        elif call_id == self._patient_with:
            self._patient_with, self._ready_since = None, self._last_sign
        if kind in ("result", "error"):
            self._stopping.pop(call_id, None)

    def _greeted(self, kind: str, value: object) -> None:
        if kind == "error":
            raise EngineError(str(map_to_error(value)))
        version = value.get("protocol") if isinstance(value, dict) else None
        if version != PROTOCOL_VERSION:
            raise EngineError(
                f"the engine speaks protocol {version!r:.20}, this viewer {PROTOCOL_VERSION}; "
                "install the same version of napari-medreason on both sides"
            )
        self._report_state("ready")

    def _reply(self, call: Call, kind: str, value: object) -> None:
        if kind == "result":
            self._end(call, call.on_result, call.decode(value))
        elif kind == "error":
            self._failed(call, value)
        elif kind == "text" and isinstance(value, str):
            call.begun = True
            deliver(call.on_text, value)
        elif kind == "progress":
            with Fields(value, "progress") as fields:
                stage, fraction = fields.text("stage"), fields.maybe("fraction", fields.number)
            # A download that is asked for again goes on where it stopped, so it never counts as begun.
            call.begun = call.begun or not (is_patient(stage) or call.id in self._background)
            deliver(call.on_progress, stage, fraction)
        else:
            raise EngineError(f"the engine sent the reply {kind!r:.40}, which this viewer does not know")

    def _failed(self, call: Call, value: object) -> None:
        unknown_plane = isinstance(value, dict) and value.get("kind") == UNKNOWN_PLANE
        if unknown_plane and self.process is not None and not call.plane_resent:
            self.process.planes.difference_update(call.plane_keys)
            call.plane_resent = True
            self._send(call)
            return
        self._end(call, call.on_error, map_to_error(value))

    def _cancel(self, call_id: int) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        if self.process is not None:
            arguments = {"id": call_id}
            self.process.send(pack_frame({"id": next(self._ids), "method": "cancel", "arguments": arguments}))
            if call_id not in self._background:
                self._stopping[call_id] = time.monotonic()
        self._end(call, call.on_error, CancelledError("the request was cancelled"))

    def _seconds_left(self) -> float | None:
        """Time until the engine must have stopped what was cancelled; None when nothing was."""
        if not self._stopping:
            return None
        asked = min(self._stopping.values())
        if self._patient_with is None:
            deadline = max(asked, self._ready_since) + CANCEL_SECONDS
        else:
            deadline = max(asked, self._last_sign) + PATIENT_SECONDS
        return max(0.0, deadline - time.monotonic())

    def _restart_unresponsive(self) -> None:
        logger.warning("the engine did not stop a cancelled request and is restarted")
        self._drop_process()
        for call in list(self._calls.values()):
            if call.begun:
                self._end(call, call.on_error, EngineError("the engine was restarted; ask again"))
            else:
                self._send(call)

    def _ended(self, process: EngineProcess, fault: EngineError | None) -> None:
        if process is not self.process:
            return
        self._lose(fault or EngineError(f"the engine process ended ({process.reap()}); ask again"))

    def _lose(self, error: EngineError) -> None:
        self._drop_process()
        for call in list(self._calls.values()):
            self._end(call, call.on_error, EngineError(str(error)))

    def _drop_process(self) -> None:
        process, self.process = self.process, None
        self._stopping.clear()
        self._background.clear()
        self._patient_with = None
        if process is not None:
            process.kill()
            self._report_state("ended")

    def _finish(self) -> None:
        self._finished = True
        for call_id in list(self._calls):
            self._cancel(call_id)
        process, self.process = self.process, None
        self._stopping.clear()
        if process is not None:
            process.stop()
            self._report_state("ended")

    def _end(self, call: Call, callback: Callable[[Any], None], value: object) -> None:
        self._calls.pop(call.id, None)
        deliver(callback, value)

    def _report_state(self, state: str) -> None:
        deliver(self._on_state, state)
