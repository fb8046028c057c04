"""Writing text about a picture with a vision-language model of transformers, token by token.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.fit import Precision
from napari_medreason.models.loading import enough_memory, load_model, load_processor, placement_for
from napari_medreason.models.reasoners.answer_slots import AnswerSlots
from napari_medreason.models.reasoners.prefix_cache import Prefix, PrefixCache
from napari_medreason.models.reasoners.prompt_text import AskedPrompt
from napari_medreason.models.reasoners.slot_logits import SlotLogits

CANCEL_SECONDS = 0.05
"""How often `cancelled` is asked while a token is made; the first one, with the picture, may take long."""


@dataclass(frozen=True)
class Writing:
    """How text is written.

    repetition_penalty: None for what the model's folder says. slots: makes what forces the answer's form.
    """

    max_new_tokens: int = 1024
    repetition_penalty: float | None = None
    slots: Callable[[Any, list[int]], AnswerSlots] | None = None


@dataclass(frozen=True)
class Written:
    """text: without control words. changed: tokens that the answer's form did not leave to the model."""

    text: str
    changed: int | None = None


class VisionLanguageModel:
    """A vision-language model with its processor, on one device; one text is written at a time.

    exact_pixels: the processor leaves the pictures' size as it is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        exact_pixels: bool = True,
    ) -> None:
        self._name = folder.name
        self._picture_options = {"do_resize": False} if exact_pixels else {}
        self._processor = load_processor(AutoProcessor, folder)
        placement = placement_for(folder, device=device, precision=precision)
        self.network = load_model(AutoModelForImageTextToText, folder, placement=placement)
        self.prefixes = PrefixCache()
        self._lock = threading.Lock()
        self._watch = _Watch(self.network)

    def write(
        self,
        picture: NDArray[np.uint8],
        prompt: AskedPrompt,
        *,
        writing: Writing,
        on_text: OnText,
        cancelled: Cancelled,
    ) -> Written:
        """The model's most likely text for a picture in a prompt.

        picture: (rows, columns, 3) uint8. CancelledError between layers of the network, at the latest between
        tokens, when `cancelled` says so.
        """
        with self._alone(cancelled), torch.inference_mode(), enough_memory(self._name):
            inputs, shared = self._inputs(picture, prompt)
            forced = self._slot_logits(writing, inputs["input_ids"].shape[1])
            tokens = self.network.generate(
                **self._from_prefix(inputs, shared, picture),
                max_new_tokens=writing.max_new_tokens,
                **_greedy(writing),
                logits_processor=LogitsProcessorList([forced] if forced else []),
                streamer=_CallbackStreamer(self._tokenizer, on_text),
                stopping_criteria=StoppingCriteriaList([_StopWhenCancelled(cancelled)]),
            )
        if cancelled():
            raise CancelledError
        text = self._tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return Written(str(text), forced.changed if forced else None)

    @contextmanager
    def changing(self) -> Iterator[Any]:
        """The network, to be changed while nothing is written; what was kept of pictures is forgotten."""
        with self._lock:
            self.prefixes.clear()
            yield self.network

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    @contextmanager
    def _alone(self, cancelled: Cancelled) -> Iterator[None]:
        """Holds the model, whose position state belongs to one picture, and listens for a cancel."""
        while not self._lock.acquire(timeout=CANCEL_SECONDS):
            if cancelled():
                raise CancelledError
        try:
            with self._watch.listening(cancelled):
                yield
        finally:
            self._lock.release()

    def _inputs(self, picture: NDArray[np.uint8], prompt: AskedPrompt) -> tuple[Any, int]:
        """What the model is given, and how many of its first tokens are the same for every question."""
        texts = [self._plain(text) for text in (prompt.before, prompt.shared + prompt.tail)]
        content = [{"type": "text", "text": text} for text in texts]
        parts = [part for part in (content[0], {"type": "image"}, content[1]) if part.get("text") != ""]
        chat = self._processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        inputs = self._processor(
            text=[chat], images=[Image.fromarray(picture)], return_tensors="pt", **self._picture_options
        )
        head, found, _ = chat.rpartition(self._plain(prompt.tail).strip())
        shared = self._shared_length(chat, head, inputs["input_ids"]) if found else 0
        return inputs.to(self.network.device, self.network.dtype), shared

    def _shared_length(self, chat: str, head: str, input_ids: torch.Tensor) -> int:
        """Tokens up to the question; 0 when the picture is not among them.

        The last of the head's own tokens may be another one in the whole text, and the picture's place holder
        becomes many tokens, so what follows the common tokens is counted from the end.
        """
        whole, alone = (self._tokenizer(text)["input_ids"] for text in (chat, head))
        common = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
        length = input_ids.shape[1] - (len(whole) - common)
        image = (input_ids[0] == self._image_token).nonzero()
        return length if len(image) and int(image[-1]) < length else 0

    @property
    def _image_token(self) -> int:
        config = self.network.config
        return int(getattr(config, "image_token_id", None) or config.image_token_index)

    def _from_prefix(self, inputs: Any, shared: int, picture: NDArray[np.uint8]) -> dict[str, Any]:
        """Inputs that go on from what the model has made of the picture and the prompt's head."""
        if shared == 0:
            return dict(inputs)
        key = (_digest(picture), inputs["input_ids"][0, :shared].cpu().numpy().tobytes())
        prefix = self.prefixes.get(key)
        if prefix is None:
            prefix = self._prefix(inputs, shared)
            self.prefixes.put(key, prefix)
        if prefix.rope_deltas is not None:
            self.network.model.rope_deltas = prefix.rope_deltas
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return {**texts, "past_key_values": prefix.continued()}

    def _prefix(self, inputs: Any, length: int) -> Prefix:
        whole = inputs["input_ids"].shape
        head = {name: value[:, :length] if value.shape == whole else value for name, value in inputs.items()}
        output = self.network(**head, use_cache=True, logits_to_keep=1)
        return Prefix(output.past_key_values, length, getattr(self.network.model, "rope_deltas", None))

    def _slot_logits(self, writing: Writing, prompt_length: int) -> SlotLogits | None:
        if writing.slots is None:
            return None
        end = self.network.generation_config.eos_token_id
        ends = [end] if isinstance(end, int) else list(end or [self._tokenizer.eos_token_id])
        return SlotLogits(writing.slots(self._tokenizer, ends), prompt_length)

    def _plain(self, text: str) -> str:
        """Without the tokenizer's control words: typed into a question they would break the prompt."""
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, " ")
        return text


