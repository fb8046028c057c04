"""NRRD geometry: which axes lie in space, in which patient directions, and their way to LPS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine, checked_affine
from napari_medreason.errors import UnreadableImageError

_LPS_FROM_SPACE = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Signs that turn a space of the patient into LPS; other spaces say nothing about the patient."""
_TIME = ("-time", "t")
_SPATIAL_KINDS = ("domain", "space", "???", "none")
_FRAME_KINDS = ("list", "time", "vector", "point", "scalar", "stub", "domain", "none", "???")
_MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "meter": 1000.0, "um": 1e-3}

NO_SPACE = (
    "The NRRD header does not say how the image lies in the patient (no left, posterior or superior in its "
    "space); left and right can't be told, and no patient words are given."
)
ONE_SLICE = "The image is flat; its thickness is not given and set to 1 mm."


@dataclass(frozen=True)
class Axes:
    """Axes of the file, 0 the fastest: two or three in space, and at most one of frames."""

    spatial: tuple[int, ...]
    frames: int | None


@dataclass(frozen=True, eq=False)
class NrrdGeometry:
    """affine: (4, 4), voxel (i, j, k) to LPS mm."""

    affine: Affine
    orientation_known: bool
    warnings: tuple[str, ...]


def axes_of(header: Mapping[str, Any], name: str) -> Axes:
    """Which axes lie in space: those with a direction, else those whose kind says so, else the first three.

    UnreadableImageError for colours, and unless two or three are in space and at most one is not.
    """
    sizes = [int(size) for size in header["sizes"]]
    kinds = [str(kind).lower() for kind in header.get("kinds", ())] or ["none"] * len(sizes)
    directions = _directions(header)
    if directions is not None and len(directions) == len(sizes):
        spatial = [axis for axis, vector in enumerate(directions) if np.isfinite(vector).all()]
    else:
        spatial = [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS][:3]
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] > 1]
    single = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] == 1]
    if len(kinds) != len(sizes) or any(kinds[axis] not in _FRAME_KINDS for axis in others):
        raise UnreadableImageError(f"{name} holds colours, vectors or matrices; grey values are accepted")
    if not 2 <= len(spatial) <= 3 or len(others) > 1:
        raise UnreadableImageError(
            f"{name} has sizes {sizes}, {len(spatial)} of them in space; 3D, or 4D with one axis of frames, "
            "is accepted"
        )
    frames = [*others, *single]
    return Axes(tuple(spatial), frames[0] if frames else None)


def geometry(header: Mapping[str, Any], axes: Axes, name: str) -> NrrdGeometry:
    """The affine of "space directions" and "space origin", or of "spacings" with unknown orientation."""
    warnings: list[str] = [] if len(axes.spatial) == 3 else [ONE_SLICE]
    directions = _directions(header)
    signs = _signs(str(header.get("space", "")))
    if directions is None:
        affine = _with_columns(np.diag(_spacings(header, axes)), np.zeros(3))
        signs = None
    else:
        columns = np.array([directions[axis] for axis in axes.spatial])[:, :3]
        origin = np.zeros(3)
        stated = np.asarray(header.get("space origin", ()), np.float64)[:3]
        if stated.shape == (3,) and np.isfinite(stated).all():
            origin = stated
        scale = np.array(signs or (1.0, 1.0, 1.0)) * _unit(header)
        affine = _with_columns(columns * scale, origin * scale)
    try:
        checked = checked_affine(affine)
    except ValueError as error:
        raise UnreadableImageError(
            f"{name}: the space directions of the NRRD header are not finite or not invertible; correct them"
        ) from error
    return NrrdGeometry(checked, signs is not None, (*warnings, *([] if signs is not None else [NO_SPACE])))


def _directions(header: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """(axis, 3 or 4); rows of NaN for axes without a direction; None when none is usable."""
    stated = header.get("space directions")
    if stated is None:
        return None
    rows = np.array([np.full(3, np.nan) if row is None else row for row in stated], np.float64)
    return rows if rows.ndim == 2 and rows.shape[1] in (3, 4) else None


def _signs(space: str) -> tuple[float, float, float] | None:
    words = space.strip().lower()
    for suffix in ("", *_TIME):
        found = _LPS_FROM_SPACE.get(words.removesuffix(suffix)) if words.endswith(suffix) else None
        if found is not None:
            return found
    return None


def _unit(header: Mapping[str, Any]) -> float:
    """Millimetres in the unit of the space; mm where none is given."""
    units = [str(unit).strip().strip('"').lower() for unit in header.get("space units", ())]
    return _MM.get(units[0], 1.0) if units else 1.0


def _spacings(header: Mapping[str, Any], axes: Axes) -> list[float]:
    stated = np.asarray(header.get("spacings", ()), np.float64)
    found = [float(stated[axis]) if axis < stated.size else 1.0 for axis in axes.spatial]
    return [abs(size) if np.isfinite(size) and size else 1.0 for size in found] + [1.0] * (3 - len(found))


def _with_columns(rows: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine whose columns are these two or three directions; a missing third is their normal."""
    affine = np.eye(4)
    if len(rows) == 2:
        normal = np.cross(rows[0], rows[1])
        rows = np.vstack([rows, normal / max(float(np.linalg.norm(normal)), 1e-12)])
    affine[:3, :3], affine[:3, 3] = rows.T, origin
    return affine
