"""Facts for templates from a row of a region table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.anatomy import structures
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.neighbours import Direction, Neighbourhood
from napari_medreason.core.patient_position import PatientPosition
from napari_medreason.core.regions import RegionTable
from napari_medreason.core.template_facts import Brightness, Facts, Side

RING_PIXELS = 4
"""Width of the ring of surroundings that a region's grey level is compared with."""
SIMILAR_SHARE = 0.35
"""Grey levels closer than this share of their joint standard deviation are called similar."""

_DIRECTIONS: Mapping[Direction, str] = {
    "left of": "to the patient's left of",
    "right of": "to the patient's right of",
    "anterior to": "in front of",
    "posterior to": "behind",
    "superior to": "above",
    "inferior to": "below",
}
_THIRDS = {"anterior": "front", "middle": "middle", "posterior": "back"}


def facts_of(
    table: RegionTable,
    row: int,
    structure: str,
    *,
    name: str = "",
    side: Side = "",
    modality: str = "",
) -> Facts:
    """What a row of a region table says about a structure.

    structure, name, side: from the label's name (see label_names.named); without a side, that of a paired
    structure comes from its place in the patient where this is known: "both" for several parts on a slice
    that reach across the midline. modality: DICOM code of the image. Grey level and neighbours are not in
    the table: add them with `dataclasses.replace`, from `brightness_of` and `neighbour_words`.
    """
    grid, patient = table.grid(row), table.patient(row)
    count = int(table.component_count[row])
    x0, y0, x1, y1 = (float(edge) for edge in table.box_plane[row])
    return Facts(
        structure=structure,
        name=name,
        side=side or _side(structure, patient, count),
        modality=modality,
        axis=table.settings.axis if grid.orientation else "",
        position=table.words(row),
        quadrant=table.quadrant_words(row),
        near_center=bool(table.near_center[row]),
        image_shape=(int(grid.shape[0]), int(grid.shape[1])),
        box_plane=(x0, y0, x1, y1),
        spacing=grid.spacing if table.spacing_known else None,
        area_px=int(table.area_px[row]),
        component_count=count,
        patient_side=patient.side if patient is not None else "",
        patient_place=_place(patient),
    )


def neighbour_words(around: Neighbourhood, names: Mapping[int, str]) -> tuple[str, ...]:
    """Places against named neighbours, nearest first: "behind the stomach", "next to the liver".

    names: noun phrases by label, such as {3: "the liver"}; labels without one are left out.
    """
    return tuple(
        f"{_DIRECTIONS[beside.direction] if beside.direction else 'next to'} {names[beside.label]}"
        for beside in around.neighbours
        if beside.label in names and (beside.direction or beside.contact_mm2 > 0)
    )


def brightness_of(image: NDArray[np.generic], mask: NDArray[np.bool_]) -> Brightness:
    """Grey level of a region against a ring around it; "" for an empty mask or one without surroundings.

    image: (rows, columns) grey levels as displayed or native; what is not finite is left out. mask:
    (rows, columns) bool. Medians are compared, so that a bright vessel or an edge of bone in the ring does
    not decide.
    """
    box = mask_box(mask)
    if box is None or image.shape != mask.shape:
        return ""
    x0, y0, x1, y1 = (int(edge) for edge in box)
    rows = slice(max(0, y0 - RING_PIXELS), y1 + RING_PIXELS)
    columns = slice(max(0, x0 - RING_PIXELS), x1 + RING_PIXELS)
    levels = image[rows, columns].astype(float)
    known = np.isfinite(levels)
    region = mask[rows, columns]
    ring = scipy.ndimage.binary_dilation(region, iterations=RING_PIXELS) & ~region & known
    inside = region & known
    if not ring.any() or not inside.any():
        return ""
    difference = float(np.median(levels[inside]) - np.median(levels[ring]))
    spread = float(levels[inside | ring].std())
    if abs(difference) <= SIMILAR_SHARE * spread:
        return "similar"
    return "brighter" if difference > 0 else "darker"


def _side(structure: str, patient: PatientPosition | None, count: int) -> Side:
    item = structures().get(structure)
    if item is None or not item.paired or patient is None:
        return ""
    if patient.crosses_midline:
        return "both" if count > 1 else ""
    return patient.side if patient.side != "midline" else ""


def _place(patient: PatientPosition | None) -> str:
    if patient is None or patient.anterior_posterior is None:
        return ""
    body = "body" if patient.reference == "body" else "field of view"
    return f"in the {_THIRDS[patient.anterior_posterior]} third of the {body}"
