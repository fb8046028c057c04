"""Many wordings of the question for one structure: generated ones, and ones that were kept apart."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any, Literal

import numpy as np

from napari_medreason.core.anatomy import Structure, structures

Kind = Literal["generated", "seen", "held_out"]
TRAINED: Kind = "generated"
SEEN: Kind = "seen"
HELD_OUT: Kind = "held_out"
LEAST_LETTERS = 7
"""Shorter words are not misspelt: a slip in them can make another word."""


@cache
def _table() -> Mapping[str, Any]:
    text = files("napari_medreason_training").joinpath("wordings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def wordings(structure: str, kind: Kind) -> tuple[str, ...]:
    """All distinct wordings for a structure's id, in a fixed order, with the spelling kept right."""
    item, table = structures()[structure], _table()[kind]
    result = [f"{o}{text}{c}" for o, text, c in _orders(item, table)]
    result += [text.format(name=name) for text, name in product(table["questions"], _names(item))]
    result += [text.format(function=item.function) for text in table["functions"] if item.function]
    result += [text.format(description=item.description) for text in table["descriptions"]]
    return tuple(dict.fromkeys(result))


def _orders(item: Structure, table: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    for opener, text, name, closer in product(
        table["openers"], table["orders"], _names(item), table["closers"]
    ):
        yield opener, text.format(name=name), closer


def _names(item: Structure) -> tuple[str, ...]:
    return item.name, *item.synonyms


def misspelt(text: str, rng: np.random.Generator) -> str:
    """The text with two neighbouring letters of one long word swapped; as it is without a long word."""
    words = text.split(" ")
    long = [n for n, word in enumerate(words) if len(word) >= LEAST_LETTERS and word.isalpha()]
    if not long:
        return text
    chosen = int(rng.choice(long))
    word = words[chosen]
    at = int(rng.integers(1, len(word) - 2))
    words[chosen] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def one_wording(structure: str, kind: Kind, *, seed: int) -> str:
    """One of the wordings, the same for the same seed."""
    rng = np.random.default_rng([seed, len(structure), *structure.encode()])
    return str(rng.choice(list(wordings(structure, kind))))
