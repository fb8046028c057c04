"""LLaVA-Med v1.5 through transformers: text about an image, and hidden states for MediSee and PRS-Med.

Text and image meet by LLaVA's splice rule: `<image>` in a text becomes IMAGE_ID in its token ids and 576
image embeddings in the sequence. Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import StoppingCriteriaList

from napari_medreason.core.recent import Recent
from napari_medreason.errors import CancelledError, NotEnoughMemoryError, WeightsError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.fit import Precision
from napari_medreason.models.llava_layout import LlavaWeights, Tower, build_llava, read_llava
from napari_medreason.models.llava_picture import Fitting, clip_pixels
from napari_medreason.models.llava_prefix import ImagePrefix, prefix_key
from napari_medreason.models.llava_tokenizer import IMAGE_ID, IMAGE_WORD, load_tokenizer, plain, spliced_ids
from napari_medreason.models.loading import Placement, enough_memory, placement_for
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.reasoners.listening import CallbackStreamer, CancelWatch, StopWhenCancelled
from napari_medreason.models.reasoners.prefix_cache import Prefix

KEPT_PREFIXES = 2
"""Images whose keys and values are kept, about 80 MB each in bf16, so that a second question is cheap."""


@dataclass(frozen=True)
class Sampling:
    """Drawing words at random instead of taking the most likely one."""

    temperature: float = 0.7
    top_p: float = 0.95


class LlavaMed:
    """One LLaVA-Med on one device; `model` is transformers' LlavaForConditionalGeneration."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self._prefixes: Recent[ImagePrefix] = Recent(KEPT_PREFIXES)
        self._watch = CancelWatch(model)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        vision_tower: str | Path,
        device: str | None = None,
        precision: Precision | None = None,
        extra_tokens: Sequence[str] = (),
        tower: Tower = "stock",
    ) -> LlavaMed:
        """From the original folder and a folder of CLIP ViT-L/14-336; precision None: what fits.

        extra_tokens: further words, with the ids that follow the last one (32000, 32001, …).
        """
        folder, vision_tower = Path(folder), Path(vision_tower)
        weights = read_llava(folder, vision_tower=vision_tower, tower=tower)
        placement = placement_for(folder, device=device, precision=precision)
        return cls.of(weights, folder, placement, extra_tokens=extra_tokens)

    @classmethod
    def of(
        cls, weights: LlavaWeights, folder: Path, placement: Placement, *, extra_tokens: Sequence[str] = ()
    ) -> LlavaMed:
        """From weights that were read, and perhaps changed; folder: where the tokenizer is.

        Weights that have rows for the extra tokens keep them, others get the mean of all rows.
        """
        tokenizer = load_tokenizer(folder, extra_tokens)
        words = len(tokenizer) - len(extra_tokens)
        wanted = [words + number for number in range(len(extra_tokens))]
        if tokenizer.convert_tokens_to_ids(list(extra_tokens)) != wanted:
            raise WeightsError(f"the tokenizer of {folder.name} already has {', '.join(extra_tokens)}")
        if weights.words == words and extra_tokens:
            weights = weights.with_word_rows(len(extra_tokens))
        if weights.words != len(tokenizer):
            raise WeightsError(
                f"{weights.name} has embeddings for {weights.words} words, its tokenizer in {folder.name} "
                f"has {len(tokenizer)}; give the tokenizer that belongs to these weights"
            )
        return cls(build_llava(weights, placement), tokenizer, name=weights.name)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return torch.device(self.model.device)

    @property
    def image_tokens(self) -> int:
        """Number of embeddings that an image takes, 576 for CLIP ViT-L/14-336."""
        vision = self.model.config.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a whole prompt; `<image>`, at most once, is IMAGE_ID."""
        return spliced_ids(self.tokenizer, text)

    def plain(self, text: str) -> str:
        """A user's text without the words that steer the model."""
        return plain(self.tokenizer, text)

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without control words."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def pixels(self, picture: NDArray[np.uint8], mode: Fitting = "pad") -> torch.Tensor:
        """CLIP's input (1, 3, 336, 336) for a (rows, columns, 3) uint8 RGB picture, on the device."""
        pixels = clip_pixels(picture, int(self.model.config.vision_config.image_size), mode)
        return pixels.to(self.device, self.model.model.vision_tower.dtype)

    def expanded_index(self, ids: Sequence[int], index: int) -> int:
        """Where the id at `index` stands in the sequence with the image's embeddings."""
        return index + (self.image_tokens - 1 if IMAGE_ID in ids[:index] else 0)

    def embed(self, ids: Sequence[int], pixels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (1, length, hidden) with the image spliced in, and their attention mask, all ones.

        Gradients flow, for training.
        """
        parts = [part for part in self._parts(list(ids), pixels) if part.shape[1]]
        embeds = torch.cat(parts, dim=1)
        return embeds, torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)

    def states(self, embeds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (batch, length, hidden) of the last layer, after the final norm; gradients flow."""
        output = self.model.model.language_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
        return output.last_hidden_state  # type: ignore[no-any-return]

    def hidden_states(
        self, ids: Sequence[int], pixels: torch.Tensor | None, *, cancelled: Cancelled = lambda: False
    ) -> torch.Tensor:
        """Hidden states (length, hidden) of the last layer after the final norm, for use without training.

        What comes before the question is worked on once for the same image.
        """
        with self._at_work(cancelled):
            prefix, rest = self._prefix(list(ids), pixels)
            if prefix is None:
                return self.states(*self.embed(rest, None))[0]
            if not rest:
                return prefix.states[0]
            output = self.model.model.language_model(
                inputs_embeds=self._words(rest), past_key_values=prefix.kept.continued(), use_cache=True
            )
            return torch.cat([prefix.states, output.last_hidden_state], dim=1)[0]

    def generate(
        self,
        ids: Sequence[int],
        pixels: torch.Tensor | None,
        *,
        max_new_tokens: int = 512,
        on_text: OnText = lambda text: None,
        cancelled: Cancelled = lambda: False,
        sampling: Sampling | None = None,
    ) -> list[int]:
        """New token ids after a prompt, up to and with the end-of-sequence token; greedy unless sampled.

        CancelledError between layers of the network when `cancelled` says so.
        """
        if cancelled():
            raise CancelledError
        with self._at_work(cancelled):
            prefix, rest = self._prefix(list(ids), pixels)
            embeds = self._words(rest)
            if prefix is not None:
                embeds = torch.cat([prefix.embeds, embeds], dim=1)
            new = self.model.generate(
                inputs_embeds=embeds,
                attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
                past_key_values=None if prefix is None else prefix.kept.continued(),
                max_new_tokens=max_new_tokens,
                streamer=CallbackStreamer(self.tokenizer, on_text),
                stopping_criteria=StoppingCriteriaList([StopWhenCancelled(cancelled)]),
                **_drawing(sampling),
            )
        if cancelled():
            raise CancelledError
        return [int(id_) for id_ in new[0]]

    def describe(
        self,
        picture: NDArray[np.uint8],
        question: str,
        *,
        max_new_tokens: int = 256,
        on_text: OnText = lambda text: None,
        cancelled: Cancelled = lambda: False,
    ) -> str:
        """LLaVA-Med's own answer to any question about a (rows, columns, 3) uint8 RGB picture."""
        ids = self.token_ids(instruction(f"{IMAGE_WORD}\n{self.plain(question)}"))
        new = self.generate(
            ids, self.pixels(picture), max_new_tokens=max_new_tokens, on_text=on_text, cancelled=cancelled
        )
        return self.text_of(new).strip()

    def forget_images(self) -> None:
        """Drop what is kept of recent images; needed after any change of the weights."""
        self._prefixes.clear()

    def close(self) -> None:
        """Give memory back; it is not used again."""
        self.forget_images()
        del self.model
        give_memory_back()

    def _parts(self, ids: list[int], pixels: torch.Tensor | None) -> Iterator[torch.Tensor]:
        if IMAGE_ID not in ids:
            yield self._words(ids)
            return
        if pixels is None:
            raise ValueError("the ids hold an image, but no pixels were given")
        at = ids.index(IMAGE_ID)
        yield self._words(ids[:at])
        yield self._image(pixels)
        yield self._words(ids[at + 1 :])

    def _words(self, ids: Sequence[int]) -> torch.Tensor:
        tokens = torch.tensor([list(ids)], dtype=torch.long, device=self.device)
        return self.model.get_input_embeddings()(tokens)  # type: ignore[no-any-return]

    def _image(self, pixels: torch.Tensor) -> torch.Tensor:
        """The image's embeddings (1, 576, hidden): CLIP's last layer but one without its class token."""
        seen = self.model.get_image_features(pixel_values=pixels).pooler_output[0]
        return seen[None].to(self.model.get_input_embeddings().weight.dtype)  # type: ignore[no-any-return]

    def _prefix(self, ids: list[int], pixels: torch.Tensor | None) -> tuple[ImagePrefix | None, list[int]]:
        """What is kept of the sequence up to the image's end, and the ids after it."""
        if IMAGE_ID not in ids or pixels is None:
            return None, ids
        at = ids.index(IMAGE_ID) + 1
        key = prefix_key(ids[:at], pixels)
        return self._prefixes.get(key) or self._prefixes.put(key, self._read(ids[:at], pixels)), ids[at:]

    def _read(self, ids: list[int], pixels: torch.Tensor) -> ImagePrefix:
        embeds, _ = self.embed(ids, pixels)
        output = self.model.model.language_model(inputs_embeds=embeds, use_cache=True)
        return ImagePrefix(
            embeds, output.last_hidden_state, Prefix(output.past_key_values, embeds.shape[1], None)
        )

    @contextmanager
    def _at_work(self, cancelled: Cancelled) -> Iterator[None]:
        """No gradients, a clear fault when memory runs out, and a cancel heard between the layers."""
        try:
            with torch.inference_mode(), enough_memory(self.name), self._watch.listening(cancelled):
                yield
        except NotEnoughMemoryError:
            self.forget_images()
            give_memory_back()
            raise


def instruction(text: str) -> str:
    """A first turn in the chat form of LLaVA-Med (LLaVA's "mistral_instruct"), up to the answer."""
    return f"[INST] {text} [/INST]"


def _drawing(sampling: Sampling | None) -> dict[str, Any]:
    if sampling is None:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
