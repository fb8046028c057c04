"""Finds what the modules of the models packages, and of third parties, declare; imports no torch.

A module takes part by one of the constants `MODELS`, `SEGMENTERS` or `REASONERS`, a tuple of infos.
Modules without such a constant (networks, helpers) are never imported here, so they may import torch.
"""

from __future__ import annotations

import logging
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol

from napari_medreason.errors import MedReasonError

ENTRY_POINT_GROUP = "napari_medreason.models"
"""Third parties name a module here that holds the same constants."""

_PACKAGE = "napari_medreason.models"
_DECLARATION = re.compile(r"^(MODELS|SEGMENTERS|REASONERS)\b", re.MULTILINE)
_log = logging.getLogger(__name__)


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """The id that users type."""


def declared(constant: str) -> dict[str, tuple[Named, str]]:
    """Everything declared under a constant: id to (info, where it was declared), sorted by id.

    MedReasonError when two modules use the same id.
    """
    found: dict[str, tuple[Named, str]] = {}
    for module, origin in [*_built_in(), *_third_party()]:
        for info in getattr(module, constant, ()):
            if info.id in found:
                raise MedReasonError(
                    f"two {constant.lower()} have the id {info.id!r}, in {found[info.id][1]} and in "
                    f"{origin}; uninstall or rename one of them"
                )
            found[info.id] = (info, origin)
    return dict(sorted(found.items()))


def is_built_in(origin: str) -> bool:
    """Whether something that `declared` gives was declared by this package, not by a third party."""
    return origin in {name for _, name in _built_in()}


@cache
def _built_in() -> tuple[tuple[ModuleType, str], ...]:
    return tuple((import_module(name), name) for name in _module_names(_PACKAGE) if _declares(name))


def _module_names(package: str) -> Iterator[str]:
    for entry in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        yield entry.name
        if entry.ispkg:
            yield from _module_names(entry.name)


def _declares(name: str) -> bool:
    """Whether the module's source has one of the constants at the left margin."""
    spec = find_spec(name)
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return False
    return bool(_DECLARATION.search(spec.loader.get_source(name) or ""))


@cache
def installed_points() -> tuple[EntryPoint, ...]:
    """The installed plugins' entry points; looking through all installed packages takes tens of ms."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return tuple(sorted(points, key=lambda point: (point.name, point.value)))


def _third_party() -> Iterator[tuple[ModuleType, str]]:
    for point in installed_points():
        try:
            module = point.load()
        except (ImportError, AttributeError) as error:
            _log.warning("models of %s (%s) can't be used: %s", point.name, point.value, error)
            continue
        origin = f"{point.value} ({point.dist.name if point.dist else 'unknown package'})"
        yield module, origin
