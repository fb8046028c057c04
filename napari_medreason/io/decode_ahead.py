"""Slices that were left for their first use are decoded in the background, before anybody needs them all."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import UnreadableImageError

if TYPE_CHECKING:
    from napari_medreason.io.dicom_lazy import LazySlices

THREAD_NAME = "medreason-decode-ahead"


def decode_ahead(voxels: NDArray[np.generic]) -> None:
    """Decode the slices of an array from `read_lazily` one by one; nothing for arrays that are read whole.

    From the middle outwards, resting as long as each slice took, so that the viewer stays quick. Ends
    by itself when the array and everything made of it are gone.
    """
    from napari_medreason.io.dicom_lazy import lazy_slices

    slices = lazy_slices(voxels)
    if slices is not None:
        threading.Thread(
            target=_decode_all, args=(weakref.ref(slices),), name=THREAD_NAME, daemon=True
        ).start()


def _decode_all(found: weakref.ref[LazySlices]) -> None:
    slices = found()
    places = [] if slices is None else slices.places_from_the_middle()
    del slices  # only the viewer keeps them
    for place in places:
        began = time.monotonic()
        if not _decode_one(found, place):
            return
        time.sleep(time.monotonic() - began)


def _decode_one(found: weakref.ref[LazySlices], place: tuple[int, int]) -> bool:
    """Whether anybody still uses the slices; a damaged one is told when it is shown."""
    from napari_medreason.io.dicom_pixels import DoesNotFitError

    slices = found()
    if slices is None:
        return False
    with suppress(UnreadableImageError, DoesNotFitError):
        slices.decoded(*place)
    return True
