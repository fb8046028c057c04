"""A vision-language model in a local folder as Reasoner; the families differ in prompt and answer form.

The model is shown the plane undistorted in a square of 840 pixels (letterboxed; 30 x 28, so the resizing of
Qwen2.5-VL changes nothing). Its answer is in absolute, inclusive pixels of that square, or in another way
that the family names; here it becomes a half-open box and points of the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_medreason.core.question import Question
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.adapter_card import CARD, check_base_weights, read_adapter_card
from napari_medreason.models.base import Cancelled, OnText, Reasoning
from napari_medreason.models.fit import Precision
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.reasoners.answer_slots import AnswerSlots, Bounds
from napari_medreason.models.reasoners.coordinates import (
    Coordinates,
    checked_coordinates,
    example,
    in_words,
    unit,
)
from napari_medreason.models.reasoners.forms import SQUARE_SIZE, Family
from napari_medreason.models.reasoners.options import options_of
from napari_medreason.models.reasoners.prompt_text import Prompt, read_prompt
from napari_medreason.models.reasoners.proposal import read_text
from napari_medreason.models.weights import combined_sha256, weight_files, weights_sha256


@dataclass(frozen=True)
class LocalOptions:
    """What a user may set.

    prompt: an own prompt file; None for the built-in one. direct: ask for the answer without reasoning.
    coordinates, repetition_penalty: None for the family's. constrained: make sure, while the answer is
    written, that its block parses and lies in the image. think_tokens: how long the reasoning may then be at
    most; None for all that max_new_tokens leaves.
    """

    prompt: str | Path | None = None
    direct: bool = False
    square_size: int = SQUARE_SIZE
    max_new_tokens: int = 1024
    coordinates: str | None = None
    repetition_penalty: float | None = None
    constrained: bool = False
    think_tokens: int | None = None

    @classmethod
    def checked(cls, family: Family, options: dict[str, Any]) -> LocalOptions:
        """Options by name; ModelUnavailableError for one that is unknown or out of range."""
        made = options_of(cls, options, taker="this reasoner")
        if made.square_size < family.multiple or made.square_size % family.multiple:
            raise ModelUnavailableError(
                f"the square has {made.square_size} pixels; a multiple of {family.multiple} is accepted, "
                "such as 840"
            )
        if made.max_new_tokens < 1 or (made.repetition_penalty is not None and made.repetition_penalty <= 0):
            raise ModelUnavailableError("max_new_tokens and repetition_penalty must be above 0")
        return made


class LocalReasoner:
    """A model folder of one family as Reasoner; `options` are those of LocalOptions."""

    def __init__(
        self,
        folder: str | Path,
        *,
        family: Family,
        device: str | None = None,
        precision: Precision | None = None,
        **options: Any,
    ) -> None:
        self._family, self._options = family, LocalOptions.checked(family, options)
        self._coordinates = checked_coordinates(self._options.coordinates or family.coordinates)
        if self._options.constrained and self._coordinates == "fractions":
            raise ModelUnavailableError("constrained answers are whole numbers; use pixels or thousandths")
        self._prompt = built_prompt(family, self._options, self._coordinates)
        folder = Path(folder)
        self.id = folder.name
        self._base_sha256 = weights_sha256(weight_files(folder))
        self.weights_sha256 = self._base_sha256
        self._adapter: Callable[[], Callable[[], None]] | None = None
        from napari_medreason.models.reasoners.generation import VisionLanguageModel

        self._model = VisionLanguageModel(
            folder, device=device, precision=precision, exact_pixels=family.exact_pixels
        )

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """Answer with reasoning, box and points; AnswerFormatError when the text holds no usable answer."""
        picture, frame = letterboxed_picture(question.plane, self._options.square_size)
        written = self._model.write(
            picture,
            self._prompt.asked(question.text),
            writing=self._writing(frame),
            on_text=on_text,
            cancelled=cancelled,
        )
        cut_at = self._options.max_new_tokens if written.cut else None
        reasoning = read_text(
            written.text, frame, form=self._family.form, coordinates=self._coordinates, cut_at=cut_at
        )
        if written.changed is None:
            return reasoning
        note = (
            "the answer's form was enforced while it was written; the model would have written "
            f"{written.changed} of its tokens otherwise"
        )
        return replace(reasoning, notes=(*reasoning.notes, note))

    def load_adapter(self, folder: Path) -> None:
        """Put a PEFT adapter on the model, in place of one there is.

        WeightsError when it doesn't fit, or was trained on other weights; the one before then stays.
        """
        from napari_medreason.models.reasoners.adapters import put_on

        if (Path(folder) / CARD).is_file():
            check_base_weights(read_adapter_card(Path(folder)), self._base_sha256, base=self.id)
        with self._model.changing() as network:
            put_back = self._adapter() if self._adapter is not None else None
            try:
                self._adapter, sha256 = put_on(network, Path(folder))
            except BaseException:
                if put_back is not None:
                    put_back()
                raise
        self.weights_sha256 = combined_sha256([self._base_sha256, sha256])

    def unload_adapter(self) -> None:
        """Take the adapter off again, if there is one."""
        if self._adapter is None:
            return
        with self._model.changing():
            self._adapter()
        self._adapter, self.weights_sha256 = None, self._base_sha256

    def close(self) -> None:
        """Give memory back; the reasoner is not used again."""
        self._adapter = None
        del self._model
        give_memory_back()

    def _writing(self, frame: ModelFrame) -> Any:
        from napari_medreason.models.reasoners.generation import Writing

        options = self._options
        penalty = options.repetition_penalty or self._family.repetition_penalty
        if not options.constrained:
            return Writing(options.max_new_tokens, penalty)
        bounds = image_bounds(frame, self._coordinates)

        def slots(tokenizer: Any, end: list[int]) -> AnswerSlots:
            return fitting_slots(tokenizer, end, self._family.form.keys, bounds, options)

        return Writing(options.max_new_tokens, penalty, slots)


def built_prompt(family: Family, options: LocalOptions, coordinates: Coordinates) -> Prompt:
    """The prompt that the options ask for, in the family's form."""
    form = family.form
    return read_prompt(
        options.prompt,
        form.direct_prompt if options.direct else form.prompt,
        coordinates=in_words(coordinates, options.square_size, sized=family.sized),
        example=example(coordinates, options.square_size, keys=form.keys),
    )


