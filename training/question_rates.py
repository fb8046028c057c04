"""How often generated, seen and held-out wordings of questions are understood."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medreason.core.question_text import understand
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .questions import HELD_OUT, SEEN, TRAINED, Kind, wordings

PER_STRUCTURE = 100
"""Wordings drawn for each structure; the draw is the same every time."""
_SEED = 20


@dataclass(frozen=True)
class Rate:
    """Outcome for one list: shares with the right structure, with another one, and with none named."""

    structures: str
    kind: Kind
    wordings: int
    right: float
    other: float
    none: float


def rates(per_structure: int = PER_STRUCTURE) -> tuple[Rate, ...]:
    """Rates of all lists for the structures of both experts of the embedded model."""
    known = {"brain": BRAIN_MR, "body": BODY_CT}
    kinds = (TRAINED, SEEN, HELD_OUT)
    return tuple(_rate(name, known[name], kind, per_structure) for name in known for kind in kinds)


def _rate(name: str, known: Sequence[str], kind: Kind, per_structure: int) -> Rate:
    rng = np.random.default_rng(_SEED)
    named = []
    for structure in known:
        every = wordings(structure, kind)
        for text in rng.choice(every, min(per_structure, len(every)), replace=False):
            named.append((structure, understand(str(text), known).structure))
    right = float(np.mean([wanted == found for wanted, found in named]))
    none = float(np.mean([not found for _, found in named]))
    return Rate(name, kind, len(named), right, 1 - right - none, none)


def print_rates(per_structure: int = PER_STRUCTURE) -> None:
    """Write the rates as a table to standard output."""
    lines = [
        "| structures | list | wordings | right | another named | none named |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {rate.structures} | {rate.kind} | {rate.wordings} | {rate.right:.1%} | {rate.other:.1%} "
        f"| {rate.none:.1%} |"
        for rate in rates(per_structure)
    ]
    sys.stdout.write("\n".join(lines) + "\n")
