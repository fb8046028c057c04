"""Options that a user gives by name, from a program, a command line or a settings file."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from napari_medreason.errors import ModelUnavailableError

Options = TypeVar("Options")


def options_of(kind: type[Options], given: dict[str, Any], *, taker: str) -> Options:
    """A dataclass of options; ModelUnavailableError for one that is unknown or of another type."""
    wanted = get_type_hints(kind)
    for name, value in given.items():
        if name not in wanted:
            raise ModelUnavailableError(
                f"option {name!r} is not known to {taker}; known: {', '.join(sorted(wanted))}"
            )
        if not _is_of(value, wanted[name]):
            raise ModelUnavailableError(
                f"option {name}={value!r:.60} is not what {taker} takes; accepted: {_in_words(wanted[name])}"
            )
    return kind(**given)


def _is_of(value: Any, wanted: Any) -> bool:
    kinds = tuple(get_origin(one) or one for one in _kinds(wanted))
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


def _kinds(wanted: Any) -> tuple[Any, ...]:
    return get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)


def _in_words(wanted: Any) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Mapping: "a table of names and values",
        type(None): "none",
    }
    named = [words.get(get_origin(one) or one) for one in _kinds(wanted)]
    return ", ".join(word for word in named if word)
