"""Segmenters of published systems, one family a file; each declares `SEGMENTERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_medreason.models.base import Segmenter


@dataclass(frozen=True)
class SegmenterInfo:
    """One line of the segmenter list. `create` takes the options given to `models.create_segmenter`.

    model_types: values of `model_type` in a config.json that `create(folder=...)` can load.
    needs_download: needs weights that don't come with the package.
    """

    id: str
    title: str
    summary: str
    create: Callable[..., Segmenter] = field(repr=False)
    model_types: tuple[str, ...] = ()
    needs_download: bool = False
