"""The conversations that MediSee learns from: question, an answer with its candidate tokens, explanation."""

from __future__ import annotations

from zlib import crc32

from napari_medreason.core.record import Record
from napari_medreason.errors import RunError
from napari_medreason.models.llava_med import LlavaMed, instruction
from napari_medreason.models.medisee.conversation import (
    BBOX,
    CANDIDATES,
    CANNED_ANSWER,
    SEG,
    Places,
    asked,
    candidate_places,
    read_prompt,
)

from .packing import TrainingText

LONGEST = 449
"""Ids of a text, as in the released training."""
_BOTH = f"{SEG} and {BBOX}."
CARRIERS = (_BOTH, f"Sure, {_BOTH}", f"It is {_BOTH}", f"Sure, it is {_BOTH}", f"Mask and box: {_BOTH}")
"""What an answer begins with; an explanation may follow."""
CANNED = CANNED_ANSWER.strip()
"""The answer that masks and boxes are read from when a model is judged."""
PLAIN_QUESTION = "What is the {name} in this image?"
"""How the second stage asks for a structure by its name."""


class MediSeeTexts:
    """Conversations in the form in which the model is asked."""

    def __init__(self, language: LlavaMed) -> None:
        self._language, self._prompt = language, read_prompt()
        self._candidates = language.tokenizer.convert_tokens_to_ids(list(CANDIDATES))

    def asked(self, question: str) -> str:
        """What the model goes on from."""
        return instruction(asked(self._prompt, self._language.plain(question)))

    def true_answer(self, record: Record, epoch: float) -> str:
        """A carrier, another one in each pass over the data, and the explanation in lower case."""
        carrier = CARRIERS[(crc32(record.id.encode()) + int(epoch)) % len(CARRIERS)]
        return f"{carrier} {self._language.plain(record.answer).lower()}".strip()

    def text(self, question: str, answer: str) -> tuple[TrainingText, Places]:
        """A conversation, and where its candidate tokens are; RunError for a question that is too long."""
        prompt = self.asked(question)
        start = len(self._language.token_ids(prompt))
        # The blank before the end is part of the conversation's form, and has a token of its own.
        ids = self._language.token_ids(f"{prompt} {answer} ")
        ids = [*ids[: LONGEST - 1], int(self._language.tokenizer.eos_token_id)]
        places = candidate_places(ids, self._candidates, start=start)
        if places is None:
            raise RunError(
                f"a question of {start} tokens leaves no room for its answer in {LONGEST}; shorten or leave "
                "out that record"
            )
        return TrainingText(tuple(ids), start, start), places
