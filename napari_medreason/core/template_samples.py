"""Facts made up to try a template on: structures of every grammatical number and sort within its scope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from napari_medreason.core.anatomy import SUPER_CATEGORIES, Structure, structures
from napari_medreason.core.template_facts import Facts

_SORTS: tuple[Callable[[Structure], bool], ...] = (
    lambda item: item.article == "the" and bool(item.plural) and item.plural != item.name,
    lambda item: item.plural == item.name,
    lambda item: item.name[0] in "aeiou",
    lambda item: not item.plural,
    lambda item: item.article == "a",
    lambda item: not item.article,
    lambda item: item.paired,
    lambda item: True,
)


@lru_cache(maxsize=512)
def sample_facts(scope: str, kind: str = "any") -> tuple[Facts, ...]:
    """Complete facts for up to nine structures of a scope; kind "near" and "far" choose the position."""
    items = scope_structures(scope)
    chosen: dict[str, Structure] = {}
    for sort in _SORTS:
        item = next((item for item in items if sort(item) and item.id not in chosen), None)
        if item is not None:
            chosen[item.id] = item
    facts = [_complete(item, kind) for item in chosen.values()]
    both = [replace(one, side="both") for one in facts if one.item is not None and one.item.paired]
    return (*facts, *both[:2])


def scope_structures(scope: str) -> tuple[Structure, ...]:
    """The structures of the vocabulary that a scope covers; "lung" is the category, not the organ alone."""
    known = structures()
    if scope in SUPER_CATEGORIES:
        return tuple(item for item in known.values() if item.super_category == scope)
    if scope in known:
        return (known[scope],)
    return tuple(item for item in known.values() if scope == "any" or item.is_finding == (scope == "finding"))


def _complete(item: Structure, kind: str) -> Facts:
    near = kind == "near"
    return Facts(
        structure=item.id,
        side="left" if item.paired else "",
        modality=item.modalities[0] if item.modalities else "CT",
        axis="axial",
        position="near the center" if near else "top left",
        quadrant="top left",
        near_center=near,
        image_shape=(512, 512),
        box_plane=(200, 190, 260, 240) if near else (80, 60, 140, 110),
        spacing=(0.8, 0.8),
        area_px=2200,
        component_count=1,
        brightness="brighter",
        neighbours=("to the right of the next structure",),
        patient_side="left",
        patient_place="in the back third of the body",
    )
