"""Affines, orientation letters and axis order.

An affine here is a (4, 4) float array that maps voxel indices (i, j, k) to patient space in LPS
millimetres: +x to the patient's left, +y to posterior, +z to superior (DICOM PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Affine = NDArray[np.float64]

LPS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}

RAS_FROM_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS into RAS and back; used at the `io` border only."""


def spacing_ijk(affine: Affine) -> tuple[float, float, float]:
    """Distance in mm between neighbouring voxels along i, j and k."""
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def index_to_lps(points_ijk: ArrayLike, affine: Affine) -> NDArray[np.float64]:
    """Map (..., 3) voxel indices (i, j, k) to (..., 3) LPS points in mm."""
    points = np.asarray(points_ijk, dtype=np.float64)
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def lps_to_index(points_lps: ArrayLike, affine: Affine) -> NDArray[np.float64]:
    """Map (..., 3) LPS points in mm to (..., 3) fractional voxel indices (i, j, k)."""
    inverse = np.linalg.inv(affine).astype(np.float64)
    return index_to_lps(points_lps, inverse)


def closest_patient_axes(affine: Affine) -> tuple[int, int, int]:
    """For voxel axes i, j, k: the patient axis (0 = L, 1 = P, 2 = S) that each runs closest to.

    All six assignments are compared by the sum of absolute direction cosines, so the result is
    a permutation also for strongly oblique grids.
    """
    cosines = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda axes: sum(cosines[axes[n], n] for n in range(3)))
    return best[0], best[1], best[2]


def axis_directions(affine: Affine) -> tuple[str, str, str]:
    """Letters of the patient directions in which i, j and k grow, such as ("L", "P", "S")."""
    axes = closest_patient_axes(affine)
    letters = [LPS_LETTERS[axes[n]][int(affine[axes[n], n] > 0)] for n in range(3)]
    return letters[0], letters[1], letters[2]


def direction_letters(direction_lps: ArrayLike) -> str:
    """Letters of a direction in the patient: the closest axis, and a second one for a slanting direction.

    A second letter is given where the direction is nearer to the diagonal than to the axis (more than
    22.5 degrees off), so that slanted planes read like a compass: "L", "LA", "A". Empty for no direction.
    """
    direction = np.asarray(direction_lps, dtype=np.float64)
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length == 0:
        return ""
    cosines = direction / length
    order = np.argsort(-np.abs(cosines), kind="stable")[:2]
    letters = [LPS_LETTERS[axis][int(cosines[axis] > 0)] for axis in order]
    slanting = abs(cosines[order[1]]) > abs(cosines[order[0]]) * np.tan(np.pi / 8)
    return "".join(letters) if slanting else letters[0]


def opposite_letters(letters: str) -> str:
    """Letters of the opposite direction: "LA" gives "RP"."""
    return "".join(OPPOSITE[letter] for letter in letters)


def is_oblique(affine: Affine, tolerance_degrees: float = 0.5) -> bool:
    """Whether any voxel axis is more than the tolerance away from its closest patient axis."""
    cosines = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    aligned = min(cosines[axis, n] for n, axis in enumerate(closest_patient_axes(affine)))
    return bool(aligned < np.cos(np.deg2rad(tolerance_degrees)))


def checked_affine(affine: ArrayLike) -> Affine:
    """A float64 copy of a (4, 4) affine; ValueError when it has another shape or can't be inverted."""
    checked = np.array(affine, dtype=np.float64)
    if checked.shape != (4, 4):
        raise ValueError(f"an affine is 4x4, got {checked.shape}")
    if not np.isfinite(checked).all() or abs(np.linalg.det(checked[:3, :3])) < 1e-12:
        raise ValueError("the affine is not finite or can't be inverted")
    return checked
