"""How far each label of a volume reaches: slices, millimetres, millilitres, and its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.patient_position import PatientPosition, position_in
from napari_medreason.core.regions import RegionTable
from napari_medreason.core.runs import first_of_each


@dataclass(frozen=True)
class LabelExtent:
    """One label over all slices.

    first_slice, last_slice: 0-based, both with the label; slice_count: how many slices show it.
    largest_slice: where its area is largest, the first of equals. volume_ml, size_mm (along L, P and S, at
    voxel edges), lower_lps and upper_lps (the same box in mm): None when pixel size or orientation are
    unknown. position: of all its voxels; None when the orientation is unknown.
    """

    label: int
    first_slice: int
    last_slice: int
    slice_count: int
    largest_slice: int
    voxel_count: int
    volume_ml: float | None
    size_mm: tuple[float, float, float] | None
    lower_lps: tuple[float, float, float] | None
    upper_lps: tuple[float, float, float] | None
    position: PatientPosition | None


def label_extents(table: RegionTable) -> tuple[LabelExtent, ...]:
    """The extents of all labels of a table, by ascending label."""
    bounds = np.append(first_of_each(table.label), len(table))
    boxes = table.boxes_lps()
    return tuple(
        _extent(table, slice(first, end), boxes)
        for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    )


_Points = NDArray[np.float64]


def _extent(table: RegionTable, rows: slice, boxes: tuple[_Points, _Points, _Points]) -> LabelExtent:
    slices, area = table.slice[rows], table.area_px[rows]
    per_slice = np.bincount(slices, weights=area)
    voxels = int(area.sum())
    voxel_mm3 = abs(float(np.linalg.det(table.geometry.affine[:3, :3])))
    centroid, middle, half = (values[rows] for values in boxes)
    lower, upper = np.round((middle - half).min(axis=0), 4), np.round((middle + half).max(axis=0), 4)
    center = (centroid * area[:, None]).sum(axis=0) / voxels
    known = table.body is not None and table.spacing_known
    return LabelExtent(
        label=int(table.label[rows.start]),
        first_slice=int(slices.min()),
        last_slice=int(slices.max()),
        slice_count=int(np.count_nonzero(per_slice)),
        largest_slice=int(per_slice.argmax()),
        voxel_count=voxels,
        volume_ml=voxels * voxel_mm3 / 1000 if table.spacing_known else None,
        size_mm=_triple(upper - lower) if known else None,
        lower_lps=_triple(lower) if known else None,
        upper_lps=_triple(upper) if known else None,
        position=position_in(center, (upper - lower) / 2, table.body) if table.body is not None else None,
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
