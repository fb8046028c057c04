"""Where a mask lies in its image, in the words of MedPos: a quadrant, or near the centre.

The words speak of the image as it is shown (the result plane), not of the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import Box, Point

Rule = Literal["paper", "released"]
Quadrant = Literal["top left", "top right", "bottom left", "bottom right"]
PositionLabel = Literal["top left", "top right", "bottom left", "bottom right", "center", "near the center"]


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
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r} is not known; use {' or '.join(get_args(Rule))}")
    mask = np.asarray(mask) > 0
    if mask.ndim != 2:
        raise ValueError(f"a mask is (rows, columns), got {mask.ndim} dimensions")
    box = mask_box(mask)
    if box is None:
        return None
    width, height = mask.shape[1], mask.shape[0]
    position = _released if rule == "released" else _paper
    return position(box, width, height, near_fraction)


def _paper(box: Box, width: int, height: int, near_fraction: float) -> MaskPosition:
    center = ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
    image_center = ((width - 1) / 2, (height - 1) / 2)
    share = hypot((center[0] - image_center[0]) / width, (center[1] - image_center[1]) / height)
    near = share < near_fraction
    quadrant = _quadrant(center, image_center)
    return MaskPosition("near the center" if near else quadrant, near, quadrant, center, box)


def _released(box: Box, width: int, height: int, near_fraction: float) -> MaskPosition:
    image_x, image_y = width // 2, height // 2
    last_x, last_y = box[2] - 1, box[3] - 1
    center = ((box[0] + last_x) // 2, (box[1] + last_y) // 2)
    quadrant = _quadrant(center, (image_x, image_y))
    if box[0] <= image_x <= last_x and box[1] <= image_y <= last_y:
        return MaskPosition("center", True, quadrant, center, box)
    near = hypot(center[0] - image_x, center[1] - image_y) < near_fraction * width
    return MaskPosition(quadrant, near, quadrant, center, box)


def _quadrant(center: Point, image_center: Point) -> Quadrant:
    if center[1] < image_center[1]:
        return "top left" if center[0] < image_center[0] else "top right"
    return "bottom left" if center[0] < image_center[0] else "bottom right"
