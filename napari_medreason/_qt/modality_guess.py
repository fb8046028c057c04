"""CT or MR for image layers that do not come from us."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image

from napari_medreason import io
from napari_medreason.core.plane import Plane
from napari_medreason.core.volume import Volume

Guess = tuple[str, tuple[str, ...]]
"""Modality, and sentences that say why."""


class ModalityGuesses:
    """One guess for a layer and its data, so that the slices of a layer never disagree."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Image, tuple[int, Guess]] = WeakKeyDictionary()

    def of(self, image: Image, plane: Plane) -> Guess:
        """The guess made at the first question about `image`; plane: the one that is asked about."""
        data = image.data[0] if image.multiscale else image.data
        known = self._known.get(image)
        if known is None or known[0] != id(data):
            known = (id(data), guess(data, plane))
            self._known[image] = known
        return known[1]


def guess(data: Any, plane: Plane) -> Guess:
    """From the asked plane and two slices of data (..., k, j, i): of a lazy array no more is read."""
    slices = [plane.image]
    if data.ndim > 2:
        frame = (0,) * (data.ndim - 3)
        slices += [np.asarray(data[(*frame, data.shape[-3] * n // 4)]) for n in (1, 3)]
    sample = np.concatenate([image.astype(np.float32).reshape(-1) for image in slices])
    volume = io.guess_modality(Volume(sample[None, None], np.eye(4), orientation_known=False))
    return volume.modality, tuple(text.replace("The file", "The layer") for text in volume.warnings)
