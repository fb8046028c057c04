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
from napari_medreason.core.geometry import index_to_lps
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
_Floats = NDArray[np.float64]


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


def position_in(center_lps: ArrayLike, half_lps: ArrayLike, body: BodyFrame) -> PatientPosition:
    """Position of what has this centre and these half extents along L, P and S, in mm."""
    return positions_in(np.array([center_lps]), np.array([half_lps]), body)[0]


def positions_in(centers_lps: ArrayLike, halves_lps: ArrayLike, body: BodyFrame) -> list[PatientPosition]:
    """Positions of many at once: (n, 3) centres and half extents along L, P and S, in mm."""
    centers, halves = _rounded(centers_lps), _rounded(halves_lps)
    middle, width, front, back = body.at(centers[:, 2])
    left = _rounded(centers[:, 0] - middle)
    off = np.maximum(MIDLINE_SHARE * width, halves[:, 0] / 2)
    side = np.where(np.abs(left) <= off, "midline", np.where(left > 0, "left", "right"))
    depth, level = _shares(centers[:, 1], front, back), _shares(centers[:, 2], body.bottom, body.top)
    surface = body.depth_mm(centers)
    columns: tuple[list[Any], ...] = (
        side.tolist(),
        (np.abs(left) < halves[:, 0]).tolist(),
        _thirds(depth, ("anterior", "middle", "posterior"), fills=_fills(halves[:, 1], back - front)),
        _thirds(
            level, ("inferior", "middle", "superior"), fills=_fills(halves[:, 2], body.top - body.bottom)
        ),
        level.tolist(),
        np.abs(left).tolist(),
        [None] * len(centers) if surface is None else surface.tolist(),
        [tuple(center) for center in centers.tolist()],
        [body.reference] * len(centers),
    )
    return [PatientPosition(*values) for values in zip(*columns, strict=True)]


def _rounded(values: ArrayLike) -> NDArray[np.float64]:
    """Without the last digits, in which storage orders differ, and without a minus before 0."""
    return np.asarray(np.round(np.asarray(values, np.float64), _TENTH_MICROMETRE) + 0.0, np.float64)


def _shares(values: _Floats, low: _Floats | float, high: _Floats | float) -> _Floats:
    """Where values lie between low (0) and high (1), kept inside."""
    shares = (values - low) / (high - low)
    return np.asarray(np.clip(np.round(shares, 6), 0.0, 1.0), np.float64)


def _fills(halves: _Floats, extents: _Floats | float) -> NDArray[np.bool_]:
    return np.asarray(2 * halves >= extents - 1e-3)


def _thirds(
    shares: NDArray[np.float64], words: tuple[str, str, str], *, fills: NDArray[np.bool_]
) -> list[Any]:
    """The word for the third, None where all is filled; borders belong to the middle from both sides."""
    central = np.abs(np.round(shares - 0.5, 6)) <= 0.166667
    third = np.where(central, 1, np.where(shares < 0.5, 0, 2))
    return [None if full else words[n] for full, n in zip(fills.tolist(), third.tolist(), strict=True)]
