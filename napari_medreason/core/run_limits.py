"""Limits of the numbers in a run's configuration, for the command line and the form alike."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, get_type_hints

from napari_medreason.errors import DataSetError

COUNT = {"least": 1}
SHARE = {"most": 1}
"""Metadata of a field: at least one of something; a part of the whole. Others are 0 or more."""
LARGEST = 2**31 - 1
"""Of whole numbers."""


def limits(settings: type, field: dataclasses.Field[Any]) -> tuple[float, float | None]:
    """(least, most) of a number in a settings dataclass, None for no upper limit.

    They stand in the field's metadata under "least" and "most"; no number of a run is negative otherwise.
    """
    most = LARGEST if _kinds(settings)[field.name] is int else None
    return field.metadata.get("least", 0), field.metadata.get("most", most)


@cache
def _kinds(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def within(value: Any, least: float | None, most: float | None, where: str) -> Any:
    """The value; DataSetError when it is a number outside of its limits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if least is not None and value < least:
        raise DataSetError(f"{where}: found {value:.10g}; accepted is {least:.10g} or more")
    if most is not None and value > most:
        raise DataSetError(f"{where}: found {value:.10g}; accepted is {most:.10g} or less")
    return value


def check_limits(settings: Any, where: str) -> None:
    """DataSetError for the first number of a settings dataclass outside of its limits; no tables in it."""
    for field in dataclasses.fields(settings):
        within(getattr(settings, field.name), *limits(type(settings), field), f"{where}, {field.name}")