def image_bounds(frame: ModelFrame, coordinates: Coordinates) -> Bounds:
    """Where the plane lies in the square, without the black margin, in the unit that is written."""
    size = frame.model_shape[0]
    rows, columns = frame.plane_shape
    x0, y0, x1, y1 = frame.box_to_model((0.0, 0.0, float(columns), float(rows)))
    if coordinates == "pixels":
        low, high = (math.ceil(x0), math.ceil(y0)), (math.floor(x1) - 1, math.floor(y1) - 1)
    else:
        scale = unit(coordinates, size) / size
        low = math.ceil(x0 * scale), math.ceil(y0 * scale)
        high = math.floor(x1 * scale), math.floor(y1 * scale)
    return Bounds((low[0], max(low[0], high[0])), (low[1], max(low[1], high[1])))


def fitting_slots(
    tokenizer: Any, end: list[int], keys: tuple[str, ...], bounds: Bounds, options: LocalOptions
) -> AnswerSlots:
    """Slots whose reasoning leaves room for the answer; ModelUnavailableError when there is none."""
    needed = AnswerSlots(tokenizer, keys, bounds, thinking=0, end=end).tokens_needed()
    room = options.max_new_tokens - needed
    if room < 0:
        raise ModelUnavailableError(
            f"the answer alone takes up to {needed} tokens; set max_new_tokens to more, such as 1024"
        )
    if options.direct:
        return AnswerSlots(tokenizer, keys, bounds, thinking=None, end=end)
    thinking = room if options.think_tokens is None else min(room, options.think_tokens)
    return AnswerSlots(tokenizer, keys, bounds, thinking=thinking, end=end)
