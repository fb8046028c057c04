"""Tables of regions made a few slices at a time, for programs that show progress and can be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.body_frame import field_of_view
from napari_medreason.core.plane import plane_stack
from napari_medreason.core.region_columns import RegionSettings, columns, merged
from napari_medreason.core.regions import RegionTable
from napari_medreason.core.volume import Volume
from napari_medreason.errors import CancelledError

STEP_PIXELS = 4_000_000
"""About so many pixels are looked at in one step."""

Progress = Callable[[int, int], None]
"""Called with the number of slices that are done, and of all."""


def regions_in_steps(
    volume: Volume, settings: RegionSettings, *, progress: Progress, cancelled: Callable[[], bool]
) -> RegionTable:
    """The table that `regions.slice_regions` gives for a 3D label map that knows its geometry.

    Raises LabelMapError for values that are no labels, CancelledError.
    """
    geometry = replace(volume, voxels=np.broadcast_to(np.uint8(0), volume.shape_kji))
    stack = plane_stack(volume.voxels, geometry, settings.axis)
    parts = [columns(stack, [], settings, {})]
    for step in _steps(stack, progress, cancelled):
        parts.append(columns(stack, step, settings, {}))
    return RegionTable(
        **merged(parts),
        geometry=geometry,
        settings=settings,
        spacing_known=volume.calibrated,
        body=field_of_view(geometry) if volume.orientation_known else None,
    )


def updated_in_steps(
    table: RegionTable, labels: NDArray[np.generic], *, progress: Progress, cancelled: Callable[[], bool]
) -> RegionTable:
    """The table after any slices changed; key points of regions that did not are kept.

    labels, errors: as for `RegionTable.updated`; CancelledError.
    """
    stack = plane_stack(labels, table.geometry, table.settings.axis)
    for step in _steps(stack, progress, cancelled):
        table = table.updated(labels, step)
    return table


def _steps(stack: NDArray[np.generic], progress: Progress, cancelled: Callable[[], bool]) -> Iterator[range]:
    count, pixels = stack.shape[0], max(1, stack.shape[1] * stack.shape[2])
    thickness = max(1, STEP_PIXELS // pixels)
    for first in range(0, count, thickness):
        if cancelled():
            raise CancelledError("positions of labels")
        progress(first, count)
        yield range(first, min(first + thickness, count))
    progress(count, count)
