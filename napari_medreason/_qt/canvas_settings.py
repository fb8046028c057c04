"""How the user wants to see planes, in napari's plugin settings."""

from __future__ import annotations

from typing import Any

from napari.settings import get_plugin_settings

from napari_medreason._qt.settings import PLUGIN

RADIOLOGICAL, NEUROLOGICAL = "radiological", "neurological"
CONVENTIONS = (RADIOLOGICAL, NEUROLOGICAL)


def letters_shown() -> bool:
    """Whether letters are drawn on the canvas."""
    settings = _viewing()
    return True if settings is None else bool(settings.letters)


def show_letters(shown: bool) -> None:
    """Remember whether letters are drawn."""
    settings = _viewing()
    if settings is not None and settings.letters != shown:
        settings.letters = shown


def convention() -> str:
    """“radiological” (the patient's left on the right of the canvas) or “neurological”."""
    settings = _viewing()
    return RADIOLOGICAL if settings is None else str(settings.convention)


def choose_convention(name: str) -> None:
    """Remember the convention."""
    settings = _viewing()
    if settings is not None and settings.convention != name:
        settings.convention = name


def neurological() -> bool:
    """Whether the patient's left is shown on the left of the canvas."""
    return convention() == NEUROLOGICAL


def _viewing() -> Any:
    try:
        return get_plugin_settings(PLUGIN).viewing
    except KeyError:  # the manifest is not registered, as in a script that only makes the widget
        return None
