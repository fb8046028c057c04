"""Structures by what they do and look like: a scored match of the question's words with the vocabulary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from napari_medreason.core.anatomy import Structure, structures
from napari_medreason.core.question_words import PLACE_ROOTS, QUIET_ROOTS, Word, content_stems, split

LEAST_SHARE = 0.62
"""Share of the question's word weight that a structure must explain."""
LEAST_WEIGHT = 3.5
"""Word weight that must match at least, so that one everyday word names nothing."""
LEAST_OWN_WEIGHT = 2.0
"""Of that, the least weight beyond words of place and of the structures that the question names."""
LEAST_LEAD = 0.1
"""Lead in share over the next structure; with less the question is ambiguous."""
_PAIR_BONUS = 0.25
"""Added to the share when words that stand together in the question do so in the table too."""
_VERB_BONUS = 0.12
"""Added to the share when the question holds the verb that `function` begins with."""
_SIDE_WEIGHT = 0.5
"""Weight of left and right, which seldom say what a structure is."""
_FINDING_HANDICAP = 0.2
"""Taken from the share of findings: questions about a function mostly mean healthy anatomy."""
_COMMON = 15
"""A word that the table does not hold weighs as much as one that this many structures share."""


@dataclass(frozen=True)
class DescribedStructure:
    """A structure found by meaning, with the words of the question that match it."""

    structure: str
    words: tuple[Word, ...]
    how: Literal["function", "description"]


@dataclass(frozen=True)
class _Profile:
    """Word roots that describe one structure; `roots` also holds those of its name and kind."""

    function: frozenset[str]
    look: frozenset[str]
    roots: frozenset[str]
    verb: str
    pairs: frozenset[frozenset[str]]


@cache
def _profiles() -> Mapping[str, _Profile]:
    return {item.id: _profile(item) for item in structures().values()}


def _profile(item: Structure) -> _Profile:
    function, description, place, name = (
        content_stems(split(text))
        for text in (item.function, item.description, item.place, f"{item.name} {item.super_category}")
    )
    look = frozenset(description + place)
    pairs = _pairs(function) | _pairs(description) | _pairs(place)
    return _Profile(frozenset(function), look, look.union(function, name), function[0], pairs)


def _pairs(roots: tuple[str, ...]) -> frozenset[frozenset[str]]:
    """Roots that stand together, in any order."""
    return frozenset(map(frozenset, pairwise(roots)))


@cache
def _weights() -> Mapping[str, float]:
    """Inverse document frequency of every root in the table."""
    counts = Counter(root for profile in _profiles().values() for root in profile.roots)
    weights = {root: math.log(1 + len(_profiles()) / count) for root, count in counts.items()}
    return weights | {"left": _SIDE_WEIGHT, "right": _SIDE_WEIGHT}


def best_description(
    words: Sequence[Word], mentioned: Collection[str], naming: Collection[Word]
) -> DescribedStructure | None:
    """The one structure whose function, look and place fit the words, None when none stands out.

    mentioned: ids that the question names, `naming` the words that do so; they only say where.
    """
    asked = tuple(root for root in content_stems(words) if root in _weights() or root not in QUIET_ROOTS)
    candidates = {id_: profile for id_, profile in _profiles().items() if id_ not in mentioned}
    shares = {id_: _share(asked, profile, id_) for id_, profile in candidates.items()}
    ranked = sorted(shares, key=lambda id_: (-shares[id_], -len(structures()[id_].members), id_))
    structure = ranked[0]
    profile = candidates[structure]
    matched = frozenset(asked) & profile.roots
    own = matched & (profile.function | profile.look) - PLACE_ROOTS - frozenset(content_stems(tuple(naming)))
    if (
        shares[structure] < LEAST_SHARE
        or shares[structure] - _next_share(ranked, shares) < LEAST_LEAD
        or _weight(matched) < LEAST_WEIGHT
        or _weight(own) < LEAST_OWN_WEIGHT
        or (structures()[structure].is_finding and len(own) < 2)
    ):
        return None
    by_function = _weight(matched & profile.function) >= _weight(matched & profile.look)
    return DescribedStructure(
        structure,
        tuple(word for word in words if matched.intersection(content_stems((word,)))),
        "function" if by_function else "description",
    )


def alikeness(first: str, second: str) -> float:
    """Weight of the words that describe both of two structures."""
    return _weight(_profiles()[first].roots & _profiles()[second].roots)


def _weight(roots: Collection[str]) -> float:
    unseen = math.log(1 + len(_profiles()) / _COMMON)
    return sum(_weights().get(root, unseen) for root in roots)


def _share(asked: tuple[str, ...], profile: _Profile, structure: str) -> float:
    """Weight of the asked roots that the profile holds, as a share of the weight of all, plus the bonuses."""
    share = _weight([root for root in asked if root in profile.roots]) / max(_weight(asked), 1e-9)
    together = len(_pairs(asked) & profile.pairs) / max(len(asked) - 1, 1)
    bonus = _PAIR_BONUS * together + _VERB_BONUS * (profile.verb in asked)
    return share + bonus - _FINDING_HANDICAP * structures()[structure].is_finding


def _next_share(ranked: list[str], shares: Mapping[str, float]) -> float:
    """Share of the best structure after the first that is neither its part nor its whole."""
    first = structures()[ranked[0]]
    for id_ in ranked[1:]:
        if id_ not in first.members and first.id not in structures()[id_].members:
            return shares[id_]
    return 0.0
