"""Which models a recipe can start from, and what is missing for each. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_medreason.core.run_config import RecipeName
from napari_medreason.errors import MedReasonError
from napari_medreason.models import store
from napari_medreason.models.catalogue import Weights, catalogue

BOX_ONLY = "vlm-r1"
"""What the ids of reasoners that write no key points begin with: rewards and examples need them."""
_SYSTEMS: Mapping[RecipeName, tuple[str, ...]] = {
    "prs-med": ("prs-med", "llava-med-7b", "clip-vit-l-336"),
    "medisee": ("medisee", "llava-med-7b", "clip-vit-l-336"),
}
"""The weights that a system needs, its own first."""


@dataclass(frozen=True)
class BaseChoice:
    """One model to start from.

    id: as a configuration names it. missing: ids of weights that are not here; lack: the same in words.
    """

    id: str
    title: str
    tip: str
    missing: tuple[str, ...] = ()
    lack: str = ""


def base_choices(recipe: RecipeName) -> tuple[BaseChoice, ...]:
    """The models that a recipe can tune, those that are here first."""
    if recipe == "embedded":
        return (
            BaseChoice("", "The embedded model", "It is part of this program; nothing has to be downloaded"),
        )
    if recipe in _SYSTEMS:
        found = [_choice(_SYSTEMS[recipe])]
    else:
        found = [_choice((one.id,)) for one in catalogue().values() if _is_reasoner(one)]
    return tuple(sorted(found, key=lambda one: bool(one.missing)))


def _is_reasoner(one: Weights) -> bool:
    return one.kind == "reasoner" and not one.id.startswith(BOX_ONLY)


def _choice(needed: tuple[str, ...]) -> BaseChoice:
    entry = catalogue()[needed[0]]
    missing = tuple(one for one in needed if not _is_here(one))
    licence = f"Licence: {entry.consequence or entry.licence or 'unknown'}"
    what = ", ".join(catalogue()[one].title for one in missing)
    lack = (
        f"Missing: {what}. The dock “Models and weights” downloads weights, or takes a folder of yours."
        if missing
        else ""
    )
    title = f"{entry.title} (missing)" if missing else entry.title
    return BaseChoice(entry.id, title, licence, missing, lack)


def _is_here(weights_id: str) -> bool:
    try:
        return store.status(weights_id).usable
    except MedReasonError:  # settings that can't be read: starting tells what is wrong with them
        return False
