"""Writing text about a picture with a vision-language model of transformers, token by token.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.loading import enough_memory, load_model, load_processor, pick_device


class VisionLanguageModel:
    """A vision-language model with its processor, on one device."""

    def __init__(self, folder: Path, *, device: str | None) -> None:
        self._name = folder.name
        self._device = pick_device(device)
        self._dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._processor = load_processor(AutoProcessor, folder)
        self._model = load_model(AutoModelForImageTextToText, folder, device=self._device, dtype=self._dtype)

    def write(
        self,
        picture: NDArray[np.uint8],
        before: str,
        after: str,
        *,
        max_new_tokens: int,
        on_text: OnText,
        cancelled: Cancelled,
    ) -> str:
        """The model's most likely text for a picture between two texts.

        picture: (rows, columns, 3) uint8, shown in exactly these pixels, so sizes must be multiples of
        the model's patches. CancelledError between tokens when `cancelled` says so.
        """
        inputs = self._inputs(picture, before, after)
        prompt_length = inputs["input_ids"].shape[1]
        with torch.inference_mode(), enough_memory(self._name):
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                streamer=_CallbackStreamer(self._processor.tokenizer, on_text),
                stopping_criteria=StoppingCriteriaList([_StopWhenCancelled(cancelled)]),
            )
        if cancelled():
            raise CancelledError
        return str(self._processor.tokenizer.decode(tokens[0, prompt_length:], skip_special_tokens=True))

    def _inputs(self, picture: NDArray[np.uint8], before: str, after: str) -> Any:
        texts = [{"type": "text", "text": self._plain(text)} for text in (before, after)]
        content = [part for part in (texts[0], {"type": "image"}, texts[1]) if part.get("text") != ""]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = self._processor(
            text=[prompt], images=[Image.fromarray(picture)], do_resize=False, return_tensors="pt"
        )
        return inputs.to(self._device, self._dtype)

    def _plain(self, text: str) -> str:
        """Without the tokenizer's control words: typed into a question they would break the prompt."""
        for token in self._processor.tokenizer.all_special_tokens:
            text = text.replace(token, " ")
        return text


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
