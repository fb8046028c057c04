"""The body that positions in the patient are measured against: its outline, its middle and its surface.

Everything is found on a thinned copy of the image in patient order, so that it does not depend on how
the voxels are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine, closest_patient_axes, index_to_lps, spacing_ijk
from napari_medreason.core.volume import Volume

Reference = Literal["body", "field of view"]

AIR_HU = -300.0
DARK_SHARE = 0.15
"""On images other than CT: what is darker than this share of the usual grey values is air."""
GRID_MM = 4.0
"""The body is found on a grid of at most about this spacing, so outlines and depths are as coarse."""
_SMOOTHING_MM = 50.0
_MINOR_SHARE = 0.2
"""Parts smaller than this share of the largest one (table, hands, noise) do not belong to the body."""
_MINIMUM_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """What positions are measured against, in LPS mm.

    reference: the body as seen on the image, or only the field of view. bottom, top: lowest and highest S.
    levels: (n,) ascending S; at each of them `middle`: L of the midline, `width`: extent along L, `front`
    and `back`: extent along P. depth: (l, p, s), mm to the surface, 0 outside the filled body, with `affine`,
    (l, p, s) to LPS mm; None for a field of view.
    """

    reference: Reference
    bottom: float
    top: float
    levels: NDArray[np.float64]
    middle: NDArray[np.float64]
    width: NDArray[np.float64]
    front: NDArray[np.float64]
    back: NDArray[np.float64]
    depth: NDArray[np.float64] | None = None
    affine: Affine | None = None

    def at(self, level_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """L of the midline, width, front and back at levels S (n,); linear between the known levels."""
        columns = (self.middle, self.width, self.front, self.back)
        return tuple(np.asarray(np.interp(level_s, self.levels, column)) for column in columns)

    def depth_mm(self, points_lps: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Distance of (n, 3) points to the body surface, 0 outside; None for a field of view."""
        if self.depth is None or self.affine is None:
            return None
        index = np.linalg.solve(self.affine[:3, :3], (points_lps - self.affine[:3, 3]).T)
        return np.asarray(scipy.ndimage.map_coordinates(self.depth, index, order=1, mode="nearest"))


def field_of_view(volume: Volume) -> BodyFrame:
    """The outer edges of the grid of a volume, for label maps without an image of the body."""
    upper = np.array(volume.shape_kji[::-1]) - 0.5
    corners = index_to_lps(list(product(*[(-0.5, edge) for edge in upper])), volume.affine)
    low, high = np.round(corners.min(axis=0), 6), np.round(corners.max(axis=0), 6)
    return BodyFrame(
        reference="field of view",
        bottom=float(low[2]),
        top=float(high[2]),
        levels=np.array([(low[2] + high[2]) / 2]),
        middle=np.array([(low[0] + high[0]) / 2]),
        width=np.array([high[0] - low[0]]),
        front=np.array([low[1]]),
        back=np.array([high[1]]),
    )


def body_frame(image: Volume) -> BodyFrame | None:
    """The body on a 3D CT or MR image whose orientation is known.

    What is not air (below -300 HU; on other images below 0.15 of the range between percentiles 0.5 and
    99.5), without thin structures and small parts, filled on each axial slice. None where it is not seen
    whole: nothing stands out from air, or left or right are cut off on most slices.
    """
    thin, affine = thinned(image, GRID_MM)
    solid = scipy.ndimage.binary_opening(np.nan_to_num(thin, nan=-np.inf) > _air_limit(image, thin))
    return body_of_mask(_main_parts(solid), affine)


def body_of_mask(body: NDArray[np.bool_], affine: Affine) -> BodyFrame | None:
    """The frame of a body mask in patient order, (l, p, s) bool, affine (l, p, s) to LPS mm.

    Holes are filled on each axial slice. None when the mask is nearly empty or cut off left or right on
    most slices.
    """
    inside = np.stack([scipy.ndimage.binary_fill_holes(body[:, :, s]) for s in range(body.shape[2])], axis=2)
    if inside.mean() < _MINIMUM_SHARE:
        return None
    seen = inside.any(axis=(0, 1))
    cut_off = (inside[0] | inside[-1]).any(axis=0) & seen
    if 2 * cut_off.sum() > seen.sum():
        return None
    return _frame(inside, affine)


