"""The few things that the Ask dock remembers, kept in napari's own plugin settings."""

from __future__ import annotations

from typing import Any

from napari.settings import get_plugin_settings

PLUGIN = "napari-medreason"


def saved_model() -> str:
    """Id of the model last chosen, empty for the default."""
    settings = _asking()
    return "" if settings is None else str(settings.model)


def save_model(model: str) -> None:
    """Remember the chosen model."""
    settings = _asking()
    if settings is not None and settings.model != model:
        settings.model = model


def _asking() -> Any:
    try:
        return get_plugin_settings(PLUGIN).asking
    except KeyError:  # the manifest is not registered, as in a script that only makes the widget
        return None
