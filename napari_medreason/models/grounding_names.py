"""What a detector is asked to look for: a few words, from the vocabulary or from a model that writes text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question import Question
from napari_medreason.core.question_text import Understood, understand
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.fit import Precision
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters.released import model_type_of

MOST_WORDS = 6
"""Of what a model wrote, no more goes to the detector."""
SQUARE_SIZE = 840
"""Pixels of the picture that a model is shown; a multiple of every family's patches."""
_EXACT_TYPES = ("qwen2_5_vl",)
"""Model types that are shown the square's own pixels; the others' image processors resize it."""
_ASK = (
    "Name the one structure in this picture that answers the question, in at most four words. "
    "Write nothing but its name.\nQuestion: "
)
_FILLER = re.compile(r"^(?:(?:the|an|a|it is|this is|answer|structure)\b[\s:]*)+", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """What to look for.

    words: for the detector, "" when nothing is clear. structure: vocabulary id, "" for words that are not in
    it. side: the patient's "left" or "right" if the question asks for one, else "". text: what a model wrote.
    """

    words: str
    structure: str = ""
    side: str = ""
    text: str = ""


class Namer(Protocol):
    """Anything that says what a question asks for; it may also have `close`."""

    def __call__(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Named:
        """The words for the detector."""


def by_vocabulary(
    question: Question, *, on_text: OnText = lambda text: None, cancelled: Cancelled = lambda: False
) -> Named:
    """The structure that the question's own words mean."""
    return _named(understand(question.text, structures().keys()))


class WrittenName:
    """A model in front of the detector: it sees the picture, reads the question and writes a name.

    write: (rows, columns, 3) uint8 picture, the request and where the words go, to the model's text. close:
    gives the model's memory back.
    """

    def __init__(
        self,
        write: Callable[[NDArray[np.uint8], str, OnText, Cancelled], str],
        *,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._write = write
        self._close = close

    def __call__(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Named:
        """The name that the model wrote; the side is the question's, else the model's."""
        picture, _ = letterboxed_picture(question.plane, SQUARE_SIZE)
        text = self._write(picture, _ASK + question.text, on_text, cancelled).strip()
        asked = understand(question.text, structures().keys())
        found = _named(understand(text, structures().keys()))
        words = found.words or _few_words(text)
        return Named(words, found.structure, _side(asked) or found.side, text)

    def close(self) -> None:
        """Give the model's memory back; a second time does nothing."""
        close, self._close = self._close, lambda: None
        close()


def written_by(
    folder: Path,
    *,
    vision_tower: Path | None = None,
    device: str | None = None,
    precision: Precision | None = None,
) -> WrittenName:
    """A model folder in front of the detector: LLaVA-Med with its vision tower, else one of transformers'.

    Errors as those models' own loaders.
    """
    if vision_tower is not None:
        from napari_medreason.models.llava_med import LlavaMed

        llava = LlavaMed.load(folder, vision_tower=vision_tower, device=device, precision=precision)
        return WrittenName(
            lambda picture, request, on_text, cancelled: llava.describe(
                picture, request, max_new_tokens=32, on_text=on_text, cancelled=cancelled
            ),
            close=llava.close,
        )
    from napari_medreason.models.reasoners.generation import VisionLanguageModel, Writing
    from napari_medreason.models.reasoners.prompt_text import AskedPrompt

    exact = model_type_of(folder) in _EXACT_TYPES
    held = [VisionLanguageModel(folder, device=device, precision=precision, exact_pixels=exact)]

    def write(picture: NDArray[np.uint8], request: str, on_text: OnText, cancelled: Cancelled) -> str:
        prompt = AskedPrompt(before="", shared="", tail=request)
        return held[0].write(picture, prompt, writing=Writing(32), on_text=on_text, cancelled=cancelled).text

    return WrittenName(write, close=held.clear)


def _named(found: Understood) -> Named:
    item = structures().get(found.structure)
    return Named(item.name if item else "", found.structure, _side(found))


def _side(found: Understood) -> str:
    return found.side if found.side in ("left", "right") and found.side_of == "patient" else ""


def _few_words(text: str) -> str:
    """The first line of a text as words for the detector, which reads full stops as separators."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    words = re.sub(r"[^\w\s-]", " ", _FILLER.sub("", line.strip())).split()
    return " ".join(words[:MOST_WORDS]).lower()
