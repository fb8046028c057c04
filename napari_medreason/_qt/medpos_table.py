"""The regions of one Labels layer, kept up to date while it is painted, without holding up the viewer."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_medreason import layers
from napari_medreason._qt.background import Background
from napari_medreason._qt.medpos_rows import RegionRow, region_rows
from napari_medreason.core.body_frame import BodyFrame, body_frame
from napari_medreason.core.plane import slice_count
from napari_medreason.core.region_columns import RegionSettings
from napari_medreason.core.region_steps import Progress, regions_in_steps, updated_in_steps
from napari_medreason.core.regions import RegionTable
from napari_medreason.core.volume import Volume
from napari_medreason.errors import CancelledError, MedReasonError
from napari_medreason.layers import StudyRef

BUDGET_SECONDS = 0.025
"""Changes that take longer than this are looked at off the GUI thread."""
_FIRST_GUESS_SECONDS = 0.004
"""Time for one changed slice before any was measured."""


@dataclass(frozen=True, eq=False)
class Source:
    """What a table is made from. frame: for four axes. image: on which the body is looked for, if known."""

    layer: Labels
    study: StudyRef
    frame: int | None
    settings: RegionSettings
    image: Image | None

    @property
    def data(self) -> Any:
        """The label map in the layer, at full resolution."""
        return self.layer.data[0] if self.layer.multiscale else self.layer.data


class LiveTable(QObject):
    """One table at a time.

    reset(rows): all rows are new. updated(slices, rows): the rows of some slices are. body_known(): whether
    the body is seen on the image was found out. body_failed(error): the image can't be read for that; the
    table stays. failed(error): there is no table.
    """

    reset = Signal(object)
    updated = Signal(object, object)
    body_known = Signal()
    body_failed = Signal(object)
    failed = Signal(object)

    def __init__(self, background: Background) -> None:
        super().__init__(background)
        self._background = background
        self._measuring = Background(self)
        self._bodies: dict[str, BodyFrame | None] = {}
        self._pending: set[int] = set()
        self._slice_seconds = _FIRST_GUESS_SECONDS
        self.source: Source | None = None
        self.table: RegionTable | None = None

    @property
    def body_missing(self) -> bool:
        """Whether the body was looked for on the image and is not seen whole there."""
        return self.source is not None and self._bodies.get(self.source.study.id, False) is None

    @property
    def searching(self) -> bool:
        """Whether the body is being looked for on the image."""
        return self._measuring.busy

    def load(self, source: Source | None) -> None:
        """Make the table of another layer, or with other settings; the former one is dropped."""
        former, self.source, self.table = self.source, source, None
        self._background.cancel()
        if former is not None and (source is None or source.study.id != former.study.id):
            self._measuring.cancel()
        self._pending.clear()
        self._slice_seconds = _FIRST_GUESS_SECONDS
        if source is not None:
            self._start(partial(_made, source.data, source, self._bodies.get(source.study.id)))

    def refresh(self) -> None:
        """Look at the whole label map again; key points of what did not change are kept."""
        if self.source is None:
            return
        if self.table is None or self.table.geometry.shape_kji != self.source.study.shape_kji:
            self.load(self.source)
        else:
            self._start(partial(_refreshed, self.source.data, self.source, self.table))

    def painted(self, data_indices: Iterable[int]) -> None:
        """Look again at some slices, given by their indices in the data of the layer."""
        source = self.source
        if source is None:
            return
        axis = source.settings.axis
        flat = source.study.layer_ndim == 2
        slices = {0} if flat else {source.study.display_index(axis, int(i)) for i in data_indices}
        if self._background.busy:
            self._pending |= slices
        if self.table is not None:
            self._update(source, self.table, slices)

    def _update(self, source: Source, table: RegionTable, slices: Collection[int]) -> None:
        count = slice_count(table.geometry, table.settings.axis)
        slices = {index for index in slices if 0 <= index < count}
        quick = isinstance(source.data, np.ndarray) and len(slices) * self._slice_seconds <= BUDGET_SECONDS
        if not quick and len(slices) > 1:
            if not self._background.busy:  # else they are pending, and looked at when the job has ended
                self._start(partial(_refreshed, source.data, source, table))
            return
        begin = time.perf_counter()
        try:
            labels = layers.label_volume(source.data, source.study, source.frame).voxels
            self.table = table = table.updated(labels, slices)
        except MedReasonError as error:
            self.failed.emit(error)
            return
        fresh = region_rows(table, np.flatnonzero(np.isin(table.slice, list(slices))))
        self.updated.emit(slices, fresh)
        self._slice_seconds = (time.perf_counter() - begin) / max(1, len(slices))

    def _start(self, job: Any) -> None:
        self._background.start(job, then=self._on_made, failed=self.failed.emit)

    def _on_made(self, made: tuple[RegionTable, list[RegionRow]]) -> None:
        self.table, rows = made
        self.reset.emit(rows)
        source, pending = self.source, self._pending
        self._pending = set()
        if source is not None and pending:
            self._update(source, self.table, pending)
        if source is not None and not self._background.busy:
            self._measure(source, self.table)

    def _measure(self, source: Source, table: RegionTable) -> None:
        """Measure places against the body as soon as it is known; look for it on the image."""
        if table.body is None or table.body.reference == "body" or source.image is None:
            return
        study = source.study.id
        if study not in self._bodies:
            if not self._measuring.busy:
                job = partial(_body_on, source.image.data, source.study)
                failed = partial(self._on_no_body, study)
                self._measuring.start(job, then=partial(self._on_body, study), failed=failed)
        elif (body := self._bodies[study]) is not None:
            self._start(partial(_rebased, table, body))

    def _on_body(self, study: str, body: BodyFrame | None) -> None:
        self._bodies[study] = body
        source, table = self.source, self.table
        if source is not None and source.study.id == study and table is not None:
            self.body_known.emit()
            if not self._background.busy:
                self._measure(source, table)

    def _on_no_body(self, study: str, error: Exception) -> None:
        self._on_body(study, None)
        self.body_failed.emit(error)

    def close(self) -> None:
        """Stop all work."""
        self._measuring.cancel()
        self._background.cancel()


def _made(
    data: Any, source: Source, body: BodyFrame | None, *, progress: Progress, cancelled: Any
) -> tuple[RegionTable, list[RegionRow]]:
    volume = layers.label_volume(data, source.study, source.frame)
    table = regions_in_steps(volume, source.settings, progress=progress, cancelled=cancelled)
    table = table if body is None else table.with_body(body)
    return table, region_rows(table)


def _refreshed(
    data: Any, source: Source, table: RegionTable, *, progress: Progress, cancelled: Any
) -> tuple[RegionTable, list[RegionRow]]:
    labels = layers.label_volume(data, source.study, source.frame).voxels
    table = updated_in_steps(table, labels, progress=progress, cancelled=cancelled)
    return table, region_rows(table)


def _rebased(
    table: RegionTable, body: BodyFrame, *, progress: Progress, cancelled: Any
) -> tuple[RegionTable, list[RegionRow]]:
    table = table.with_body(body)
    return table, region_rows(table)


def _body_on(data: Any, study: StudyRef, *, progress: Progress, cancelled: Any) -> BodyFrame | None:
    """The body on the first frame of an image; None when it is not seen whole."""
    shown = data[0] if len(data.shape) == 4 else data
    voxels = np.empty(shown.shape, shown.dtype)
    for index in range(len(voxels)):  # slices may have to be decoded first
        if cancelled():
            raise CancelledError("the body")
        voxels[index] = layers.computed(shown[index])
    stored = layers.stored_array(voxels, study)
    affine = np.array(study.affine)
    return body_frame(Volume(stored, affine, modality=study.modality, calibrated=study.calibrated))
