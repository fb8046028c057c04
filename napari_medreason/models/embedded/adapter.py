"""Adapters of the embedded model: one of its experts, tuned, with a card that says from what and on what.

A folder with `adapter.json`, `EXPERT.json` and `EXPERT.safetensors`; written by
`medreason train` with the recipe "embedded".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_medreason.errors import WeightsError
from napari_medreason.models.embedded.experts import EXPERT_IDS, Expert, read_expert

CARD = "adapter.json"
BASE = "embedded"
"""Model id that the card of such an adapter names as its base."""
_AGAIN = "export it again, or train it again"


def read_card(folder: Path) -> Mapping[str, Any]:
    """The card of an adapter of this model; WeightsError when there is none or it is another model's."""
    try:
        card: Any = json.loads((folder / CARD).read_text(encoding="utf-8"))
        base, expert = str(card["base"]), str(card["expert"])
        str(card["expert_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder.name} holds no readable {CARD} of an adapter of the embedded model "
            f"({type(error).__name__}); give the folder that a run has exported"
        ) from error
    if base != BASE or expert not in EXPERT_IDS:
        raise WeightsError(
            f"{folder.name} is an adapter for {base}, not for the embedded model; choose the model that it "
            "was trained for"
        )
    return dict(card)


def tuned_experts(folder: Path, experts: tuple[Expert, ...]) -> tuple[Expert, ...]:
    """The experts with the tuned one in its place; WeightsError when it was made for other weights.

    The weights themselves are checked by hash when they are loaded.
    """
    card = read_card(folder)
    base = next(expert for expert in experts if expert.id == card["expert"])
    if card["expert_sha256"] != base.sha256:
        raise WeightsError(
            f"{folder.name} was trained for other weights of the embedded model than those installed; "
            "train it again on these, or install the version that it was made with"
        )
    try:
        tuned = read_expert(folder, base.id)
    except WeightsError as error:
        raise WeightsError(f"{base.id}.json in {folder.name} is missing or damaged; {_AGAIN}") from error
    if tuned.modality != base.modality or tuned.structures[: len(base.structures)] != base.structures:
        raise WeightsError(f"{base.id}.json in {folder.name} does not continue the base model; {_AGAIN}")
    tuned = replace(tuned, damaged=_AGAIN)
    return tuple(tuned if expert is base else expert for expert in experts)
