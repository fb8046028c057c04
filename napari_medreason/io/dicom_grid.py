"""From the frames of one stack to a grid: order of slices, repeats in time, affine, and what is doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import and_

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.geometry import Affine
from napari_medreason.io.base import counted
from napari_medreason.io.dicom_affine import SAME_POSITION_MM, image_directions, placed
from napari_medreason.io.dicom_frame import FrameHeader

Frames = tuple[tuple[FrameHeader, ...], ...]

NO_POSITION = Caution(
    "The images do not say where they lie in the patient (no position or orientation); they are in the "
    "order of their instance numbers, left and right can't be told, and no patient words are given.",
    "orientation",
)
BY_NUMBER = Caution(
    "Without positions the slices are in the order of their instance numbers, which may not be that in the "
    "patient; distances across slices can't be trusted.",
    "order",
)
COPIES = "{images} there twice; one copy of each is used."
INCOMPLETE = "Not every slice position has the same number of images; {images} left out, {repeats} kept."
MIXED_FRAMES = Caution(
    "The repeated images differ in echo time, time or diffusion weighting, and their order does not "
    "keep these apart; one frame may mix them.",
    "order",
)
TIME_FRAMES = Caution("The images of this file have no position; they are taken as frames in time.", "order")
INDISTINCT = Caution(
    "The headers do not tell the repeated images apart (same number, same time); which of them makes which "
    "frame is a guess.",
    "order",
)


@dataclass(frozen=True, eq=False)
class Grid:
    """frames[frame][k]: the image at slice k. affine: (4, 4), voxel (i, j, k) to LPS mm.

    slice_positions: (k, 3) LPS mm where slices do not lie as the affine says, else None. indistinct:
    the headers do not tell the frames apart, so they may be copies of each other.
    """

    frames: Frames
    affine: Affine
    orientation_known: bool
    calibrated: bool
    warnings: tuple[Caution, ...]
    slice_positions: NDArray[np.float64] | None = None
    indistinct: bool = False


def arrange(images: Sequence[FrameHeader]) -> Grid:
    """Order the images of one stack; all have one shape, spacing and orientation.

    Slices go by increasing position along row x column (DICOM PS3.3 C.7.6.2.1.1); images at one
    position become frames. For the affine see `dicom_affine.placed`.
    """
    unique, copies = _without_copies(images)
    first = unique[0]
    known = first.position_lps is not None and first.orientation is not None
    frames, order_warnings = _by_position(unique) if known else _by_number(unique)
    place = placed(frames, known=known)
    return Grid(
        frames=frames,
        affine=place.affine,
        orientation_known=known,
        calibrated=first.pixel_spacing is not None,
        warnings=(*copies, *order_warnings, *place.warnings),
        slice_positions=place.slice_positions,
        indistinct=known and _indistinct(frames),
    )


def _without_copies(images: Sequence[FrameHeader]) -> tuple[list[FrameHeader], list[Caution]]:
    # The UID alone is not enough: some anonymisers give every file the same one.
    seen: dict[tuple[object, ...], FrameHeader] = {}
    for number, image in enumerate(sorted(images, key=lambda entry: (str(entry.path), entry.frame_index))):
        uid = image.instance_uid or f"image {number}"
        place = (image.frame_index, image.position_lps, image.repeat, image.order)
        seen.setdefault((uid, *place), image)
    copies = len(images) - len(seen)
    return list(seen.values()), [copies_caution(copies)] if copies else []


def copies_caution(count: int) -> Caution:
    """What is said about images that are there twice."""
    return Caution(COPIES.format(images=counted(count, "image is", "images are")), "duplicates")


def _by_number(images: list[FrameHeader]) -> tuple[Frames, list[Caution]]:
    ordered = sorted(images, key=lambda image: (image.number, image.frame_index))
    if len(ordered) > 1 and len({image.path for image in ordered}) == 1:
        return tuple((image,) for image in ordered), [NO_POSITION, TIME_FRAMES]
    return (tuple(ordered),), [NO_POSITION, BY_NUMBER] if len(ordered) > 1 else [NO_POSITION]


def _by_position(images: list[FrameHeader]) -> tuple[Frames, list[Caution]]:
    """Frames of slices, by position along the normal, and warnings about repeats."""
    groups = _positions(images)
    repeats = min(len(group) for group in groups)
    frames = _frames(groups, repeats, lambda image: image.order)
    warnings = []
    if repeats > 1 and _mixed(frames):
        frames = _by_common_repeats(groups, repeats) or frames
        warnings += [MIXED_FRAMES] if _mixed(frames) else []
    if left_out := len(images) - len(frames) * len(groups):
        further = counted(left_out, "further image is", "further images are")
        kept = counted(len(frames), "per position is", "per position are")
        warnings.insert(0, Caution(INCOMPLETE.format(images=further, repeats=kept), "duplicates"))
    return frames, warnings


def _frames(
    groups: list[list[FrameHeader]], repeats: int, key: Callable[[FrameHeader], tuple[float, ...]]
) -> Frames:
    ordered = [sorted(group, key=key)[:repeats] for group in groups]
    return tuple(tuple(group[n] for group in ordered) for n in range(repeats))


def _by_common_repeats(groups: list[list[FrameHeader]], repeats: int) -> Frames | None:
    """Frames by echo, time and b-value, of those that every position has; None where that is not enough."""
    common = reduce(and_, (Counter(image.repeat for image in group) for group in groups))
    if common.total() < repeats:
        return None
    rows = []
    for group in groups:
        left = Counter(common)
        ordered = sorted(group, key=lambda image: (*image.repeat, *image.order))
        rows.append([image for image in ordered if _taken(left, image.repeat)])
    return tuple(tuple(row[n] for row in rows) for n in range(common.total()))


def _taken(left: Counter[tuple[float, ...]], repeat: tuple[float, ...]) -> bool:
    left[repeat] -= 1
    return left[repeat] >= 0


def _mixed(frames: Frames) -> bool:
    """Whether images of one frame differ in echo time, temporal position or b-value."""
    return any(len({image.repeat for image in frame}) > 1 for frame in frames)


def _indistinct(frames: Frames) -> bool:
    """Whether every image has a neighbour in time with the same number, time, echo and b-value."""
    return any(
        all(a.repeat == b.repeat and a.order == b.order for a, b in zip(one, other, strict=True))
        for one, other in pairwise(frames)
    )


def _positions(images: list[FrameHeader]) -> list[list[FrameHeader]]:
    """Images grouped by position along the normal, in increasing order."""
    normal = image_directions(images[0])[2]
    distances = np.array([image.position_lps for image in images], np.float64) @ normal
    nominal = images[0].slice_distance
    tolerance = min(SAME_POSITION_MM, 0.1 * nominal) if nominal else SAME_POSITION_MM
    order = np.argsort(distances, kind="stable")
    starts = np.flatnonzero(np.diff(distances[order]) > tolerance) + 1
    return [[images[n] for n in part] for part in np.split(order, starts)]
