"""From logits to a clean mask of one structure, and which side of the patient it lies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import Plane
from napari_medreason.models.embedded.perception import Perception

SMALLEST_AREA = 8
"""Model pixels; less than this is not called seen."""
SPECK_SHARE = 0.08
"""Islands smaller than this share of the largest one are dropped."""
MIDLINE_MM = 12.0
"""A sagittal slice closer than this to the middle of the study is on neither side for certain."""


def margin(seen: Perception, members: Sequence[str]) -> NDArray[np.float32]:
    """(rows, columns) model pixels: best logit of the members minus the best of all others.

    Above 0 a pixel belongs to the structure, or to the group of structures. Findings that lie over anatomy
    are no others to it.
    """
    expert = seen.expert
    wanted = np.array([name in members for name in expert.structures])
    over = expert.overlaid if expert.overlaid.isdisjoint(members) else frozenset()
    rivals = np.array([name not in members and name not in over for name in expert.structures])
    inside = seen.logits[wanted].max(axis=0)
    others = np.maximum(seen.logits[rivals].max(axis=0, initial=-np.inf), 0.0)
    return np.asarray(inside - others, dtype=np.float32)


def without_specks(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """The mask without islands under `smallest` pixels or far smaller than the largest; holes filled."""
    box = mask_box(mask)
    if box is None:
        return mask
    left, top, right, bottom = (int(edge) for edge in box)
    islands, _ = scipy.ndimage.label(mask[top:bottom, left:right])
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    keep = (sizes >= smallest) & (sizes >= SPECK_SHARE * sizes.max())
    clean = np.zeros_like(mask)
    clean[top:bottom, left:right] = _small_holes_filled(keep[islands])
    return clean


def _small_holes_filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes up to a hundredth of the mask are gaps in the prediction; larger ones are anatomy."""
    holes, count = scipy.ndimage.label(scipy.ndimage.binary_fill_holes(mask) & ~mask)
    if count == 0:
        return mask
    sizes = np.bincount(holes.ravel())
    small = sizes <= 0.01 * mask.sum()
    small[0] = False
    return np.asarray(mask | small[holes])


def side_share(seen: Perception, side: str) -> NDArray[np.float32]:
    """(rows, columns) model pixels: log-odds that a pixel lies on this side of the patient."""
    left, right = seen.sides
    return np.asarray(left - right if side == "left" else right - left, dtype=np.float32)


def sagittal_side(plane: Plane) -> str:
    """Side of the patient that a sagittal slice lies on: "left", "right", "" near the middle or unknown.

    The middle of the study is taken for the middle of the patient.
    """
    grid = plane.grid
    if grid.orientation is None:
        return ""
    normal = int(np.flatnonzero(np.abs(grid.step_x_ijk) + np.abs(grid.step_y_ijk) == 0)[0])
    here = np.array(grid.origin_ijk, dtype=np.float64)
    middle = here.copy()
    middle[normal] = (grid.slice_count - 1) / 2
    to_left = float((index_to_lps(here, plane.affine) - index_to_lps(middle, plane.affine))[0])
    if abs(to_left) < MIDLINE_MM:
        return ""
    return "left" if to_left > 0 else "right"
