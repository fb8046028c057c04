"""Where a mask lies in its image, in the words of MedPos: a quadrant, or near the centre.

The words speak of the image as it is shown (the result plane), not of the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import Box, Point

Rule = Literal["paper", "released"]
Quadrant = Literal["top left", "top right", "bottom left", "bottom right"]
PositionLabel = Literal["top left", "top right", "bottom left", "bottom right", "center", "near the center"]
QUADRANTS: tuple[Quadrant, ...] = get_args(Quadrant)
LABELS: tuple[PositionLabel, ...] = get_args(PositionLabel)
"""All words, quadrants first."""
Points = NDArray[np.float64]


@dataclass(frozen=True)
class MaskPosition:
    """MedPos position of a mask in an image, in pixels with centres at integers.

    label: the words of the rule that was used. near_center: the box centre is close to the image
    centre. quadrant: always given, ties go right and bottom. center: (x, y) of the box as the rule
    computes it (whole pixels under "released"). box: half-open (x0, y0, x1, y1).
    """

    label: PositionLabel
    near_center: bool
    quadrant: Quadrant
    center: Point
    box: Box


def locate(
    mask: NDArray[np.bool_], *, rule: Rule = "paper", near_fraction: float = 0.2
) -> MaskPosition | None:
    """Position of a (rows, columns) bool mask in its image; None when the mask is empty.

    rule="paper" (PRS-Med, section 3, MedPos): exact centres; the label is "near the center" when the
    distance between box centre and image centre, as shares of width and height, is below
    `near_fraction`, else the quadrant. The paper gives no threshold; 0.2 is the released one.
    rule="released" (PRS-Med data_processing/mask_position.py): centres rounded down to whole pixels;
    "center" when the box covers the image centre, else the quadrant, and near_center when the
    distance in pixels is below `near_fraction` of the width, also for tall images.
    ValueError for another rule or a mask that is not two-dimensional.
    """
    _check_rule(rule)
    mask = np.asarray(mask) > 0
    if mask.ndim != 2:
        raise ValueError(f"a mask is (rows, columns), got {mask.ndim} dimensions")
    box = mask_box(mask)
    if box is None:
        return None
    found = positions(np.array([box]), mask.shape, rule=rule, near_fraction=near_fraction)
    center = (float(found.center[0, 0]), float(found.center[0, 1]))
    quadrant = QUADRANTS[found.quadrant[0]]
    return MaskPosition(LABELS[found.label[0]], bool(found.near_center[0]), quadrant, center, box)


@dataclass(frozen=True, eq=False)
class BoxPositions:
    """Positions of many boxes: indices into LABELS and QUADRANTS, flags, and (n, 2) centres (x, y)."""

    label: NDArray[np.int8]
    quadrant: NDArray[np.int8]
    near_center: NDArray[np.bool_]
    center: NDArray[np.float64]


def positions(
    boxes: NDArray[np.generic], shape: tuple[int, ...], *, rule: Rule = "paper", near_fraction: float = 0.2
) -> BoxPositions:
    """Positions of (n, 4) half-open boxes (x0, y0, x1, y1) in images of shape (rows, columns).

    The rules are those of `locate`. ValueError for another rule.
    """
    _check_rule(rule)
    first = np.asarray(boxes, np.float64)[:, :2]
    last = np.asarray(boxes, np.float64)[:, 2:] - 1
    size = np.array([shape[1], shape[0]], np.float64)
    decide = _released if rule == "released" else _paper
    return decide(first, last, size, near_fraction)


def _check_rule(rule: str) -> None:
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r} is not known; use {' or '.join(get_args(Rule))}")


def _paper(first: Points, last: Points, size: Points, near_fraction: float) -> BoxPositions:
    center, image_center = (first + last) / 2, (size - 1) / 2
    share = (center - image_center) / size
    near = np.hypot(share[:, 0], share[:, 1]) < near_fraction
    quadrant = _quadrant(center, image_center)
    label = np.where(near, LABELS.index("near the center"), quadrant).astype(np.int8)
    return BoxPositions(label, quadrant, near, center)


def _released(first: Points, last: Points, size: Points, near_fraction: float) -> BoxPositions:
    image_center, center = size // 2, (first + last) // 2
    covers = ((first <= image_center) & (image_center <= last)).all(axis=1)
    away = center - image_center
    # The square root of a sum of whole squares is exact where the distance is whole.
    near = np.sqrt((away * away).sum(axis=1)) < near_fraction * size[0]
    quadrant = _quadrant(center, image_center)
    label = np.where(covers, LABELS.index("center"), quadrant).astype(np.int8)
    return BoxPositions(label, quadrant, near | covers, center)


def _quadrant(center: Points, image_center: Points) -> NDArray[np.int8]:
    right_or_bottom = center >= image_center
    return (2 * right_or_bottom[:, 1] + right_or_bottom[:, 0]).astype(np.int8)


def component_labels(mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """Words for the first and the last part of a mask, as PRS-Med labels images with two lesions.

    Of each 8-connected part of the (rows, columns) mask, the quadrant of its centre of mass, and " center"
    behind it when its box (one pixel generous at right and bottom) covers the image centre; a single part
    is named twice (PRS-Med lung_generation.py). Parts are in the order in which OpenCV numbers them: by
    the first 2 x 2 block, in row order. ("no mask",) when the mask is empty.
    """
    mask = np.asarray(mask) > 0
    parts, count = scipy.ndimage.label(mask, np.ones((3, 3)))
    if count == 0:
        return ("no mask",)
    rows, columns = np.nonzero(parts)
    block = (rows // 2) * (mask.shape[1] // 2 + 1) + columns // 2
    order = np.argsort(scipy.ndimage.minimum(block, parts[rows, columns], np.arange(1, count + 1)))
    return tuple(_part_label(parts == order[place] + 1) for place in (0, -1))


def _part_label(part: NDArray[np.bool_]) -> str:
    rows, columns = np.nonzero(part)
    image_x, image_y = part.shape[1] // 2, part.shape[0] // 2
    center = np.array([[columns.mean(), rows.mean()]])
    words = QUADRANTS[_quadrant(center, np.array([image_x, image_y]))[0]]
    covers_x = columns.min() <= image_x <= columns.max() + 1
    covers_y = rows.min() <= image_y <= rows.max() + 1
    return f"{words} center" if covers_x and covers_y else words
