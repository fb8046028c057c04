"""Folder layouts to cases; a module of this package with a constant IMPORTER is found by `importers`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from napari_medreason.errors import DataSetError

from ..cases import Case
from ..config import SourceConfig


@dataclass(frozen=True)
class Importer:
    """One folder layout. scan yields cases in a fixed order from names and headers alone."""

    layout: str
    scan: Callable[[Path, SourceConfig], Iterator[Case]] = field(repr=False)


@cache
def importers() -> dict[str, Importer]:
    """The known layouts by name."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = [module.IMPORTER for module in modules if hasattr(module, "IMPORTER")]
    return {importer.layout: importer for importer in found}


def scan(source: SourceConfig, base: Path) -> list[Case]:
    """The cases of a source, sorted by id; DataSetError when the folder is missing or holds none."""
    root = base / source.root
    if not root.is_dir():
        raise DataSetError(f"source {source.name!r}: there is no folder {root.name!r}; check its root")
    cases = sorted(importers()[source.layout].scan(root, source), key=lambda case: case.id)
    if not cases:
        raise DataSetError(
            f"source {source.name!r}: no image with a mask was found in the layout {source.layout!r}; "
            f"check root, folders and endings"
        )
    ids = [case.id for case in cases]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataSetError(
            f"source {source.name!r}: {twice!r} is there twice; give the files different names"
        )
    return cases
