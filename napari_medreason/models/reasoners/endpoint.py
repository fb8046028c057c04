"""A server that speaks OpenAI's chat protocol (vLLM and the like) as Reasoner, with explicit consent.

Sent are the pixels of the asked plane, as it is displayed, in a PNG without metadata, and the prompt with the
question; never a file name, a path or anything from a header. This covers models that are too large for the
user's machine, and families that transformers does not have.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_medreason.core.question import Question
from napari_medreason.errors import AnswerFormatError, ModelUnavailableError
from napari_medreason.models.base import Cancelled, OnText, Reasoning
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.chat_client import ask, is_loopback
from napari_medreason.models.reasoners.chat_events import one_line
from napari_medreason.models.reasoners.chat_faults import ChatServer
from napari_medreason.models.reasoners.coordinates import checked_coordinates, example, in_words
from napari_medreason.models.reasoners.forms import MEDREASONER, SEG_ZERO, SQUARE_SIZE, VLM_R1, AnswerForm
from napari_medreason.models.reasoners.options import options_of
from napari_medreason.models.reasoners.prompt_text import AskedPrompt, read_prompt
from napari_medreason.models.reasoners.proposal import read_text

KEY_VARIABLE = "MEDREASON_ENDPOINT_KEY"
KEYRING_SERVICE = "napari-medreason"
FORMS: dict[str, AnswerForm] = {"medreasoner": MEDREASONER, "seg-zero": SEG_ZERO, "vlm-r1": VLM_R1}


@dataclass(frozen=True)
class EndpointOptions:
    """What a user may set.

    model: the name under which the server knows it. allow_endpoint: that pixels and question may be sent.
    key_variable: environment variable with the access key; else the system's keyring is asked for service
    "napari-medreason" and the host as user. coordinates: how this model writes places. settings: more for the
    request, such as {"repetition_penalty": 1.05} for vLLM; None takes one away. prompt, direct: as for local
    models. silence, total: seconds to wait for the next byte and for the whole answer.
    """

    model: str = ""
    allow_endpoint: bool = False
    key_variable: str = KEY_VARIABLE
    form: str = "medreasoner"
    coordinates: str = "pixels"
    square_size: int = SQUARE_SIZE
    max_new_tokens: int = 2048
    prompt: str | Path | None = None
    direct: bool = False
    settings: Mapping[str, Any] | None = None
    silence: float = 60.0
    total: float = 600.0

    @classmethod
    def checked(cls, options: dict[str, Any]) -> EndpointOptions:
        """Options by name; ModelUnavailableError for one that is unknown, missing or out of range."""
        made = options_of(cls, options, taker="an endpoint")
        if not made.model:
            raise ModelUnavailableError("an endpoint needs the option model, the name its server knows it by")
        if made.form not in FORMS:
            raise ModelUnavailableError(f"form {made.form!r} is not known; known: {', '.join(FORMS)}")
        if min(made.square_size, made.max_new_tokens, made.silence, made.total) <= 0:
            raise ModelUnavailableError("square_size, max_new_tokens, silence and total must be above 0")
        return made


class EndpointReasoner:
    """A model behind `address`, which ends with /v1; `options` are those of EndpointOptions."""

    def __init__(self, address: str, **options: Any) -> None:
        self._options = EndpointOptions.checked(options)
        self._coordinates = checked_coordinates(self._options.coordinates)
        self._form = FORMS[self._options.form]
        self._server = _server(address, self._options)
        self._prompt = read_prompt(
            self._options.prompt,
            self._form.direct_prompt if self._options.direct else self._form.prompt,
            coordinates=in_words(self._coordinates, self._options.square_size, sized=True),
            example=example(self._coordinates, self._options.square_size, keys=self._form.keys),
        )
        self.id = f"{self._options.model} at {self._server.host}"
        self.weights_sha256 = ""

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """Answer with reasoning, box and points.

        AnswerFormatError when the text holds no usable answer or the model declines; ModelUnavailableError
        when the server can't be reached or refuses.
        """
        picture, frame = letterboxed_picture(question.plane, self._options.square_size)
        body = self._body(picture, self._prompt.asked(question.text))
        text, finish = _written(self._server, body, on_text=on_text, cancelled=cancelled)
        if "<answer" not in text.lower() and finish != "length":
            wrote = f"wrote “{one_line(text, 100)}”" if text.strip() else "wrote nothing"
            raise AnswerFormatError(
                f"the model at {self._server.host} gave no answer block, but {wrote}; ask in other words, or "
                "choose another model"
            )
        cut_at = self._options.max_new_tokens if finish == "length" else None
        reasoning = read_text(text, frame, form=self._form, coordinates=self._coordinates, cut_at=cut_at)
        note = f"the reasoner ran on the server {self._server.host}; its weights are not known"
        return replace(reasoning, notes=(*reasoning.notes, note))

    def _body(self, picture: NDArray[np.uint8], prompt: AskedPrompt) -> dict[str, Any]:
        texts = [{"type": "text", "text": text} for text in (prompt.before, prompt.shared + prompt.tail)]
        image = {"type": "image_url", "image_url": {"url": _data_url(picture)}}
        content = [part for part in (texts[0], image, texts[1]) if str(part.get("text", "-")).strip()]
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._options.max_new_tokens,
            "temperature": 0,
            "stream": True,
            **(self._options.settings or {}),
        }
        return {key: value for key, value in body.items() if value is not None}


def _written(
    server: ChatServer, body: dict[str, Any], *, on_text: OnText, cancelled: Cancelled
) -> tuple[str, str]:
    """The whole text, a separate reasoning put into a think block, and why it ended."""
    text, thought, finish = "", "", ""
    for piece in ask(server, body, cancelled=cancelled):
        if piece.thought or piece.text:
            on_text(piece.thought + piece.text)
        text, thought, finish = text + piece.text, thought + piece.thought, piece.finish or finish
    return (f"<think>{thought}</think>{text}" if thought and "<think>" not in text else text), finish


def _server(address: str, options: EndpointOptions) -> ChatServer:
    """Where to ask, with the key; ModelUnavailableError without consent or with an unsafe address."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise ModelUnavailableError(
            f"{one_line(address, 80)!r} is no address of a server; use http:// or https:// and end with /v1"
        )
    if options.allow_endpoint is not True:
        raise ModelUnavailableError(
            f"the pixels of the asked slice and the question would be sent to {parts.netloc}; set "
            "allow_endpoint=True to agree, or choose a model on this machine"
        )
    key = _key(host, options.key_variable)
    if not (key.isascii() and key.isprintable()):
        raise ModelUnavailableError(
            f"the access key for {parts.netloc} holds characters that no key has; set it again"
        )
    if key and parts.scheme == "http" and not is_loopback(host):
        raise ModelUnavailableError(
            f"an access key is not sent over plain http to {parts.netloc}; use https, or take the key away"
        )
    return ChatServer(address, key, options.silence, options.total)


def _key(host: str, variable: str) -> str:
    """The access key from the environment, else from the system's keyring, "" without one."""
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return (keyring.get_password(KEYRING_SERVICE, host) or "").strip()
    except KeyringError:
        return ""


def _data_url(picture: NDArray[np.uint8]) -> str:
    """A PNG that holds nothing but pixels."""
    stream = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def connect(
    address: str | None = None, *, device: str | None = None, precision: str | None = None, **options: Any
) -> EndpointReasoner:
    """An EndpointReasoner; `device` and `precision` are the server's own matter and are ignored."""
    if address is None:
        raise ModelUnavailableError(
            "an endpoint needs its server's address, such as https://gpu.example.org:8000/v1"
        )
    return EndpointReasoner(address, **options)


REASONERS = (
    ReasonerInfo(
        id="endpoint",
        title="A server with OpenAI's protocol (vLLM …)",
        summary="Sends the slice's pixels and the question to a server that you name",
        create=connect,
    ),
)
