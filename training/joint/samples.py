"""What joint training learns from: a record with its picture as the models see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medreason.core.record import Record
from napari_medreason.core.resample import ModelFrame
from napari_medreason.core.run_check import plane_of
from napari_medreason.models.medisee.pictures import isotropic_picture

from ..run_data import RunRecords, labelled_planes


@dataclass(frozen=True, eq=False)
class Picture:
    """A plane in square pixels. grey: (rows, columns) uint8; frame: from the plane to it."""

    grey: NDArray[np.uint8]
    frame: ModelFrame

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(rows, columns, 3), all channels equal."""
        return np.repeat(self.grey[..., None], 3, axis=2)


@dataclass(frozen=True, eq=False)
class JointSample:
    """One question with its answer and mask; several may share a picture."""

    record: Record
    picture: Picture

    @property
    def mask_picture(self) -> NDArray[np.bool_]:
        """(rows, columns) bool, the mask in the picture's pixels."""
        mask = self.record.mask
        return np.asarray(self.picture.frame.image_to_model(mask.astype(np.float32), fill=0.0) > 0.5)


def joint_samples(records: Iterable[Record], data: RunRecords) -> list[JointSample]:
    """Records with their pictures; RunError when an image is missing or has changed.

    A mask may have no pixel left in its picture: such a record is judged, in the plane, but can't be learnt.
    """
    own = list(records)
    pictures = {}
    for labelled in labelled_planes(own, data.images):
        rgb, frame = isotropic_picture(labelled.plane)
        pictures[plane_of(labelled.regions[0].record)] = Picture(np.ascontiguousarray(rgb[..., 0]), frame)
    return [JointSample(record, pictures[plane_of(record)]) for record in own]


def mask_dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 x common pixels / both; two empty masks agree."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def drawn(samples: Sequence[JointSample], seed: int, first: int, count: int) -> list[JointSample]:
    """Samples number `first` to `first + count` of an endless list that is shuffled anew in each pass.

    The same for the same seed, so that a resumed run sees what the unbroken one would have.
    """
    return [samples[index] for index in _indices(len(samples), seed, first, count)]


def _indices(size: int, seed: int, first: int, count: int) -> Iterator[int]:
    order, of_epoch = torch.empty(0), -1
    for number in range(first, first + count):
        epoch, place = divmod(number, size)
        if epoch != of_epoch:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order, of_epoch = torch.randperm(size, generator=generator), epoch
        yield int(order[place])
