"""Where a region or a structure lies in the patient: side, depth, level, and distances in mm.

Only the affine decides, so the words are the same however the voxels are stored. Without a known
orientation there is no position in the patient, and `UNKNOWN_ORIENTATION` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.body_frame import BodyFrame, Reference, field_of_view
from napari_medreason.core.geometry import Affine, index_to_lps
from napari_medreason.core.plane import PlaneGrid
from napari_medreason.core.volume import Volume

Side = Literal["left", "right", "midline"]
AnteriorPosterior = Literal["anterior", "middle", "posterior"]
SuperiorInferior = Literal["superior", "middle", "inferior"]

UNKNOWN_ORIENTATION = (
    "the orientation of this label map is unknown, so left and right, front and back, and levels in the "
    "patient can't be told; save it with the geometry of its study"
)
MIDLINE_SHARE = 0.025
"""Centres nearer to the midline than this share of the body's width are on no side."""
_TENTH_MICROMETRE = 4


@dataclass(frozen=True)
class PatientPosition:
    """Position in the patient, in LPS mm.

    side: the patient's side of the centre; "midline" when the centre is within MIDLINE_SHARE of the
    body's width, or the midline runs through the middle half of the region. crosses_midline: some of it
    may lie on either side. anterior_posterior, superior_inferior: which third of the body (at that level;
    of its visible height) the centre lies in, None for a region that fills it from end to end. level:
    0 at the lowest, 1 at the highest visible part of the body. midline_mm: distance of the centre to the
    midline. surface_mm: its distance to the skin, None without an image of the body.
    center_lps: mean of all pixels. reference: what was measured against.
    """

    side: Side
    crosses_midline: bool
    anterior_posterior: AnteriorPosterior | None
    superior_inferior: SuperiorInferior | None
    level: float
    midline_mm: float
    surface_mm: float | None
    center_lps: tuple[float, float, float]
    reference: Reference

    def as_json(self) -> dict[str, Any]:
        """As JSON values: mm with one decimal, the level with three."""
        return {
            "side": self.side,
            "crosses_midline": self.crosses_midline,
            "anterior_posterior": self.anterior_posterior,
            "superior_inferior": self.superior_inferior,
            "level": round(self.level, 3),
            "midline_mm": round(self.midline_mm, 1),
            "surface_mm": None if self.surface_mm is None else round(self.surface_mm, 1),
            "center_lps": [round(value, 1) for value in self.center_lps],
            "reference": self.reference,
        }


def patient_position(
    mask: NDArray[np.bool_], geometry: Volume, *, body: BodyFrame | None = None
) -> PatientPosition | None:
    """Position of a (k, j, i) bool mask; None when it is empty or the orientation is unknown.

    geometry: the volume whose grid the mask has. body: see body_frame; the field of view by default.
    """
    if not geometry.orientation_known or not mask.any():
        return None
    points = np.argwhere(mask)[:, ::-1]
    lower, upper = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    half = np.abs(geometry.affine[:3, :3]) @ (upper - lower) / 2
    center = index_to_lps(points.mean(axis=0), geometry.affine)
    return position_in(center, half, body or field_of_view(geometry))


def region_position(
    grid: PlaneGrid,
    affine: Affine,
    box_plane: NDArray[np.int64],
    centroid_plane: NDArray[np.float64],
    body: BodyFrame,
) -> PatientPosition:
    """Position of a region of a plane, from its half-open box (x0, y0, x1, y1) and its centre of mass."""
    center = index_to_lps(grid.index_ijk(centroid_plane), affine)
    return position_in(center, half_extent(grid, affine, box_plane), body)


def half_extent(grid: PlaneGrid, affine: Affine, box_plane: NDArray[np.int64]) -> NDArray[np.float64]:
    """Half the extent along L, P and S in mm of a box in a plane, one slice thick."""
    width, height = box_plane[2] - box_plane[0], box_plane[3] - box_plane[1]
    along_x, along_y = np.abs(grid.step_x_ijk), np.abs(grid.step_y_ijk)
    voxels = width * along_x + height * along_y + (1 - along_x - along_y)
    return np.asarray(np.abs(affine[:3, :3]) @ voxels / 2)


def position_in(center_lps: ArrayLike, half_lps: ArrayLike, body: BodyFrame) -> PatientPosition:
    """Position of what has this centre and these half extents along L, P and S, in mm."""
    center, half = _rounded(center_lps), _rounded(half_lps)
    middle, width, front, back = body.at(float(center[2]))
    left = round(float(center[0]) - middle, _TENTH_MICROMETRE)
    level = _share(float(center[2]), body.bottom, body.top)
    depth = _share(float(center[1]), front, back)
    off = max(MIDLINE_SHARE * width, float(half[0]) / 2)
    return PatientPosition(
        side="midline" if abs(left) <= off else ("left" if left > 0 else "right"),
        crosses_midline=bool(abs(left) < half[0]),
        anterior_posterior=_third(
            depth, ("anterior", "middle", "posterior"), fills=_fills(half[1], front, back)
        ),
        superior_inferior=_third(
            level, ("inferior", "middle", "superior"), fills=_fills(half[2], body.bottom, body.top)
        ),
        level=level,
        midline_mm=abs(left),
        surface_mm=body.depth_mm(center),
        center_lps=(float(center[0]), float(center[1]), float(center[2])),
        reference=body.reference,
    )


def _rounded(values: ArrayLike) -> NDArray[np.float64]:
    """Without the last digits, in which storage orders differ, and without a minus before 0."""
    return np.asarray(np.round(np.asarray(values, np.float64), _TENTH_MICROMETRE) + 0.0, np.float64)


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between low (0) and high (1), kept inside."""
    return min(1.0, max(0.0, round((value - low) / (high - low), 6)))


def _fills(half: float, low: float, high: float) -> bool:
    return bool(2 * half >= high - low - 1e-3)


def _third(share: float, words: tuple[Any, Any, Any], *, fills: bool) -> Any:
    """The word for the third; borders belong to the middle from both sides."""
    if fills:
        return None
    if abs(round(share - 0.5, 6)) <= 0.166667:
        return words[1]
    return words[0] if share < 0.5 else words[2]
