"""What MediSee is asked, and where its candidate tokens are in the text that it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from napari_medreason.errors import ModelUnavailableError

SEG, BBOX = "[SEG]", "[BBOX]"
CANDIDATES = (SEG, BBOX)
"""The candidate tokens; they are the two words after LLaVA-Med's own 32000."""
CANNED_ANSWER = f" {SEG} and {BBOX}."
"""The shortest answer of the training data, put in where the model's own words lack a candidate."""
_IMAGE, _QUESTION = "<image>", "{question}"


class Places(NamedTuple):
    """Index of the first [SEG] and the first [BBOX] in a list of ids."""

    seg: int
    bbox: int


def read_prompt(file: str | Path | None = None) -> str:
    """The text around a question, from a file that holds `<image>` and `{question}` once each.

    None is the built-in one. ModelUnavailableError when the file can't be used.
    """
    built_in = resources.files(__package__) / "prompts" / "question.txt"
    source = built_in if file is None else Path(file)
    try:
        prompt = source.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailableError(
            f"the prompt file {source.name} can't be read as UTF-8 text; check its path and encoding"
        ) from error
    if prompt.count(_IMAGE) != 1 or prompt.count(_QUESTION) != 1:
        raise ModelUnavailableError(
            f"the prompt file {source.name} needs {_IMAGE} and {_QUESTION} once each; it has "
            f"{prompt.count(_IMAGE)} and {prompt.count(_QUESTION)}, please add or remove them"
        )
    return prompt


def asked(prompt: str, question: str) -> str:
    """The user's turn; the question in lower case, as all questions of the training data."""
    return prompt.replace(_QUESTION, question.lower())


def candidate_places(ids: Sequence[int], candidates: Sequence[int], *, start: int) -> Places | None:
    """Where the candidate tokens (ids of [SEG] and [BBOX]) are from `start` on; None when one is missing."""
    answer = list(ids[start:])
    if not all(candidate in answer for candidate in candidates):
        return None
    seg, bbox = (start + answer.index(candidate) for candidate in candidates)
    return Places(seg, bbox)


def shown(text: str) -> str:
    """A piece of generated text as the user sees it arrive."""
    return text.replace(SEG, "mask").replace(BBOX, "box")


def explanation(text: str) -> str:
    """The model's own words without the sentences that only carry the candidates; "" when none is left.

    One line, no control characters.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    sentences = re.split(r"(?<=[.!?])\s+", line)
    kept = " ".join(part for part in sentences if SEG not in part and BBOX not in part).strip()
    return kept[:1].upper() + kept[1:]
