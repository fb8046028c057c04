"""Tests of a found answer: the mirror test, and whether it fits what is known of anatomy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_medreason.core.grounding import Check
from napari_medreason.core.plane import Plane
from napari_medreason.core.plausibility import has_side, region_check, shows_sides, side_check
from napari_medreason.models.embedded.looking import Answer, look, presence
from napari_medreason.models.embedded.perception import Perceiver, Perception

LEAST_MIRROR_DICE = 0.5
"""The mirror test fails below this."""
_MIRRORED_SIDE = {"left": "right", "right": "left", "": ""}


def checks(perceiver: Perceiver, plane: Plane, found: Answer, *, drawn: bool) -> tuple[Check, ...]:
    """All tests that mean something for a found answer; drawn: whether the user's hints gave the mask."""
    expert = perceiver.expert_for(plane)
    if found.mask is None or expert is None:
        return ()
    seen = perceiver.perceive(plane, expert)
    results = (
        None if drawn else mirror_check(perceiver, plane, found),
        side_check(plane, found.structure, found.mask, found.told_side),
        region_check(plane, found.structure, seen_areas(seen)),
    )
    return tuple(result for result in results if result is not None)


def mirror_check(perceiver: Perceiver, plane: Plane, found: Answer) -> Check | None:
    """Ask for the other side on the mirrored image: flipped back, the mask should be the same one.

    The pixels are flipped and the orientation stays, so that what was the left kidney is the right one.
    Costs one more look at the image. None where left and right mean nothing.
    """
    if found.mask is None or not shows_sides(plane) or not has_side(found.structure):
        return None
    mirrored = replace(plane, image=np.ascontiguousarray(plane.image[:, ::-1]))
    seen = perceiver.perceive(mirrored, perceiver.expert_for(plane))
    answer = look(seen, mirrored, found.structure, _MIRRORED_SIDE[found.side])
    again = answer.mask[:, ::-1] if answer.mask is not None else np.zeros_like(found.mask)
    dice = 2 * (again & found.mask).sum() / (again.sum() + found.mask.sum())
    if dice >= LEAST_MIRROR_DICE:
        return Check("mirror", True, "The mirrored image gives the same place.")
    return Check(
        "mirror",
        False,
        "On the mirrored image the model answers with another place, so it may be mistaken about the side "
        "or about the structure.",
    )


def seen_areas(seen: Perception) -> dict[str, float]:
    """Structures that are in the slice, with the area of each in mm2."""
    pixel = seen.expert.pixel_mm**2
    return {
        name: float(area) * pixel
        for name, area in zip(seen.expert.structures, seen.areas, strict=True)
        if area and presence(seen, name) >= 0.5
    }
