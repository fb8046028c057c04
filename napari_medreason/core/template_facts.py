"""What is known about one labelled region: the facts that fill the slots of a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from napari_medreason.core.anatomy import Structure, structures
from napari_medreason.core.plane import Box
from napari_medreason.core.strict import from_plain

Side = Literal["left", "right", "both", ""]
Brightness = Literal["brighter", "darker", "similar", ""]


@dataclass(frozen=True)
class Facts:
    """One region on one slice; what is not known stays "" or None, and its slots stay empty.

    structure: vocabulary id; for a structure outside the vocabulary any id, with its words in `name`.
    side: the patient's side, or "both" when one mask holds both. modality: DICOM code, such as "MR".
    axis: "axial", "coronal" or "sagittal". position, quadrant, near_center: MedPos words of the result
    plane (see core.medpos). image_shape: (rows, columns). box_plane: half-open (x0, y0, x1, y1) in the
    result plane, pixels. spacing: (row, column) mm. area_px: pixels of the region on this slice.
    brightness: the region against the tissue around it. neighbours: phrases that follow a verb, such
    as "to the left of the liver", nearest first. patient_side: "left", "right", "midline" or "".
    patient_place: words of patient space, such as "in the back third of the body". function,
    description, place: in place of the vocabulary's phrases.
    """

    structure: str
    name: str = ""
    side: Side = ""
    modality: str = ""
    axis: str = ""
    position: str = ""
    quadrant: str = ""
    near_center: bool | None = None
    image_shape: tuple[int, int] | None = None
    box_plane: Box | None = None
    spacing: tuple[float, float] | None = None
    area_px: int | None = None
    component_count: int | None = None
    brightness: Brightness = ""
    neighbours: tuple[str, ...] = ()
    patient_side: str = ""
    patient_place: str = ""
    function: str = ""
    description: str = ""
    place: str = ""

    @property
    def item(self) -> Structure | None:
        """Its line of the vocabulary, None for a structure that is not in it."""
        return structures().get(self.structure)

    @property
    def super_category(self) -> str:
        """One of the fifteen kinds of the vocabulary, "" when unknown."""
        return self.item.super_category if self.item else ""

    @property
    def share(self) -> float | None:
        """Share of the image area that the region covers, 0 to 1."""
        if self.area_px is None or self.image_shape is None:
            return None
        return self.area_px / (self.image_shape[0] * self.image_shape[1])

    @property
    def size_mm(self) -> tuple[float, float] | None:
        """(width, height) of the box in mm, None when box or spacing is unknown."""
        if self.box_plane is None or self.spacing is None:
            return None
        x0, y0, x1, y1 = self.box_plane
        return (x1 - x0) * self.spacing[1], (y1 - y0) * self.spacing[0]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Facts from JSON values; DataSetError that names an unknown key or a value of another kind."""
        facts: Facts = from_plain(cls, dict(values), "facts")
        return facts

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, tuples as lists."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
