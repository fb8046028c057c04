"""Structures by what they do and look like: a scored match of the question's words with the vocabulary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_words import Word, content_stems, split

LEAST_SHARE = 0.62
"""Share of the question's word weight that a structure must explain."""
LEAST_WEIGHT = 3.5
"""Word weight that must match at least, so that one everyday word names nothing."""
LEAST_LEAD = 0.12
"""Lead in share over the next structure; with less the question is ambiguous."""


@dataclass(frozen=True)
class DescribedStructure:
    """A structure found by meaning, with the words of the question that match it."""

    structure: str
    words: tuple[Word, ...]
    how: Literal["function", "description"]


@dataclass(frozen=True)
class _Profile:
    """Word roots that describe one structure."""

    function: frozenset[str]
    look: frozenset[str]


@cache
def _profiles() -> Mapping[str, _Profile]:
    return {
        item.id: _Profile(
            frozenset(content_stems(split(item.function))),
            frozenset(content_stems(split(f"{item.description} {item.place}"))),
        )
        for item in structures().values()
    }


@cache
def _weights() -> Mapping[str, float]:
    """Inverse document frequency of every root in the table."""
    counts = Counter(root for p in _profiles().values() for root in p.function | p.look)
    return {root: math.log(1 + len(_profiles()) / count) for root, count in counts.items()}


def best_description(words: tuple[Word, ...]) -> DescribedStructure | None:
    """The one structure whose function, look and place fit the words, None when none stands out."""
    asked = content_stems(words)
    scores = sorted(((_share(asked, profile), id_) for id_, profile in _profiles().items()), reverse=True)
    if not asked or len(scores) < 2:
        return None
    (best, structure), (second, _) = scores[0], _next_unrelated(scores)
    profile = _profiles()[structure]
    matched = [root for root in asked if root in profile.function | profile.look]
    enough = sum(_weights()[root] for root in matched) >= LEAST_WEIGHT
    if best < LEAST_SHARE or best - second < LEAST_LEAD or not enough:
        return None
    in_function = sum(_weights()[root] for root in matched if root in profile.function)
    in_look = sum(_weights()[root] for root in matched if root in profile.look)
    return DescribedStructure(
        structure,
        tuple(word for word in words if set(content_stems((word,))) & set(matched)),
        "function" if in_function >= in_look else "description",
    )


def _share(asked: tuple[str, ...], profile: _Profile) -> float:
    """Weight of the asked roots that the profile holds, as a share of the weight of all."""
    weights, unseen = _weights(), math.log(1 + len(_profiles()) / 4)
    total = sum(weights.get(root, unseen) for root in asked)
    return sum(weights[root] for root in asked if root in profile.function | profile.look) / max(total, 1e-9)


def _next_unrelated(scores: list[tuple[float, str]]) -> tuple[float, str]:
    """The best structure after the first that is neither its part nor its whole."""
    first = structures()[scores[0][1]]
    for share, id_ in scores[1:]:
        other = structures()[id_]
        if id_ not in first.members and first.id not in other.members:
            return share, id_
    return 0.0, ""
