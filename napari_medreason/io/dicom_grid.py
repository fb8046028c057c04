"""From the frames of one stack to a grid: order of slices, repeats in time, affine, and what is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine
from napari_medreason.core.regrid import SHEARED
from napari_medreason.io.base import counted
from napari_medreason.io.dicom_headers import FrameHeader

_SAME_POSITION_MM = 0.01
_TILT_DEGREES = 0.5
_EVEN_SHARE = 0.05
"""Slices count as evenly spaced while none lies further than this share of the step from its place."""

NO_POSITION = (
    "The images do not say where they lie in the patient (no position or orientation); they are in the "
    "order of their instance numbers, left and right can't be told, and no patient words are given."
)
NO_SPACING = "The images do not give a pixel size; distances, sizes and areas in mm can't be trusted."
AT_DETECTOR = (
    "The pixel size is that at the detector; structures in the patient are smaller than shown in mm."
)
ONE_SLICE = "There is one slice only; its thickness in mm is {thickness}."
TILT = (
    "The slices are stacked at a tilt of {degrees:.1f} degrees (as with a tilted CT gantry); positions are "
    f"right, but {SHEARED}."
)
GAPS = (
    "{slices} to be missing between others; across slices, distances and positions are wrong by "
    "up to {error:.1f} mm."
)
UNEVEN = (
    "The slices are not evenly spaced (steps from {least:.2f} to {most:.2f} mm); across slices, distances "
    "and positions are wrong by up to {error:.1f} mm."
)
COPIES = "{images} there twice; one copy of each is used."
INCOMPLETE = "Not every slice position has the same number of images; {images} left out, {repeats} kept."
MIXED_FRAMES = (
    "The repeated images differ in echo time, time or diffusion weighting, and their order does not "
    "keep these apart; one frame may mix them."
)
TIME_FRAMES = "The images of this file have no position; they are taken as frames in time."

SHIFTED = (
    "The images are shifted against each other within their planes; positions are wrong by up to "
    "{error:.1f} mm."
)


@dataclass(frozen=True, eq=False)
class Grid:
    """frames[frame][k]: the image at slice k. affine: (4, 4), voxel (i, j, k) to LPS mm."""

    frames: tuple[tuple[FrameHeader, ...], ...]
    affine: Affine
    orientation_known: bool
    calibrated: bool
    warnings: tuple[str, ...]


def arrange(images: Sequence[FrameHeader]) -> Grid:
    """Order the images of one stack; all have one shape, spacing and orientation.

    Slices go by increasing position along row x column (DICOM PS3.3 C.7.6.2.1.1); images at one
    position become frames. The slice step of the affine is that of the positions themselves, never
    a thickness, so a tilted stack keeps its shear.
    """
    unique, warnings = _without_copies(images)
    first = unique[0]
    known = first.position_lps is not None and first.orientation is not None
    if known:
        frames, order_warnings = _by_position(unique)
    else:
        frames, order_warnings = _by_number(unique)
    affine, affine_warnings = _affine(frames, known=known)
    spacing_warnings = _spacing_warnings(first)
    return Grid(
        frames=frames,
        affine=affine,
        orientation_known=known,
        calibrated=first.pixel_spacing is not None,
        warnings=(*warnings, *order_warnings, *affine_warnings, *spacing_warnings),
    )


def _without_copies(images: Sequence[FrameHeader]) -> tuple[list[FrameHeader], list[str]]:
    # The UID alone is not enough: some anonymisers give every file the same one.
    seen: dict[tuple[object, ...], FrameHeader] = {}
    for number, image in enumerate(sorted(images, key=lambda entry: (str(entry.path), entry.frame_index))):
        uid = image.instance_uid or f"image {number}"
        place = (image.frame_index, image.position_lps, image.repeat, image.order)
        seen.setdefault((uid, *place), image)
    copies = len(images) - len(seen)
    said = COPIES.format(images=counted(copies, "image is", "images are"))
    return list(seen.values()), [said] if copies else []


def _by_number(images: list[FrameHeader]) -> tuple[tuple[tuple[FrameHeader, ...], ...], list[str]]:
    ordered = sorted(images, key=lambda image: (image.order[2], image.frame_index))
    if len(ordered) > 1 and len({image.path for image in ordered}) == 1:
        return tuple((image,) for image in ordered), [NO_POSITION, TIME_FRAMES]
    return (tuple(ordered),), [NO_POSITION]


def _by_position(images: list[FrameHeader]) -> tuple[tuple[tuple[FrameHeader, ...], ...], list[str]]:
    """Frames of slices, by position along the normal, and warnings about repeats."""
    groups = _positions(images)
    repeats = min(len(group) for group in groups)
    frames = _frames(groups, repeats, lambda image: image.order)
    warnings = []
    if left_out := len(images) - repeats * len(groups):
        further = counted(left_out, "further image is", "further images are")
        kept = counted(repeats, "per position is", "per position are")
        warnings.append(INCOMPLETE.format(images=further, repeats=kept))
    if repeats > 1 and _mixed(frames):
        frames = _frames(groups, repeats, lambda image: (*image.repeat, *image.order))
        warnings += [MIXED_FRAMES] if _mixed(frames) else []
    return frames, warnings


def _frames(
    groups: list[list[FrameHeader]], repeats: int, key: Callable[[FrameHeader], tuple[float, ...]]
) -> tuple[tuple[FrameHeader, ...], ...]:
    ordered = [sorted(group, key=key)[:repeats] for group in groups]
    return tuple(tuple(group[n] for group in ordered) for n in range(repeats))


def _mixed(frames: tuple[tuple[FrameHeader, ...], ...]) -> bool:
    """Whether images of one frame differ in echo time, temporal position or b-value."""
    return any(len({image.repeat for image in frame}) > 1 for frame in frames)


def _positions(images: list[FrameHeader]) -> list[list[FrameHeader]]:
    """Images grouped by position along the normal, in increasing order."""
    normal = image_directions(images[0])[2]
    distances = np.array([image.position_lps for image in images], np.float64) @ normal
    nominal = images[0].slice_distance
    tolerance = min(_SAME_POSITION_MM, 0.1 * nominal) if nominal else _SAME_POSITION_MM
    order = np.argsort(distances, kind="stable")
    starts = np.flatnonzero(np.diff(distances[order]) > tolerance) + 1
    return [[images[n] for n in part] for part in np.split(order, starts)]


def image_directions(image: FrameHeader) -> NDArray[np.float64]:
    """(3, 3): unit vectors along a row, down a column, and row x column, in LPS."""
    row, column = np.array(image.orientation, np.float64).reshape(2, 3)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def _affine(frames: tuple[tuple[FrameHeader, ...], ...], *, known: bool) -> tuple[Affine, list[str]]:
    first = frames[0][0]
    affine = np.eye(4)
    row_spacing, column_spacing = first.pixel_spacing or (1.0, 1.0)
    if not known:
        affine[:3, :3] = np.diag([column_spacing, row_spacing, first.slice_distance or 1.0])
        return affine, []
    directions = image_directions(first)
    affine[:3, 0] = directions[0] * column_spacing
    affine[:3, 1] = directions[1] * row_spacing
    affine[:3, 3] = first.position_lps
    if len(frames[0]) == 1:
        affine[:3, 2] = directions[2] * (first.slice_distance or 1.0)
        thickness = (
            f"{first.slice_distance:g}, as stated" if first.slice_distance else "not given and set to 1"
        )
        return affine, [ONE_SLICE.format(thickness=thickness)]
    positions = np.array([[image.position_lps for image in frame] for frame in frames], np.float64)
    affine[:3, 2] = (positions[0, -1] - positions[0, 0]) / (positions.shape[1] - 1)
    return affine, _step_warnings(positions, affine, directions[2])


def _step_warnings(positions: NDArray[np.float64], affine: Affine, normal: NDArray[np.float64]) -> list[str]:
    """positions: (frame, k, 3) in LPS mm, compared with where the affine puts them."""
    step = affine[:3, 2]
    length = float(np.linalg.norm(step))
    warnings = []
    degrees = float(np.degrees(np.arccos(np.clip(step @ normal / length, -1, 1))))
    if degrees > _TILT_DEGREES:
        warnings.append(TILT.format(degrees=degrees))
    ideal = affine[:3, 3] + np.arange(positions.shape[1])[:, np.newaxis] * step
    error = float(np.linalg.norm(positions - ideal, axis=-1).max())
    if error > max(_EVEN_SHARE * length, _SAME_POSITION_MM):
        warnings.append(_uneven(np.diff(positions[0] @ normal), error))
    return warnings


def _uneven(steps: NDArray[np.float64], error: float) -> str:
    least = float(steps.min())
    multiples = steps / least
    if np.abs(multiples - np.round(multiples)).max() < 0.05 and multiples.max() > 1.5:
        missing = int(np.round(multiples - 1).sum())
        return GAPS.format(slices=counted(missing, "slice seems", "slices seem"), error=error)
    if np.ptp(steps) <= _EVEN_SHARE * least:
        return SHIFTED.format(error=error)
    return UNEVEN.format(least=least, most=float(steps.max()), error=error)


def _spacing_warnings(image: FrameHeader) -> list[str]:
    if image.pixel_spacing is None:
        return [NO_SPACING]
    return [AT_DETECTOR] if image.at_detector else []
