"""Every label on every slice of a volume, in one pass: box, centre, MedPos words, sizes, key points.

See core.region_columns for what a region is and for the columns of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.body_frame import BodyFrame, field_of_view
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.medpos import LABELS, QUADRANTS, Rule
from napari_medreason.core.patient_position import (
    UNKNOWN_ORIENTATION,
    PatientPosition,
    positions_in,
)
from napari_medreason.core.plane import Axis, PlaneGrid, plane_grid, plane_stack
from napari_medreason.core.region_columns import Components, RegionColumns, RegionSettings, columns, merged
from napari_medreason.core.volume import Volume
from napari_medreason.errors import LabelMapError, QuestionError

Rows = slice | NDArray[np.integer] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RegionTable(RegionColumns):
    """The regions of a volume, with what is needed to say where they lie in the patient.

    geometry: the grid of the label map (its voxels are not kept). spacing_known: whether mm mean
    something. body: what patient positions are measured against, None when the orientation is unknown.
    """

    geometry: Volume
    settings: RegionSettings
    spacing_known: bool
    body: BodyFrame | None

    @cached_property
    def _first_grid(self) -> PlaneGrid:
        return plane_grid(self.geometry, self.settings.axis, 0)

    @property
    def pixel_mm2(self) -> float:
        """Area of a pixel, NaN when its size is unknown."""
        rows, columns = self._first_grid.spacing
        return rows * columns if self.spacing_known else float("nan")

    @property
    def area_mm2(self) -> NDArray[np.float64]:
        """Area of each region in mm², NaN when the pixel size is unknown."""
        return np.asarray(self.area_px * self.pixel_mm2)

    @property
    def withheld(self) -> str:
        """Why patient positions are not given; "" when they are."""
        return "" if self.body is not None else UNKNOWN_ORIENTATION

    def words(self, row: int) -> str:
        """The MedPos words of a region."""
        return LABELS[int(self.position[row])]

    def quadrant_words(self, row: int) -> str:
        """The quadrant of a region, also when it is near the centre."""
        return QUADRANTS[int(self.quadrant[row])]

    def grid(self, row: int) -> PlaneGrid:
        """The plane in which a region lies."""
        first, index = self._first_grid, int(self.slice[row])
        i, j, k = first.origin_ijk
        normal = 1 - np.abs(first.step_x_ijk) - np.abs(first.step_y_ijk)
        along_i, along_j, along_k = (index * normal).tolist()
        return replace(first, index=index, origin_ijk=(i + along_i, j + along_j, k + along_k))

    def boxes_lps(
        self, rows: Rows = slice(None)
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Centre of mass, box centre and half extents of regions along L, P and S in mm, each (n, 3).

        Boxes go to the edges of pixels and are one slice thick.
        """
        grid, affine, box = self._first_grid, self.geometry.affine, self.box_plane[rows]
        along_x, along_y = np.abs(grid.step_x_ijk), np.abs(grid.step_y_ijk)
        normal = 1 - along_x - along_y
        offset = self.slice[rows][:, None] * normal
        size = (box[:, 2:3] - box[:, 0:1]) * along_x + (box[:, 3:4] - box[:, 1:2]) * along_y + normal
        middle = grid.index_ijk((box[:, :2] + box[:, 2:] - 1) / 2) + offset
        centroid = grid.index_ijk(self.centroid_plane[rows]) + offset
        half = size @ np.abs(affine[:3, :3]).T / 2
        return index_to_lps(centroid, affine), index_to_lps(middle, affine), half

    def patients(self, rows: Rows = slice(None)) -> list[PatientPosition | None]:
        """Where regions lie in the patient, fast for many; None when `withheld` says why not."""
        count = len(self.label[rows])
        if self.body is None:
            return [None] * count
        centroid, _, half = self.boxes_lps(rows)
        return [*positions_in(centroid, half, self.body)]

    def patient(self, row: int) -> PatientPosition | None:
        """Where one region lies in the patient."""
        return self.patients(slice(row, row + 1))[0]

    def records(self) -> Iterator[dict[str, Any]]:
        """All regions as JSON values, see `record`."""
        for row, patient in enumerate(self.patients()):
            yield self._record(row, patient)

    def record(self, row: int) -> dict[str, Any]:
        """A region as JSON values, in the form that `medreason label` prints."""
        return self._record(row, self.patient(row))

    def _record(self, row: int, patient: PatientPosition | None) -> dict[str, Any]:
        points = self.key_points_plane[row]
        area_mm2 = round(int(self.area_px[row]) * self.pixel_mm2, 2) if self.spacing_known else None
        return {
            "label": int(self.label[row]),
            "axis": self.settings.axis,
            "slice": int(self.slice[row]),
            "box": [int(edge) for edge in self.box_plane[row]],
            "center": [_tidy(float(value)) for value in self.center_plane[row]],
            "near_center": bool(self.near_center[row]),
            "position": self.words(row),
            "area_px": int(self.area_px[row]),
            "area_mm2": area_mm2,
            "key_points": None if np.isnan(points).any() else points.astype(int).tolist(),
            "patient": patient.as_json() if patient is not None else None,
        }

    def with_body(self, body: BodyFrame) -> RegionTable:
        """The same regions, measured against another body; unchanged while the orientation is unknown."""
        return self if self.body is None else replace(self, body=body)

    def updated(self, labels: NDArray[np.generic], changed_slices: Iterable[int]) -> RegionTable:
        """The table after some slices changed, such as by painting; only these are looked at again.

        labels: the whole (k, j, i) map as it is now. changed_slices: 0-based along the table's axis. Raises
        LabelMapError for a map of another shape or with values that are no labels, QuestionError for a
        slice that is not there.
        """
        if labels.shape != self.geometry.shape_kji:
            raise LabelMapError(
                f"the label map now has shape {labels.shape}, the table is for {self.geometry.shape_kji}; "
                "make a new table"
            )
        indices = sorted({int(index) for index in changed_slices})
        stack = plane_stack(labels, self.geometry, self.settings.axis)
        if indices and not 0 <= indices[0] <= indices[-1] < len(stack):
            raise QuestionError(f"slices {indices} changed; this label map has slices 0 to {len(stack) - 1}")
        old = np.isin(self.slice, indices)
        known = dict(zip(self.fingerprint[old].tolist(), self.key_points_plane[old], strict=True))
        fresh = columns(stack, indices, self.settings, known)
        before = {field.name: getattr(self, field.name) for field in fields(RegionColumns)}
        kept = np.concatenate([~old, np.ones(fresh["label"].size, bool)])
        changed: dict[str, Any] = merged([before, fresh], kept)
        return replace(self, **changed)


