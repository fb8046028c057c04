"""Result planes: native slices in radiological orientation, and the exact map back to voxels.

A plane is a slice of the grid after axis flips and a transposition, never resampled. Axial: x
grows to the patient's left, y to posterior; coronal: x left, y inferior; sagittal: x posterior,
y inferior; as stored when the orientation is unknown. Points are (x, y) = (column, row) with pixel
centres at integers; a box is (x0, y0, x1, y1), half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.geometry import (
    OPPOSITE,
    Affine,
    axis_directions,
    closest_patient_axes,
    index_to_lps,
    spacing_ijk,
)
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import QuestionError

Axis = Literal["axial", "coronal", "sagittal"]
AXES: tuple[Axis, ...] = get_args(Axis)
Point = tuple[float, float]
Box = tuple[float, float, float, float]

_RADIOLOGICAL: dict[Axis, tuple[str, str]] = {
    "axial": ("L", "P"),
    "coronal": ("L", "I"),
    "sagittal": ("P", "I"),
}
_NORMAL_PATIENT_AXIS: dict[Axis, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
_STORED_AXES: dict[Axis, tuple[int, int, int]] = {
    "axial": (0, 1, 2),
    "coronal": (0, 2, 1),
    "sagittal": (1, 2, 0),
}


@dataclass(frozen=True)
class PlaneGrid:
    """Where the pixels of a plane lie in the grid: pixel (x, y) is voxel `origin + x*step_x + y*step_y`.

    axis, index: which plane, and its 0-based index along the voxel axis closest to its normal.
    origin_ijk, step_x_ijk, step_y_ijk: integers; each step has one entry of +1 or -1.
    shape: (rows, columns). spacing: (between rows, between columns) in mm.
    orientation: patient directions of growing x and y, None when unknown.
    slice_count: number of such planes in the grid; slice_spacing: their distance in mm.
    """

    axis: Axis
    index: int
    origin_ijk: tuple[int, int, int]
    step_x_ijk: tuple[int, int, int]
    step_y_ijk: tuple[int, int, int]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    orientation: tuple[str, str] | None
    slice_count: int = 1
    slice_spacing: float = 1.0

    def index_ijk(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) plane points (x, y) to (..., 3) voxel indices (i, j, k)."""
        steps = np.array([self.step_x_ijk, self.step_y_ijk], dtype=np.float64)
        return np.asarray(np.asarray(points, np.float64) @ steps + np.array(self.origin_ijk, np.float64))

    def points_plane(self, points_ijk: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) voxel indices (i, j, k) to (..., 2) plane points (x, y), along the normal."""
        steps = np.array([self.step_x_ijk, self.step_y_ijk], dtype=np.float64)
        return np.asarray((np.asarray(points_ijk, np.float64) - np.array(self.origin_ijk)) @ steps.T)

    def take(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """The plane's (rows, columns) view of a (k, j, i) array."""
        axis_x, axis_y = _axis_of(self.step_x_ijk), _axis_of(self.step_y_ijk)
        ijk = voxels.transpose(2, 1, 0)
        normal = 3 - axis_x - axis_y
        # Not np.take: it copies the whole volume when its memory order is another.
        at: list[slice | int] = [slice(None)] * 3
        at[normal] = self.origin_ijk[normal]
        flat: NDArray[np.generic] = ijk[tuple(at)].copy()
        image = flat if axis_y < axis_x else flat.T
        flip_y = slice(None, None, int(sum(self.step_y_ijk)))
        flip_x = slice(None, None, int(sum(self.step_x_ijk)))
        return image[flip_y, flip_x]

    def put(self, mask: NDArray[np.generic], voxels: NDArray[np.generic]) -> None:
        """Write a (rows, columns) mask into a (k, j, i) array, in place; the inverse of `take`."""
        rows, columns = np.indices(self.shape)
        ijk = self.index_ijk(np.stack([columns, rows], axis=-1)).astype(np.intp)
        voxels[ijk[..., 2], ijk[..., 1], ijk[..., 0]] = mask


@dataclass(frozen=True, eq=False)
class Plane:
    """One 2D cut of a Volume.

    image: (rows, columns) float32, native grey values (HU for calibrated CT).
    affine: (4, 4) of the volume, (i, j, k) to LPS mm. window: what the user sees.
    """

    image: NDArray[np.float32]
    grid: PlaneGrid
    affine: Affine
    window: Window
    modality: str = ""
    calibrated: bool = True

    def point_lps(self, point: Point) -> tuple[float, float, float]:
        """Patient position in LPS mm of plane point (x, y); QuestionError when orientation is unknown."""
        if self.grid.orientation is None:
            raise QuestionError("the orientation of this image is unknown, so it has no patient position")
        x, y, z = index_to_lps(self.grid.index_ijk(np.array(point)), self.affine)
        return float(x), float(y), float(z)