def _greedy(writing: Writing) -> dict[str, Any]:
    settings = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
    penalty = writing.repetition_penalty
    return settings if penalty is None else {**settings, "repetition_penalty": penalty}


def _digest(picture: NDArray[np.uint8]) -> tuple[tuple[int, ...], bytes]:
    return picture.shape, blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()


class _Watch:
    """Asks between the layers of a network whether to stop, so that a picture on a CPU can be cancelled."""

    def __init__(self, network: Any) -> None:
        self._cancelled: Cancelled | None = None
        self._asked = 0.0
        for module in network.modules():
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(self._before_layer)

    @contextmanager
    def listening(self, cancelled: Cancelled) -> Iterator[None]:
        self._cancelled, self._asked = cancelled, monotonic()
        try:
            yield
        finally:
            self._cancelled = None

    def _before_layer(self, *_: Any) -> None:
        if self._cancelled is None or monotonic() - self._asked < CANCEL_SECONDS:
            return
        self._asked = monotonic()
        if self._cancelled():
            raise CancelledError


class _CallbackStreamer(TextStreamer):
    """Hands whole words on as they are made."""

    def __init__(self, tokenizer: Any, on_text: OnText) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._on_text(text)


class _StopWhenCancelled(StoppingCriteria):
    """Asked by `generate` after every token."""

    def __init__(self, cancelled: Cancelled) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._cancelled(), dtype=torch.bool, device=input_ids.device)
