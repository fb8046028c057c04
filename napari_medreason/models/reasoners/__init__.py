"""Reasoners of published systems, one family a file; each declares `REASONERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_medreason.models.base import Reasoner


@dataclass(frozen=True)
class ReasonerInfo:
    """One line of the reasoner list. `create` takes a folder and options.

    model_types: values of `model_type` in a config.json that `create(folder=...)` can load.
    """

    id: str
    title: str
    summary: str
    create: Callable[..., Reasoner] = field(repr=False)
    model_types: tuple[str, ...] = ()