def _axis_of(step: tuple[int, int, int]) -> int:
    return int(np.flatnonzero(step)[0])


def plane_axes(volume: Volume, axis: Axis) -> tuple[int, int, int]:
    """Voxel axes (0 = i, 1 = j, 2 = k) that run along x, y and the normal of a result plane."""
    if not volume.orientation_known:
        return _STORED_AXES[axis]
    patient = closest_patient_axes(volume.affine)
    along = {patient_axis: voxel_axis for voxel_axis, patient_axis in enumerate(patient)}
    normal = along[_NORMAL_PATIENT_AXIS[axis]]
    x_letter = _RADIOLOGICAL[axis][0]
    axis_x = along[0 if x_letter == "L" else 1]
    return axis_x, 3 - axis_x - normal, normal


def slice_count(volume: Volume, axis: Axis) -> int:
    """Number of slices of the grid along the voxel axis closest to the plane's normal."""
    return volume.shape_kji[2 - plane_axes(volume, axis)[2]]


def plane_grid(volume: Volume, axis: Axis, index: int) -> PlaneGrid:
    """Where result plane `index` of the volume lies; QuestionError when the index is outside."""
    axis_x, axis_y, normal = plane_axes(volume, axis)
    sizes = volume.shape_kji[::-1]
    if not 0 <= index < sizes[normal]:
        raise QuestionError(f"{axis} slice {index} was asked; this study has slices 0 to {sizes[normal] - 1}")
    signs = (1, 1)
    if volume.orientation_known:
        letters = axis_directions(volume.affine)
        wanted = _RADIOLOGICAL[axis]
        signs = (
            -1 if letters[axis_x] == OPPOSITE[wanted[0]] else 1,
            -1 if letters[axis_y] == OPPOSITE[wanted[1]] else 1,
        )
    origin, step_x, step_y = [0, 0, 0], [0, 0, 0], [0, 0, 0]
    origin[normal] = index
    for voxel_axis, sign, step in ((axis_x, signs[0], step_x), (axis_y, signs[1], step_y)):
        step[voxel_axis] = sign
        origin[voxel_axis] = 0 if sign > 0 else sizes[voxel_axis] - 1
    spacing = spacing_ijk(volume.affine)
    return PlaneGrid(
        axis=axis,
        index=index,
        origin_ijk=(origin[0], origin[1], origin[2]),
        step_x_ijk=(step_x[0], step_x[1], step_x[2]),
        step_y_ijk=(step_y[0], step_y[1], step_y[2]),
        shape=(sizes[axis_y], sizes[axis_x]),
        spacing=(spacing[axis_y], spacing[axis_x]),
        orientation=_RADIOLOGICAL[axis] if volume.orientation_known else None,
        slice_count=sizes[normal],
        slice_spacing=spacing[normal],
    )


def plane_stack(voxels: NDArray[np.generic], geometry: Volume, axis: Axis) -> NDArray[np.generic]:
    """All result planes of a (k, j, i) array as a (slice, row, column) view, by ascending index.

    geometry: the volume whose grid the array has.
    """
    grid = plane_grid(geometry, axis, 0)
    axis_x, axis_y = _axis_of(grid.step_x_ijk), _axis_of(grid.step_y_ijk)
    normal = 3 - axis_x - axis_y
    flip_y, flip_x = slice(None, None, sum(grid.step_y_ijk)), slice(None, None, sum(grid.step_x_ijk))
    return voxels.transpose(2 - normal, 2 - axis_y, 2 - axis_x)[:, flip_y, flip_x]


def cut(volume: Volume, axis: Axis, index: int, window: Window) -> Plane:
    """The result plane `index` of a 3D volume, copied, so that it stays valid when the volume goes."""
    if volume.voxels.ndim != 3:
        raise QuestionError("a plane is cut from one frame of a 4D study; choose a frame first")
    grid = plane_grid(volume, axis, index)
    image = np.array(grid.take(volume.voxels), dtype=np.float32, order="C")
    if not np.isfinite(image).any():
        raise QuestionError(
            f"{axis} slice {index} holds no finite value (only NaN or infinity); choose another slice"
        )
    return Plane(image, grid, volume.affine, window, volume.modality, volume.calibrated)
