"""What the correction dock remembers: the reader's name and the work list, in napari's plugin settings."""

from __future__ import annotations

from typing import Any, Literal

from napari.settings import get_plugin_settings

from napari_medreason._qt.settings import PLUGIN

Field = Literal["reader", "work_list"]


def saved(field: Field) -> str:
    """What was remembered, "" for nothing."""
    settings = _correcting()
    return "" if settings is None else str(getattr(settings, field))


def save(field: Field, value: str) -> None:
    """Remember a value."""
    settings = _correcting()
    if settings is not None and getattr(settings, field) != value:
        setattr(settings, field, value)


def _correcting() -> Any:
    try:
        return get_plugin_settings(PLUGIN).correcting
    except KeyError:  # the manifest is not registered, as in a script that only makes the widget
        return None
