"""Images of one kind in a series, split into parts that can each be one grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_medreason.io.dicom_affine import image_directions
from napari_medreason.io.dicom_frame import FrameHeader

_SAME_DIRECTION = 0.01
_SAME_SPACING = 1e-3
_BESIDE_MM = 10.0
_SAME_LEVEL_MM = 0.01


def split(images: Sequence[FrameHeader]) -> list[list[FrameHeader]]:
    """Parts of one slice orientation and pixel size whose slices lie above one another."""
    return [part for alike in _same_plane(images) for part in _side_by_side(alike)]


def _same_plane(images: Sequence[FrameHeader]) -> list[list[FrameHeader]]:
    """By slice orientation and pixel size, allowing for rounded header values."""
    parts: list[list[FrameHeader]] = []
    for image in images:
        home = next((part for part in parts if _alike(part[0], image)), None)
        if home is None:
            parts.append([image])
        else:
            home.append(image)
    return parts


def _alike(one: FrameHeader, other: FrameHeader) -> bool:
    return _close(one.orientation, other.orientation, absolute=_SAME_DIRECTION) and _close(
        one.pixel_spacing, other.pixel_spacing, relative=_SAME_SPACING
    )


def _close(
    one: tuple[float, ...] | None,
    other: tuple[float, ...] | None,
    *,
    absolute: float = 0.0,
    relative: float = 0.0,
) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return bool(np.allclose(one, other, rtol=relative, atol=absolute))


def _side_by_side(images: list[FrameHeader]) -> list[list[FrameHeader]]:
    """Stacks that lie beside each other, more than 10 mm apart within the slice plane.

    All stay together where one of them would have slices at one level only: then the planes shift
    from slice to slice, as with a tilted gantry, and are no stacks of their own.
    """
    if images[0].position_lps is None or images[0].orientation is None:
        return [images]
    positions = np.array([image.position_lps for image in images], np.float64)
    along_row, down_column, across = (positions @ image_directions(images[0]).T).T
    parts: dict[tuple[int, int], list[int]] = defaultdict(list)
    for n, place in enumerate(zip(_runs(along_row), _runs(down_column), strict=True)):
        parts[place].append(n)
    if min(float(np.ptp(across[part])) for part in parts.values()) < _SAME_LEVEL_MM:
        return [images]
    return [[images[n] for n in part] for part in parts.values()]


def _runs(values: NDArray[np.float64]) -> list[int]:
    """For each value the number of its run; a new one begins after a gap of more than 10 mm."""
    order = np.argsort(values, kind="stable")
    numbers = np.zeros(len(values), np.int64)
    numbers[order[1:]] = np.cumsum(np.diff(values[order]) > _BESIDE_MM)
    return [int(number) for number in numbers]
