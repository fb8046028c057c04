"""What can go wrong with a chat server, each told in one line."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.reasoners.chat_events import LARGEST_REPLY, fault_words

_BUSY = (429, 503)


class ServerBusyError(Exception):
    """The server asks to come back; `wait` is in seconds, None when it doesn't say when."""

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.wait = status, wait


@dataclass(frozen=True)
class ChatServer:
    """Where to ask. key: "" for none; never shown. silence: seconds without a byte, total: for one answer."""

    address: str
    key: str = field(default="", repr=False)
    silence: float = 60.0
    total: float = 600.0

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.address).netloc

    @property
    def url(self) -> str:
        """Where chat completions are asked for."""
        return self.address.rstrip("/") + "/chat/completions"


def refused(error: HTTPError, server: ChatServer) -> Exception:
    """A reply with a status that is no answer, as the fault to tell."""
    with error:
        if error.code in _BUSY:
            return ServerBusyError(error.code, _wait(error.headers.get("Retry-After")))
        said = fault_words(error.read(65536))
    words = f"status {error.code}" + (f", “{said}”" if said else "")
    if error.code in (401, 403):
        advice = "check the access key in the environment variable or the keyring"
    elif error.code == 404:
        advice = f"check the model's name, {server.address.rstrip('/')}/models lists them, and the address"
    elif 300 <= error.code < 400:
        advice = "it wants to lead elsewhere, which is not followed; give the address that was meant"
    elif error.code >= 500:
        advice = "that is its own fault; try again later, or look at its log"
    else:
        advice = "check the model's name and the settings"
    return ModelUnavailableError(f"the server {server.host} refused the question ({words}); {advice}")


def _wait(after: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3), which is a number or a date."""
    if after is None:
        return None
    if after.strip().isdecimal():
        return float(after)
    try:
        moment = parsedate_to_datetime(after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def unreachable(error: Exception, server: ChatServer) -> ModelUnavailableError:
    """A connection that was not made or that broke, as the fault to tell."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return slow(server, server.silence, "sent nothing")
    if isinstance(cause, ConnectionRefusedError):
        return ModelUnavailableError(
            f"nothing answers at {server.host}; start the server, or check the address"
        )
    if isinstance(cause, socket.gaierror):
        return ModelUnavailableError(f"no server named {server.host} can be found; check the address")
    if isinstance(cause, ssl.SSLError):
        return ModelUnavailableError(
            f"no safe connection to {server.host} can be made ({type(cause).__name__}); check its "
            "certificate, and https or http in the address"
        )
    return ModelUnavailableError(
        f"the connection to {server.host} broke ({type(cause).__name__}); check that the server runs, and "
        "ask again"
    )


def slow(server: ChatServer, seconds: float, what: str) -> ModelUnavailableError:
    """A server that took too long, as the fault to tell."""
    return ModelUnavailableError(
        f"the server {server.host} {what} for {seconds:g} s; it may be overloaded: try again, or wait longer "
        "with the options silence and total"
    )


def too_long(host: str) -> ModelUnavailableError:
    """A reply that does not end, as the fault to tell."""
    return ModelUnavailableError(
        f"the server {host} sent more than {LARGEST_REPLY // 2**20} MB for one answer; choose another model"
    )
