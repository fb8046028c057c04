"""Texts from an OpenAI-compatible server, with the user's explicit consent.

Sent are the prompt, which holds label names, modality, boxes and earlier texts, and, only when asked
for, the pixels of one plane as PNG; never a file name, a path or anything from a header.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import socket
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from napari_medreason.errors import DataSetError

from ..config import WriterConfig
from .checked import Message, NoAnswerError
from .task import Task, Usage, WriterSilentError

_LARGEST_REPLY = 4 * 2**20
_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NO_ANSWER = (URLError, TimeoutError, socket.timeout, ConnectionError, http.client.HTTPException, OSError)


class _NoRedirect(HTTPRedirectHandler):
    """The address that was agreed to is the only one that is talked to."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Follow nothing."""
        return


@dataclass(frozen=True)
class Endpoint:
    """A server at `config.address`, which ends with /v1; see `endpoint` for the consent."""

    config: WriterConfig
    opener: OpenerDirector
    name: str = "endpoint"

    @property
    def model(self) -> str:
        """Which model the server is asked for."""
        return self.config.model

    def describe(self) -> str:
        """Address, model and settings in one line."""
        config = self.config
        return f"{config.address} model {config.model} temperature {config.temperature}"

    def answer(self, messages: list[Message], attempt: int, task: Task, usage: Usage) -> str:
        """One chat completion; raises NoAnswerError when another try may help, WriterSilentError else."""
        reply = self._post({**self._settings(attempt), "messages": [_wire(one) for one in messages]})
        self._count(reply.get("usage"), usage)
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise NoAnswerError("reply without a text") from error
        if not isinstance(text, str):
            raise NoAnswerError("reply without a text")
        return text

    def _settings(self, attempt: int) -> dict[str, Any]:
        config = self.config
        return {
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.maximum_tokens,
            "seed": attempt,
            "response_format": {"type": "json_object"},
        }

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            self.config.address.rstrip("/") + "/chat/completions",
            data=json.dumps(body).encode("utf-8"),
            headers={"Content-Type": "application/json", **_authorisation(self.config)},
        )
        try:
            with self.opener.open(request, timeout=self.config.timeout) as response:
                content = response.read(_LARGEST_REPLY + 1)
        except HTTPError as error:
            raise self._refused(error) from error
        except _NO_ANSWER as error:
            raise NoAnswerError(_reason(error)) from error
        return _reply(content)

    def _refused(self, error: HTTPError) -> Exception:
        wanted = error.headers.get("Retry-After", "") if error.headers else ""
        error.close()
        if error.code in _TRY_AGAIN:
            return NoAnswerError(f"status {error.code}", float(wanted) if wanted.isdecimal() else None)
        return WriterSilentError(
            f"{self.config.address} refused a text with status {error.code}; check address, model and the "
            f"key in the environment variable {self.config.key_variable}"
        )

    def _count(self, reported: Any, usage: Usage) -> None:
        if not isinstance(reported, dict):
            return
        read, written = (reported.get(key, 0) for key in ("prompt_tokens", "completion_tokens"))
        if type(read) is not int or type(written) is not int:
            return
        usage.input_tokens += read
        usage.output_tokens += written
        usage.cost += (read * self.config.price_input + written * self.config.price_output) / 1e6


def endpoint(config: WriterConfig) -> Endpoint:
    """The server that a configuration names; DataSetError without consent or with an unsafe address."""
    if not config.address or not config.model:
        raise DataSetError(
            'writer: kind "endpoint" needs an address such as http://127.0.0.1:8000/v1 and a model'
        )
    parts = urlsplit(config.address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise DataSetError(
            f"writer: {config.address!r} is no address; use http:// or https:// and end with /v1"
        )
    if not config.allow_endpoint:
        what = (
            "label names, positions and image pixels" if config.send_images else "label names and positions"
        )
        raise DataSetError(
            f"writer: {what} would be sent to {config.address}; set allow_endpoint = true to agree, "
            'or use kind = "template"'
        )
    local = _is_loopback(parts.hostname)
    if parts.scheme == "http" and not local and os.environ.get(config.key_variable):
        raise DataSetError("writer: an access key is not sent over plain http to another machine; use https")
    handlers = [_NoRedirect(), *([ProxyHandler({})] if local else [])]
    return Endpoint(config, build_opener(*handlers))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authorisation(config: WriterConfig) -> dict[str, str]:
    key = os.environ.get(config.key_variable, "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "time-out"
    return "connection refused" if isinstance(cause, ConnectionRefusedError) else "connection broken"


def _reply(content: bytes) -> dict[str, Any]:
    if len(content) > _LARGEST_REPLY:
        raise NoAnswerError("reply too large")
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError("reply is no JSON") from error
    if not isinstance(reply, dict):
        raise NoAnswerError("reply is no JSON object")
    return reply


def _wire(message: Message) -> Message:
    """A message as the protocol wants it: pictures as data URLs."""
    content = message["content"]
    if isinstance(content, str):
        return message
    return {"role": message["role"], "content": [_part(part) for part in content]}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    coded = base64.b64encode(part["png"]).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded}"}}
