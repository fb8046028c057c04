"""Tests of a found answer: the mirror test, and whether it fits what is known of anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import leaves, structures
from napari_medreason.core.answer_words import noun_phrase
from napari_medreason.core.grounding import Check
from napari_medreason.core.plane import Plane
from napari_medreason.core.plausibility import region_check, shows_sides, side_check, usual_side
from napari_medreason.models.embedded.looking import Answer, areas_seen, look
from napari_medreason.models.embedded.perception import Perceiver

LEAST_MIRROR_DICE = 0.5
"""The mirror test fails below this."""
CLEARLY_MORE = 1.5
"""So many times more must be seen on the mirrored image before the orientation of the study is doubted."""
LEAST_SEEN_MM2 = 1000.0
"""With less on the mirrored image there is no doubt."""
_MIRRORED_SIDE = {"left": "right", "right": "left", "": ""}


def checks(perceiver: Perceiver, plane: Plane, found: Answer, *, drawn: bool = False) -> tuple[Check, ...]:
    """All tests that mean something for a found or absent answer; drawn: the user's hints gave the mask."""
    expert = perceiver.expert_for(plane)
    if found.status not in ("found", "absent") or expert is None:
        return ()
    seen = perceiver.perceive(plane, expert)
    results = _mirror_checks(perceiver, plane, found, drawn=drawn)
    if found.mask is not None:
        results.append(side_check(plane, found.structure, found.mask, found.told_side))
        results.append(region_check(plane, found.structure, areas_seen(seen)))
    return tuple(result for result in results if result is not None)


def _mirror_checks(perceiver: Perceiver, plane: Plane, found: Answer, *, drawn: bool) -> list[Check | None]:
    """What the mirrored image tells; its pixels are flipped and the orientation stays.

    Costs one more look at the image, so it is not done where left and right mean nothing.
    """
    pair = all(structures()[member].paired for member in leaves(found.structure))
    if not shows_sides(plane) or not ((pair and found.mask is not None) or usual_side(found.structure)):
        return []
    expert = perceiver.expert_for(plane)
    mirrored = replace(plane, image=np.ascontiguousarray(plane.image[:, ::-1]))
    # An average over both views would agree with its mirror image by construction.
    here, there = (perceiver.perceive(image, expert, averaged=False) for image in (plane, mirrored))
    results = [orientation_check(areas_seen(here), areas_seen(there))]
    # On the trunk it failed for right answers as often as for wrong ones: a mirrored trunk is no trunk.
    if pair and not drawn and expert is not None and expert.symmetric:
        once = look(here, plane, found.structure, found.side)
        again = look(there, mirrored, found.structure, _MIRRORED_SIDE[found.side])
        results.append(mirror_check(once, again))
    return results


def mirror_check(found: Answer, again: Answer) -> Check:
    """Of a pair: the other side on the mirrored image, flipped back, should be the same mask.

    What was the left kidney is the right one there. found, again: the answers on the image and on the
    mirrored one, each from that view alone.
    """
    if _flipped_dice(found.mask, again.mask) >= LEAST_MIRROR_DICE:
        return Check("mirror", True, "The mirrored image gives the same place.")
    return Check(
        "mirror",
        False,
        "On the mirrored image the model answers with another place, so it may be mistaken about the side "
        "or about the structure.",
    )


def orientation_check(here: Mapping[str, float], there: Mapping[str, float]) -> Check | None:
    """What has a usual side should not be seen better on the mirrored image.

    A model that knows the usual sides finds such structures on one of the two images only, so masks
    can't be compared; if it is the mirrored one, the study may be oriented the wrong way round.
    here, there: mm2 of each structure on the image and on the mirrored one. None when neither has any.
    """
    sided_here, sided_there = (
        {name: area for name, area in seen.items() if usual_side(name)} for seen in (here, there)
    )
    if not sided_here and not sided_there:
        return None
    total = sum(sided_there.values())
    if total < LEAST_SEEN_MM2 or total < CLEARLY_MORE * sum(sided_here.values()):
        return Check("orientation", True, "What has a usual side is not seen better on the mirrored image.")
    best = sorted(sided_there, key=lambda name: -sided_there[name])[:3]
    names = ", ".join(noun_phrase(name)[0] for name in best)
    return Check(
        "orientation",
        False,
        f"More is seen when the image is flipped left to right ({names}): check the orientation "
        "of the study.",
    )


def _flipped_dice(mask: NDArray[np.bool_] | None, mirrored: NDArray[np.bool_] | None) -> float:
    if mask is None or mirrored is None:
        return 0.0
    return float(2 * (mirrored[:, ::-1] & mask).sum() / (mirrored.sum() + mask.sum()))
