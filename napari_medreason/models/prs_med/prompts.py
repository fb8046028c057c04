"""What PRS-Med is asked, and its words as a user should read them.

The texts are those that the released weights were trained and run with, to the letter, since other words
give other hidden states.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from napari_medreason.models.llava_tokenizer import IMAGE_WORD

USER, ASSISTANT = "### User:", "### Assistant:"
_MARKERS = (USER, ASSISTANT)
_QUESTION, _ANSWER = "{question}", "{answer}"


@dataclass(frozen=True)
class Prompts:
    """Texts around a question. words: for the written answer. mask: whose hidden states make the mask."""

    words: str
    mask: str

    def for_words(self, question: str) -> str:
        """What the model goes on from."""
        return self.words.replace(_QUESTION, question)

    def for_mask(self, question: str, answer: str = "") -> str:
        """What the mask is made from."""
        filled = {_QUESTION: question, _ANSWER: answer}
        # In one pass, so that nothing is put into what the question itself says.
        return re.sub("|".join(map(re.escape, filled)), lambda place: filled[place[0]], self.mask)


_DOCTOR = f"{IMAGE_WORD}\n{USER} As a doctor, and you are seeing the image, {_QUESTION}\n"
_TRAINED = f"{IMAGE_WORD}\n{USER} {_QUESTION} \n{ASSISTANT} \n{_ANSWER}"
RELEASED = Prompts(_DOCTOR, _DOCTOR)
"""The released inference of decoder "v5"."""
EARLY = Prompts(f"{IMAGE_WORD}\n{USER} {_QUESTION} \n", f"{IMAGE_WORD} \n{_QUESTION}")
"""The inference of the time of decoder "v6", whose mask was trained on the bare question."""
WITH_ANSWER = Prompts(_DOCTOR, _TRAINED)
"""The mask from question and written answer, as in the training of "v5", where the true answer stood."""


def prompts_for(version: str, *, mask_from_answer: bool = False) -> Prompts:
    """The texts for a decoder; the mask from question and answer where that is asked for."""
    if mask_from_answer:
        return WITH_ANSWER
    return EARLY if version == "v6" else RELEASED


def training_text(question: str, answer: str) -> str:
    """One sample of the released training; nothing ends the answer."""
    return WITH_ANSWER.for_mask(question, answer)


def tidy(text: str) -> str:
    """The answer alone, up to where the model goes on as the user; one line, no control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in _own_turn(text)).split())


def _own_turn(text: str) -> str:
    """The first turn of the assistant; a marker in front of it is part of the cue, not a second turn."""
    begun = text.lstrip().removeprefix(ASSISTANT)
    return re.split("|".join(_MARKERS), begun, maxsplit=1)[0]


def _begun_marker(text: str) -> int:
    """How many characters at the end may be the beginning of a role marker."""
    lengths = (end for marker in _MARKERS for end in range(1, len(marker)) if text.endswith(marker[:end]))
    return max(lengths, default=0)


class AnswerStream:
    """Collects a text as it is made, and hands its tidy part on; `ended` once the next turn has begun.

    The released model was never taught to stop, so it would go on with questions of its own.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self.text = ""
        self._on_text, self._told = on_text, ""

    def __call__(self, piece: str) -> None:
        """Take the next piece."""
        self.text += piece
        self._tell(tidy(self.text[: len(self.text) - _begun_marker(self.text)]))

    @property
    def ended(self) -> bool:
        """Whether the text has gone past the answer."""
        return _own_turn(self.text) != self.text.lstrip().removeprefix(ASSISTANT)

    def finish(self) -> str:
        """Hand the rest on; the whole answer."""
        answer = tidy(self.text)
        self._tell(answer)
        return answer

    def _tell(self, answer: str) -> None:
        if len(answer) > len(self._told) and answer.startswith(self._told):
            self._on_text(answer[len(self._told) :])
            self._told = answer
