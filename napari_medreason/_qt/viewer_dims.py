"""Places on a viewer's sliders: where a layer's data is shown, and how to show a slice of it."""

from __future__ import annotations

import numpy as np
from napari.layers import Layer
from napari.viewer import Viewer
from numpy.typing import ArrayLike, NDArray

from napari_medreason.core.plane import AXES, Axis


def own_order(order: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The viewer's axis order reduced to the last `ndim` axes, which are those of a layer."""
    first = len(order) - ndim
    return tuple(axis - first for axis in order if axis >= first)


def unit_ratios(viewer: Viewer, layer: Layer) -> NDArray[np.float64]:
    """Layer units in one unit of the viewer's sliders, for each axis of the layer."""
    shown = viewer.dims.units
    if shown is None or len(shown) < layer.ndim:
        return np.ones(layer.ndim)
    pairs = zip(shown[-layer.ndim :], layer.units, strict=True)
    return np.array([float((1 * shown).to(own).magnitude) for shown, own in pairs])


def point_data(viewer: Viewer, layer: Layer) -> tuple[float, ...]:
    """The displayed position in the data of a layer, also where the viewer's units differ."""
    point = np.array(viewer.dims.point, dtype=np.float64)[-layer.ndim :]
    return tuple(float(value) for value in layer.world_to_data(point * unit_ratios(viewer, layer)))


def point_world(viewer: Viewer, layer: Layer, point: ArrayLike) -> NDArray[np.float64]:
    """A position in the data of a layer on the viewer's sliders; undoes `point_data`."""
    return np.asarray(layer.data_to_world(point)) / unit_ratios(viewer, layer)


def show_slice(viewer: Viewer, axis: Axis, world: ArrayLike, *, layer_ndim: int) -> None:
    """Show the slice across `axis` at a position, turning the view only if another plane is shown.

    world: position on the viewer's sliders, for the axes of a layer with `layer_ndim` axes or for all.
    Flat pictures have no other slice.
    """
    dims = viewer.dims
    if layer_ndim < 3 or dims.ndim < layer_ndim:
        return
    fixed = dims.ndim - 3 + AXES.index(axis)
    dims.ndisplay = 2
    if fixed in dims.order[-2:]:
        others = [other for other in range(dims.ndim) if other != fixed]
        dims.order = (*others[:-2], fixed, *others[-2:])
    point = np.asarray(world, np.float64)
    for moved in (fixed, *range(dims.ndim - layer_ndim, dims.ndim - 3)):
        dims.set_point(moved, float(point[moved - dims.ndim]))
