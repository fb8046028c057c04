"""Which tokens may come next so that an answer block always parses; pure Python, one text at a time.

The reasoning stays free, up to a number of tokens. Then the answer's fixed text is forced and only the
numbers are the model's own: whole numbers inside the image, the right and lower edge of the box beyond the
left and upper one. It is a finite automaton over tokens (cf. Willard and Louf, 2023, arXiv:2307.09702).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

THINK, END_OF_THINK = "<think>", "</think>"
_TAIL = 12
"""Tokens that are decoded again to find the end of the reasoning, which may be spread over several."""


class Tokenizer(Protocol):
    """What is needed of a tokenizer of transformers."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """Text of ids."""

    def get_vocab(self) -> dict[str, int]:
        """All tokens."""


@dataclass(frozen=True)
class Bounds:
    """Where in the picture the image lies: inclusive first and last pixel, or whatever unit is written."""

    x: tuple[int, int]
    y: tuple[int, int]


def answer_pieces(keys: Sequence[str]) -> tuple[str, ...]:
    """The answer block as fixed text and names of numbers in turn: text, "x0", text, "y0", …, text.

    keys: of the JSON, the box first, then the points.
    """
    places = [f'"{keys[0]}": [<x0>, <y0>, <x1>, <y1>]']
    places += [f'"{key}": [<x>, <y>]' for key in keys[1:]]
    whole = "<answer>{" + ", ".join(places) + "}</answer>"
    return tuple(re.split(r"<([xy][01]?)>", whole))


class AnswerSlots:
    """Follows a text as it is written; `allowed` says what may come next.

    thinking: None when the answer comes without reasoning, else how many tokens it may have at most.
    end: the tokens of which any ends the text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        keys: Sequence[str],
        bounds: Bounds,
        *,
        thinking: int | None,
        end: Sequence[int],
    ) -> None:
        self._tokenizer, self._bounds, self._end = tokenizer, bounds, list(end)
        self._pieces = answer_pieces(keys)
        self._digits = _digit_tokens(tokenizer.get_vocab())
        self._budget = thinking
        self._reasoning: list[int] = []
        self._forced: list[int] = [] if thinking is None else self._ids(THINK)
        self._free = thinking is not None
        self._piece, self._number = 0, ""
        self._values: dict[str, int] = {}
        if thinking is None:
            self._force(self._pieces[0])

    def allowed(self) -> list[int] | None:
        """Ids of which the next token must be one; None while the reasoning is free."""
        if self._forced:
            return [self._forced[0]]
        if self._free:
            return None
        if self._piece >= len(self._pieces):
            return self._end
        return self._number_tokens()

    @property
    def barred(self) -> list[int]:
        """Ids that may not come while the reasoning is free: those that would end the text."""
        return self._end

    def advance(self, token: int) -> None:
        """Take note of the token that was written."""
        if self._forced:
            self._forced.pop(0)
        elif self._free:
            self._think_on(token)
        elif token in self._digits:
            self._number += self._digits[token]
        elif self._piece < len(self._pieces):
            self._close_number()
            self._force(self._pieces[self._piece])
            self._forced.pop(0)

    def tokens_needed(self) -> int:
        """The most tokens that the forced texts and the numbers take, without the reasoning."""
        fixed = [THINK, END_OF_THINK, *self._pieces[::2]]
        longest = len(str(max(*self._bounds.x, *self._bounds.y)))
        return sum(len(self._ids(text)) for text in fixed) + longest * (len(self._pieces) // 2) + 1

    def _think_on(self, token: int) -> None:
        self._reasoning.append(token)
        before, found, after = self._tokenizer.decode(self._reasoning[-_TAIL:]).rpartition(END_OF_THINK)
        if found:
            self._free = False
            self._force(_rest(self._pieces[0], after))
        elif self._budget is not None and len(self._reasoning) >= self._budget:
            self._free = False
            self._force(_rest(END_OF_THINK, before + after) + self._pieces[0])

    def _force(self, text: str) -> None:
        """The text must come next; what follows it is a number, or the end."""
        self._forced = self._ids(text)
        self._piece, self._number = self._piece + 1, ""

    def _close_number(self) -> None:
        self._values[self._pieces[self._piece]] = int(self._number)
        self._piece += 1

    def _number_tokens(self) -> list[int]:
        low, high = number_range(self._pieces[self._piece], self._bounds, self._values)
        tokens = [id_ for id_, text in self._digits.items() if can_become(self._number + text, low, high)]
        if self._number and low <= int(self._number) <= high:
            tokens.append(self._ids(self._pieces[self._piece + 1])[0])
        return tokens

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


def number_range(name: str, bounds: Bounds, values: Mapping[str, int]) -> tuple[int, int]:
    """Smallest and largest number for a place, given those before it."""
    low, high = bounds.x if name.startswith("x") else bounds.y
    if name in ("x0", "y0"):
        return low, max(low, high - 1)
    if name in ("x1", "y1"):
        return min(values[f"{name[0]}0"] + 1, high), high
    return low, high


def can_become(digits: str, low: int, high: int) -> bool:
    """Whether digits begin a whole number from `low` to `high` that is written without zeros ahead."""
    if len(digits) > 1 and digits[0] == "0":
        return False
    first = last = int(digits)
    if first == 0:
        return low <= 0 <= high
    while first <= high:
        if last >= low:
            return True
        first, last = first * 10, last * 10 + 9
    return False


def _rest(text: str, written: str) -> str:
    """What is missing of a text of which the last token may have begun to write the beginning."""
    for length in range(min(len(text), len(written)), 0, -1):
        if written.endswith(text[:length]):
            return text[length:]
    return text


def _digit_tokens(vocabulary: Mapping[str, int]) -> dict[int, str]:
    return {id_: token for token, id_ in vocabulary.items() if token.isascii() and token.isdecimal()}