def slice_regions(
    labels: NDArray[np.generic] | Volume,
    *,
    axis: Axis = "axial",
    affine_lps: ArrayLike | None = None,
    rule: Rule = "paper",
    near_fraction: float = 0.2,
    key_points: bool = True,
    components: Components = "all",
) -> RegionTable:
    """All regions of a label map, slice by slice.

    labels: (k, j, i), whole numbers, 0 for background (see core.label_values), or a Volume that holds them
    and knows its geometry. affine_lps: (4, 4), (i, j, k) to LPS mm, for a plain array; None when unknown:
    then planes are as stored, and sizes in mm and patient positions are withheld. rule, near_fraction: see
    medpos.locate. Patient positions are relative to the field of view until `with_body` is called.
    Raises LabelMapError for values that are no labels, QuestionError for a 4D map.
    """
    if components not in get_args(Components):
        raise ValueError(f"components {components!r} is not known; use {', '.join(get_args(Components))}")
    volume = _as_volume(labels, affine_lps)
    settings = RegionSettings(axis, rule, near_fraction, key_points, components)
    geometry = replace(volume, voxels=np.broadcast_to(np.uint8(0), volume.shape_kji))
    stack = plane_stack(volume.voxels, geometry, axis)
    return RegionTable(
        **columns(stack, range(len(stack)), settings, {}),
        geometry=geometry,
        settings=settings,
        spacing_known=volume.calibrated and (isinstance(labels, Volume) or affine_lps is not None),
        body=field_of_view(geometry) if volume.orientation_known else None,
    )


def _as_volume(labels: NDArray[np.generic] | Volume, affine_lps: ArrayLike | None) -> Volume:
    if isinstance(labels, Volume):
        return labels.frame(None)
    affine = np.eye(4) if affine_lps is None else np.asarray(affine_lps, np.float64)
    return Volume(np.asarray(labels), affine, orientation_known=affine_lps is not None).frame(None)


def _tidy(value: float) -> float | int:
    return int(value) if value.is_integer() else round(value, 3)
