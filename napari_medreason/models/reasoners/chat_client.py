"""One question to a chat server of OpenAI's kind over HTTP, with a cancel that is heard at once.

The connection is used in a thread of its own, since nothing else can stop waiting for a name server or a
slow proxy; a cancel ends the wait, and shuts the connection down so that the server stops as well.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from napari_medreason.errors import AnswerFormatError, CancelledError, ModelUnavailableError
from napari_medreason.models.base import Cancelled
from napari_medreason.models.reasoners.chat_events import (
    LARGEST_REPLY,
    Piece,
    streamed_pieces,
    whole_reply,
)
from napari_medreason.models.reasoners.chat_faults import (
    ChatServer,
    ServerBusyError,
    refused,
    slow,
    too_long,
    unreachable,
)

POLL_SECONDS = 0.05
TRIES = 5
"""As the released evaluation of MedReasoner."""
LONGEST_WAIT = 60.0


def ask(server: ChatServer, body: dict[str, Any], *, cancelled: Cancelled) -> Iterator[Piece]:
    """Pieces of the answer as they come; a busy server is asked again after the wait that it names.

    ModelUnavailableError, AnswerFormatError or CancelledError; the connection is closed by then.
    """
    for attempt in range(1, TRIES + 1):
        try:
            yield from _Exchange(server, body).pieces(cancelled)
            return
        except ServerBusyError as busy:
            wait = 1.5 * attempt if busy.wait is None else busy.wait
            if attempt == TRIES or wait > LONGEST_WAIT:
                raise ModelUnavailableError(
                    f"the server {server.host} is busy (status {busy.status}, asked {attempt} times, next "
                    f"time in {wait:.0f} s); try again later"
                ) from busy
        _sleep(wait, cancelled)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Exchange:
    """One request and its reply."""

    def __init__(self, server: ChatServer, body: dict[str, Any]) -> None:
        self._server = server
        self._came: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()
        self._sockets: list[socket.socket] = []
        self._stopped = threading.Event()
        self._request = Request(server.url, data=json.dumps(body).encode(), headers=_headers(server))

    def pieces(self, cancelled: Cancelled) -> Iterator[Piece]:
        threading.Thread(target=self._run, name="chat server", daemon=True).start()
        deadline = monotonic() + self._server.total
        try:
            while (came := self._next(cancelled, deadline)) is not None:
                yield came
        finally:
            self._stop()

    def _next(self, cancelled: Cancelled, deadline: float) -> Piece | None:
        while True:
            if cancelled():
                raise CancelledError
            if monotonic() > deadline:
                raise slow(self._server, self._server.total, "did not finish its answer")
            with contextlib.suppress(queue.Empty):
                came = self._came.get(timeout=POLL_SECONDS)
                if isinstance(came, Exception):
                    raise came
                return came

    def _stop(self) -> None:
        self._stopped.set()
        for one in self._sockets:
            # The plain socket's method: that of TLS would wait for, or trip over, the reading thread.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _connected(self, one: socket.socket) -> None:
        self._sockets.append(one)
        if self._stopped.is_set():
            raise ConnectionAbortedError("stopped")

    def _run(self) -> None:
        """In the thread: everything that came, then None; faults as exceptions."""
        try:
            with self._opener().open(self._request, timeout=self._server.silence) as response:
                for piece in _reply(response, self._server.host):
                    self._came.put(piece)
        except HTTPError as error:
            self._came.put(refused(error, self._server))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._came.put(unreachable(error, self._server))
        except (ModelUnavailableError, AnswerFormatError) as error:
            self._came.put(error)
        finally:
            self._came.put(None)

    def _opener(self) -> Any:
        local = is_loopback(urlsplit(self._server.address).hostname or "")
        handlers = [_NoRedirect(), _Plain(self._connected), _Encrypted(self._connected)]
        return build_opener(*handlers, *([ProxyHandler({})] if local else []))


class _NoRedirect(HTTPRedirectHandler):
    """The address that was agreed to is the only one that is talked to."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return


class _Plain(HTTPHandler):
    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: Request) -> Any:
        return self.do_open(_reporting(http.client.HTTPConnection, self._connected), req)


class _Encrypted(HTTPSHandler):
    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def https_open(self, req: Request) -> Any:
        connection = _reporting(http.client.HTTPSConnection, self._connected)
        return self.do_open(connection, req, context=ssl.create_default_context())


def _reporting(kind: Any, connected: Callable[[socket.socket], None]) -> Any:
    """A kind of connection that tells its socket as soon as it has one."""

    class Reporting(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    return Reporting


def _headers(server: ChatServer) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
    return {**headers, "Authorization": f"Bearer {server.key}"} if server.key else headers


def _reply(response: Any, host: str) -> Iterator[Piece]:
    kind = response.headers.get_content_type()
    if kind == "text/event-stream":
        yield from streamed_pieces(_lines(response, host), host)
        return
    if kind == "text/html":
        raise ModelUnavailableError(
            f"the server {host} answers with a web page; check that the address ends with /v1 and that no "
            "log-in page stands before it"
        )
    content = response.read(LARGEST_REPLY + 1)
    if len(content) > LARGEST_REPLY:
        raise too_long(host)
    yield from whole_reply(content, host)


def _lines(response: Any, host: str) -> Iterator[bytes]:
    size = 0
    for line in iter(partial(response.readline, LARGEST_REPLY + 1), b""):
        size += len(line)
        if size > LARGEST_REPLY:
            raise too_long(host)
        yield line


def _sleep(seconds: float, cancelled: Cancelled) -> None:
    until = monotonic() + seconds
    pause = threading.Event()
    while (rest := until - monotonic()) > 0:
        if cancelled():
            raise CancelledError
        pause.wait(min(POLL_SECONDS, rest))