def _frame(inside: NDArray[np.bool_], affine: Affine) -> BodyFrame:
    points = index_to_lps(np.argwhere(inside), affine)
    step = np.abs(affine[:3, :3]).sum(axis=1)
    bottom = float(points[:, 2].min())
    bins = np.rint((points[:, 2] - bottom) / spacing_ijk(affine)[2]).astype(np.int64)
    order = np.argsort(bins, kind="stable")
    bins, points = bins[order], points[order]
    first = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    count = np.diff(np.append(first, bins.size))
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    centre = np.add.reduceat(points, first) / count[:, None]
    reach = 2 * int(_SMOOTHING_MM / spacing_ijk(affine)[2] / 2) + 1
    middle = scipy.ndimage.median_filter(centre[:, 0], reach, mode="nearest")
    return BodyFrame(
        reference="body",
        bottom=bottom - step[2] / 2,
        top=float(points[:, 2].max() + step[2] / 2),
        levels=centre[:, 2],
        middle=middle,
        width=high[:, 0] - low[:, 0] + step[0],
        front=low[:, 1] - step[1] / 2,
        back=high[:, 1] + step[1] / 2,
        depth=scipy.ndimage.distance_transform_edt(inside, sampling=spacing_ijk(affine)),
        affine=affine,
    )


def _air_limit(image: Volume, values: NDArray[np.float32]) -> float:
    if image.modality == "CT" and image.calibrated:
        return AIR_HU
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 0.0)
    return float(low + DARK_SHARE * (high - low))


def _main_parts(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = scipy.ndimage.label(solid)
    if count == 0:
        return solid
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _MINOR_SHARE * sizes.max())[parts] & solid)


def thinned(volume: Volume, grid_mm: float) -> tuple[NDArray[np.float32], Affine]:
    """A 3D volume in patient order, (l, p, s), thinned to at most about `grid_mm`, and its affine to LPS mm.

    Samples lie in mirror image about the middle of the volume, so that neither the storage order nor a
    mirrored patient shifts them.
    """
    axes = closest_patient_axes(volume.affine)
    voxel_axes = [axes.index(patient_axis) for patient_axis in range(3)]
    view = volume.voxels.transpose(2, 1, 0).transpose(voxel_axes)
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, voxel_axes]
    affine[:3, 3] = volume.affine[:3, 3]
    for axis in (2, 1, 0):
        if affine[axis, axis] < 0:
            view = np.flip(view, axis)
            affine[:3, 3] += affine[:3, axis] * (view.shape[axis] - 1)
            affine[:3, axis] *= -1
        step = _even_step(grid_mm / float(np.linalg.norm(affine[:3, axis])))
        view, offset = _every(view, axis, step)
        affine[:3, 3] += affine[:3, axis] * offset
        affine[:3, axis] *= step
    return np.asarray(view, np.float32), np.round(affine, 9)


def _even_step(ratio: float) -> int:
    return max(1, 2 * int(ratio / 2))


def _every(view: NDArray[np.generic], axis: int, step: int) -> tuple[NDArray[np.generic], float]:
    """Every step-th value, centred; the mean of two neighbours where the middle lies between them."""
    if step == 1:
        return view, 0.0
    between = view.shape[axis] % 2 == 0
    count = view.shape[axis] - int(between)
    first = ((count - 1) % step) // 2
    values = np.moveaxis(view, axis, 0)
    taken = values[first:count:step].astype(np.float32)
    if between:
        taken += values[first + 1 :: step][: len(taken)].astype(np.float32)
        taken /= 2
    return np.moveaxis(taken, 0, axis), first + 0.5 * between
