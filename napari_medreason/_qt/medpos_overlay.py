"""Box, centre, quadrants and key points of one region, drawn as one Shapes layer over its label map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_medreason import layers
from napari_medreason.core.regions import RegionTable
from napari_medreason.layers import DisplayedPlane, StudyRef

NAME = "MedPos overlay"
_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
_BOX, _GRID, _CENTER, _POINT = "#ffd400", "#8fb8ff", "#00e5ff", "#ff4f81"

Part = tuple[NDArray[np.float64], str, str, bool]
"""Corners (n, 2) as (x, y) in the plane, shape type, colour, filled."""


@dataclass(frozen=True, eq=False)
class Region:
    """One row of a table, and the layer data it was made from."""

    layer: Labels
    study: StudyRef
    frame: int | None
    table: RegionTable
    row: int

    @property
    def displayed(self) -> DisplayedPlane:
        """The plane in which the region lies."""
        return DisplayedPlane(self.table.settings.axis, int(self.table.slice[self.row]), self.frame)


class MedPosOverlay:
    """At most one layer of ours in the viewer; on_gone: the user deleted it.

    quiet: entered while our layer comes, changes or goes.
    """

    def __init__(self, viewer: Viewer, quiet: Callable[[], AbstractContextManager[None]]) -> None:
        self._viewer, self._quiet = viewer, quiet
        self._shapes: Shapes | None = None
        self._drawn: Region | None = None
        self.on_gone: Callable[[], None] = _ignore
        viewer.layers.events.removed.connect(self._on_removed)

    def show(self, region: Region) -> None:
        """Draw a region; layers that the user works with stay selected."""
        former = self._drawn
        if former is not None and _looks(former) == _looks(region) and former.layer == region.layer:
            return
        with self._quiet():
            if self._shapes is None or former is None or former.layer != region.layer:
                self.remove()
                self._shapes = self._add(region)
            _draw(self._shapes, region)
        self._drawn = region

    def _add(self, region: Region) -> Shapes:
        selection = self._viewer.layers.selection
        active = selection.active
        transform = {name: getattr(region.layer, name) for name in _TRANSFORM}
        shapes = Shapes(ndim=region.layer.ndim, name=NAME, opacity=0.9, **transform)
        self._viewer.layers.append(shapes)
        shapes.editable = False
        selection.active = active
        return shapes

    def remove(self) -> None:
        """Take our layer out of the viewer."""
        shapes, self._shapes, self._drawn = self._shapes, None, None
        if shapes is not None and shapes in self._viewer.layers:
            active = self._viewer.layers.selection.active
            with self._quiet():
                self._viewer.layers.remove(shapes)
            if active is not None and active in self._viewer.layers:
                self._viewer.layers.selection.active = active

    def _on_removed(self, event: Any) -> None:
        if self._shapes is not None and event.value == self._shapes:
            self._shapes = self._drawn = None
            self.on_gone()

    def close(self) -> None:
        """Remove our layer and listen no more."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.remove()


def _draw(shapes: Shapes, region: Region) -> None:
    parts = list(_parts(region))
    if shapes.nshapes:
        shapes.data = []
    shapes.add(
        [(layers.to_data(part[0], region.study, region.displayed), part[1]) for part in parts],
        edge_width=max(0.4, max(region.table.grid(region.row).shape) / 400),
        edge_color=[part[2] for part in parts],
        face_color=[part[2] if part[3] else "transparent" for part in parts],
    )


def _looks(region: Region) -> tuple[Any, ...]:
    """What the drawing depends on, for regions of one layer."""
    table, row = region.table, region.row
    columns = (table.box_plane, table.center_plane, table.key_points_plane)
    values = [column[row].tolist() for column in columns]
    return region.study.id, region.displayed, table.settings, repr(values)  # repr: NaN is NaN


def _ignore() -> None:
    """Until somebody listens."""


def _parts(region: Region) -> Iterator[Part]:
    table, row = region.table, region.row
    rows, columns = table.grid(row).shape
    released = table.settings.rule == "released"
    middle = np.array([columns // 2, rows // 2] if released else [(columns - 1) / 2, (rows - 1) / 2])
    edge_x, edge_y = np.array([-0.5, columns - 0.5]), np.array([-0.5, rows - 0.5])
    yield np.stack([edge_x, np.full(2, middle[1])], axis=1), "line", _GRID, False
    yield np.stack([np.full(2, middle[0]), edge_y], axis=1), "line", _GRID, False
    share = table.settings.near_fraction
    radii = share * np.array([columns, columns if released else rows])
    yield _corners(middle - radii, middle + radii), "ellipse", _GRID, False
    box = table.box_plane[row] - 0.5
    yield _corners(box[:2], box[2:]), "rectangle", _BOX, False
    center, arm = table.center_plane[row], max(rows, columns) / 80
    for direction in np.eye(2):
        yield np.stack([center - arm * direction, center + arm * direction]), "line", _CENTER, False
    points = table.key_points_plane[row]
    for point in points[~np.isnan(points).any(axis=1)]:
        yield _corners(point - arm / 2, point + arm / 2), "ellipse", _POINT, True


def _corners(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])])
