"""What a chat server of OpenAI's kind sends back: pieces of text, refusals and faults; no network here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from napari_medreason.errors import AnswerFormatError, ModelUnavailableError

LARGEST_REPLY = 4 * 2**20


@dataclass(frozen=True)
class Piece:
    """text: of the answer; thought: of a reasoning that the server keeps apart. finish: why it ended."""

    text: str = ""
    thought: str = ""
    finish: str = ""


def streamed_pieces(lines: Iterable[bytes], host: str) -> Iterator[Piece]:
    """Pieces of a stream of server-sent events; ends at [DONE] or with the stream.

    ModelUnavailableError for a fault that the server reports in the stream or an event that is no JSON,
    AnswerFormatError for a refusal.
    """
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").strip().partition(":")
        if field != "data":
            continue
        if value.strip() == "[DONE]":
            return
        event = _object(value, host)
        for choice in _choices(event, host)[:1]:
            yield _piece(choice.get("delta"), choice.get("finish_reason"), host)


def whole_reply(content: bytes, host: str) -> Iterator[Piece]:
    """The pieces of a reply that came at once, from a server that does not stream; faults as above."""
    choices = _choices(_object(content.decode("utf-8", "replace"), host), host)
    if not choices:
        raise ModelUnavailableError(f"the server {host} sent a reply without an answer; {_CHECK}")
    yield _piece(choices[0].get("message"), choices[0].get("finish_reason"), host)


def fault_words(content: bytes) -> str:
    """What a server says about its fault, as one short line; "" when it says nothing readable."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    error = found.get("error", found) if isinstance(found, dict) else None
    words = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    return one_line(words, 160) if isinstance(words, str) else ""


def one_line(text: str, length: int) -> str:
    """The beginning of a text from outside, without line ends and control characters."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * length])
    line = " ".join(visible.split())
    return line if len(line) <= length else line[: length - 1] + "…"


_CHECK = "check that the address ends with /v1 and is that of a chat server such as vLLM"


def _object(text: str, host: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnavailableError(
            f"the server {host} sent something else than JSON (“{one_line(text, 60)}”); {_CHECK}"
        ) from error
    if not isinstance(found, dict):
        raise ModelUnavailableError(f"the server {host} sent JSON that is no chat reply; {_CHECK}")
    return found


def _choices(event: dict[str, Any], host: str) -> list[dict[str, Any]]:
    if event.get("error"):
        words = fault_words(json.dumps(event).encode()) or "no reason given"
        raise ModelUnavailableError(f"the server {host} stopped with a fault ({words}); try again later")
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise ModelUnavailableError(f"the server {host} sent JSON that is no chat reply; {_CHECK}")
    return [choice for choice in choices if isinstance(choice, dict)]


def _piece(message: Any, finish: Any, host: str) -> Piece:
    message = message if isinstance(message, dict) else {}
    if (refusal := message.get("refusal")) or finish == "content_filter":
        words = f": “{one_line(refusal, 120)}”" if isinstance(refusal, str) and refusal else ""
        raise AnswerFormatError(
            f"the model at {host} declined to answer{words}; ask in other words, or choose another model"
        )
    return Piece(
        _text(message, "content"),
        _text(message, "reasoning_content") or _text(message, "reasoning"),
        finish if isinstance(finish, str) else "",
    )


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else ""
