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
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from napari_medreason.errors import CancelledError, NotEnoughMemoryError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.fit import Precision
from napari_medreason.models.loading import enough_memory, load_model, load_processor, placement_for
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.reasoners.answer_slots import AnswerSlots
from napari_medreason.models.reasoners.listening import (
    CANCEL_SECONDS,
    CallbackStreamer,
    CancelWatch,
    StopWhenCancelled,
)
from napari_medreason.models.reasoners.prefix_cache import Prefix, PrefixCache
from napari_medreason.models.reasoners.prompt_text import AskedPrompt
from napari_medreason.models.reasoners.slot_logits import SlotLogits


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
    """text: without control words. cut: it ended for its length alone.

    changed: tokens that the answer's form did not leave to the model, None when it was not forced.
    """

    text: str
    cut: bool = False
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
        exact_pixels: bool,
    ) -> None:
        self._name = folder.name
        self._picture_options = {"do_resize": False} if exact_pixels else {}
        self._processor = load_processor(AutoProcessor, folder)
        placement = placement_for(folder, device=device, precision=precision)
        self.network = load_model(AutoModelForImageTextToText, folder, placement=placement)
        self.prefixes = PrefixCache()
        self._lock = threading.Lock()
        self._watch = CancelWatch(self.network)

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
            inputs = self._inputs(picture, prompt)
            forced = self._slot_logits(writing, inputs["input_ids"].shape[1])
            tokens = self.network.generate(
                **inputs,
                max_new_tokens=writing.max_new_tokens,
                **_greedy(writing),
                logits_processor=LogitsProcessorList([forced] if forced else []),
                streamer=CallbackStreamer(self._tokenizer, on_text),
                stopping_criteria=StoppingCriteriaList([StopWhenCancelled(cancelled)]),
            )
        if cancelled():
            raise CancelledError
        new = tokens[0, inputs["input_ids"].shape[1] :].tolist()
        cut = len(new) == writing.max_new_tokens and new[-1] not in self._ends
        text = str(self._tokenizer.decode(new, skip_special_tokens=True))
        return Written(text, cut, forced.changed if forced else None)

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
        except NotEnoughMemoryError:
            self.prefixes.clear()
            give_memory_back()
            raise
        finally:
            self._lock.release()

    def _chat(self, prompt: AskedPrompt) -> tuple[str, str]:
        """The prompt in the model's form of a chat, and its part ahead of the question, "" for none."""
        texts = [self._plain(text) for text in (prompt.before, prompt.shared + prompt.tail)]
        content = [{"type": "text", "text": text} for text in texts]
        parts = [part for part in (content[0], {"type": "image"}, content[1]) if part.get("text") != ""]
        chat = self._processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        tail = self._plain(prompt.tail).strip()
        return chat, chat.rpartition(tail)[0] if tail else ""

    def _inputs(self, picture: NDArray[np.uint8], prompt: AskedPrompt) -> dict[str, Any]:
        """The model's input: what it has made of picture and head, now or before, and the new tokens."""
        chat, head = self._chat(prompt)
        tokens, common = self._common(chat, head)
        key = (_digest(picture), tuple(tokens[:common]))
        prefix = self.prefixes.get(key)
        if prefix is None:
            inputs = self._processor(
                text=[chat], images=[Image.fromarray(picture)], return_tensors="pt", **self._picture_options
            ).to(self.network.device, self.network.dtype)
            length = self._shared_length(inputs["input_ids"][0], tokens[common:])
            if length == 0:
                return dict(inputs)
            prefix = self._prefix(inputs, length)
            self.prefixes.put(key, prefix)
        return self._continued(prefix, tokens[common:])

    def _common(self, chat: str, head: str) -> tuple[list[int], int]:
        """The chat's tokens, with one place holder for the picture, and how many of them are the head's.

        The last of the head's own tokens may be another one in the whole chat, depending on the question, so
        it is left out.
        """
        whole, alone = (self._tokenizer(text)["input_ids"] for text in (chat, head.rstrip()))
        pairs = enumerate(zip(whole, alone[:-1], strict=False))
        return whole, next((at for at, (one, other) in pairs if one != other), max(len(alone) - 1, 0))

    def _shared_length(self, input_ids: torch.Tensor, tail: list[int]) -> int:
        """Tokens ahead of the tail, once the place holder has become many; 0 without a picture among them."""
        length = len(input_ids) - len(tail)
        image = (input_ids == self._image_token).nonzero()
        fits = len(image) > 0 and int(image[-1]) < length and input_ids[length:].tolist() == tail
        return length if fits else 0

    @property
    def _image_token(self) -> int:
        config = self.network.config
        return int(getattr(config, "image_token_id", None) or config.image_token_index)

    def _prefix(self, inputs: Any, length: int) -> Prefix:
        whole = inputs["input_ids"].shape
        head = {name: value[:, :length] if value.shape == whole else value for name, value in inputs.items()}
        output = self.network(**head, use_cache=True, logits_to_keep=1)
        positions = getattr(self.network.model, "rope_deltas", None)
        return Prefix(output.past_key_values, length, positions, head["input_ids"])

    def _continued(self, prefix: Prefix, tail: list[int]) -> dict[str, Any]:
        if prefix.rope_deltas is not None:
            self.network.model.rope_deltas = prefix.rope_deltas
        new = torch.tensor([tail], device=self.network.device)
        input_ids = torch.cat([cast(torch.Tensor, prefix.input_ids), new], dim=1)
        attention_mask = torch.ones_like(input_ids)
        past = prefix.continued()
        return {"input_ids": input_ids, "attention_mask": attention_mask, "past_key_values": past}

    def _slot_logits(self, writing: Writing, prompt_length: int) -> SlotLogits | None:
        if writing.slots is None:
            return None
        return SlotLogits(writing.slots(self._tokenizer, self._ends), prompt_length)

    @property
    def _ends(self) -> list[int]:
        """Ids of the tokens that end a text."""
        end = self.network.generation_config.eos_token_id
        return [end] if isinstance(end, int) else list(end or [self._tokenizer.eos_token_id])

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
