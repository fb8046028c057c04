"""JSON and TOML values to frozen dataclasses, without leniency: an unknown key is an error that names it."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from napari_medreason.errors import DataSetError

_NAMES = {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false"}


def parse_json(text: str, where: str) -> Any:
    """The value of one JSON text; DataSetError for bad JSON, a repeated key, NaN or Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataSetError(f"{where}: the key {twice!r} is there twice; keep one")
        return table

    def refuse(name: str) -> Any:
        raise DataSetError(f"{where}: {name} is no JSON number; use a finite number or null")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataSetError(f"{where}: not valid JSON ({error}); each line holds one JSON object") from error


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """A JSON or TOML value as `kind`: a dataclass, str, int, float, bool, Literal, tuple, dict or union.

    Lists become tuples and whole numbers become floats where a float is wanted. DataSetError says
    where the value stands, what was found and what is accepted.
    """
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _union(kind, value, where)
    if origin is Literal:
        return _literal(kind, value, where)
    if origin is tuple:
        return _tuple(kind, value, where)
    if origin is dict:
        return _table(kind, value, where)
    return value if kind is Any else _scalar(kind, value, where)


def to_plain(value: Any) -> Any:
    """A dataclass as JSON values, with its keys in the order of its fields; others as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _refused(value, f"an object with the keys {', '.join(_hints(kind))}", where)
    known = _hints(kind)
    for key in value:
        if key not in known:
            raise DataSetError(f"{where}: unknown key {key!r}; accepted are {', '.join(known)}")
    for field in dataclasses.fields(kind):
        if field.name not in value and _required(field):
            raise DataSetError(f"{where}: the key {field.name!r} is missing; add it")
    return kind(**{key: from_plain(known[key], entry, f"{where}, {key}") for key, entry in value.items()})


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _union(kind: Any, value: Any, where: str) -> Any:
    options = get_args(kind)
    if value is None and NoneType in options:
        return None
    rest = [option for option in options if option is not NoneType]
    for option in rest[:-1]:
        try:
            return from_plain(option, value, where)
        except DataSetError:
            continue
    return from_plain(rest[-1], value, where)


def _literal(kind: Any, value: Any, where: str) -> Any:
    if value not in get_args(kind) or isinstance(value, bool):
        raise _refused(value, " or ".join(repr(option) for option in get_args(kind)), where)
    return value


def _tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    kinds = get_args(kind)
    if not isinstance(value, list | tuple):
        raise _refused(value, "a list", where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        if kinds[0] is int and all(type(entry) is int for entry in value):
            return tuple(value)
        return tuple(from_plain(kinds[0], entry, where) for entry in value)
    if len(value) != len(kinds):
        raise _refused(value, f"a list of {len(kinds)}", where)
    return tuple(from_plain(one, entry, where) for one, entry in zip(kinds, value, strict=True))


def _table(kind: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(value, "an object", where)
    return {str(key): from_plain(get_args(kind)[1], entry, f"{where}, {key}") for key, entry in value.items()}


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise _refused(value, _NAMES[kind], where)
    return value


def _refused(value: Any, accepted: str, where: str) -> DataSetError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return DataSetError(f"{where}: found {shown}; accepted is {accepted}")
