"""Adapters of the embedded model: one of its experts, tuned, with a card that says from what and on what.

A folder with `adapter.json`, `EXPERT.json` and `EXPERT.safetensors`; written by
`medreason train` with the recipe "embedded".
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_medreason.errors import WeightsError
from napari_medreason.models.adapter_card import CARD, AdapterCard, read_adapter_card
from napari_medreason.models.embedded.experts import EXPERT_IDS, Expert, read_expert

__all__ = ["BASE", "CARD", "read_card", "tuned_experts"]

BASE = "embedded"
"""Model id that the card of such an adapter names as its base."""
_AGAIN = "export it again, or train it again"


def read_card(folder: Path) -> AdapterCard:
    """The card of an adapter of this model; WeightsError when there is none or it is another model's."""
    card = read_adapter_card(folder)
    if card.kind != "embedded-expert" or card.base != BASE or card.extra.get("expert") not in EXPERT_IDS:
        raise WeightsError(
            f"{folder.name} is an adapter for {card.base}, not for the embedded model; choose the model that "
            "it was trained for"
        )
    return card


def tuned_experts(folder: Path, experts: tuple[Expert, ...]) -> tuple[Expert, ...]:
    """The experts with the tuned one in its place; WeightsError when it was made for other weights.

    The weights themselves are checked by hash when they are loaded.
    """
    card = read_card(folder)
    base = next(expert for expert in experts if expert.id == card.extra["expert"])
    if card.extra.get("expert_sha256") != base.sha256:
        raise WeightsError(
            f"{folder.name} was trained for other weights of the embedded model than those installed; "
            "train it again on these, or install the version that it was made with"
        )
    try:
        tuned = read_expert(folder, base.id)
    except WeightsError as error:
        raise WeightsError(f"{base.id}.json in {folder.name} is missing or damaged; {_AGAIN}") from error
    sizes = (tuned.modality, tuned.network, tuned.structures[: len(base.structures)])
    if sizes != (base.modality, base.network, base.structures):
        raise WeightsError(f"{base.id}.json in {folder.name} does not continue the base model; {_AGAIN}")
    tuned = replace(tuned, damaged=_AGAIN)
    return tuple(tuned if expert is base else expert for expert in experts)
