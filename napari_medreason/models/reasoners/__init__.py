"""Reasoners of published systems, one family a file; each declares `REASONERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_medreason.models.base import Reasoner


@dataclass(frozen=True)
class ReasonerInfo:
    """One line of the reasoner list. `create` takes a folder, or what it connects to, and options.

    model_types: values of `model_type` in a config.json that `create(folder)` can load. names: beginnings
    of catalogue ids and folder names, in lower case, that tell this family from others of its model type;
    by_name_only: nothing else does.
    """

    id: str
    title: str
    summary: str
    create: Callable[..., Reasoner] = field(repr=False)
    model_types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    by_name_only: bool = False
