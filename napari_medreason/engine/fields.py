"""Reading one map of a frame field by field: nothing missing, nothing unknown, nothing of another kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_medreason.engine.frames import Map, map_to_array
from napari_medreason.errors import EngineError, QuestionError

Value = TypeVar("Value")


class Fields:
    """Takes the fields of a map one after the other; every fault is an EngineError that names the field.

    Use as `with Fields(value, "grid") as fields:`; leaving the block refuses fields nobody took.
    """

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, Mapping):
            raise EngineError(f"{name} is a {type(value).__name__}; a map is accepted")
        self._rest = dict(value)
        self._name = name

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._rest:
            raise EngineError(f"{self._name} has the unknown field {min(map(str, self._rest))!r}")

    def take(self, field: str) -> Any:
        """The field's value as it came."""
        if field not in self._rest:
            raise EngineError(f"{self._name} lacks the field {field!r}")
        return self._rest.pop(field)

    def maybe(self, field: str, read: Callable[[str], Value]) -> Value | None:
        """None, or what `read(field)` gives."""
        if self._rest.get(field, 0) is None:
            return self.take(field)  # type: ignore[no-any-return]
        return read(field)

    def text(self, field: str) -> str:
        """A text."""
        return self._checked(field, self.take(field), str, "a text")

    def choice(self, field: str, accepted: tuple[str, ...]) -> Any:
        """One of the accepted words."""
        word = self.text(field)
        if word not in accepted:
            raise EngineError(f"{self._full(field)} is {word!r:.40}; accepted: {', '.join(accepted)}")
        return word

    def flag(self, field: str) -> bool:
        """True or False."""
        return self._checked(field, self.take(field), bool, "true or false")

    def integer(self, field: str) -> int:
        """A whole number."""
        return self._whole(field, self.take(field))

    def number(self, field: str) -> float:
        """A finite number."""
        return self._finite(field, self.take(field))

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._checked(field, item, str, "a list of texts") for item in self._list(field))

    def flags(self, field: str) -> tuple[bool, ...]:
        """A list of true and false."""
        return tuple(self._checked(field, item, bool, "a list of flags") for item in self._list(field))

    def maps(self, field: str) -> tuple[Map, ...]:
        """A list of maps, to be read field by field."""
        return tuple(self._checked(field, item, dict, "a list of maps") for item in self._list(field))

    def integers(self, field: str, count: int) -> Any:
        """A tuple of `count` whole numbers."""
        return tuple(self._whole(field, item) for item in self._list(field, count))

    def numbers(self, field: str, count: int) -> Any:
        """A tuple of `count` finite numbers."""
        return tuple(self._finite(field, item) for item in self._list(field, count))

    def points(self, field: str, count: int | None = None) -> Any:
        """A tuple of (x, y) points."""
        return tuple(self._point(field, item) for item in self._list(field, count))

    def array(self, field: str, dtype: type[np.generic], dimensions: int) -> NDArray[Any]:
        """A new array of this dtype and number of dimensions."""
        array = map_to_array(self.take(field), self._full(field))
        if array.dtype != dtype or array.ndim != dimensions:
            raise EngineError(
                f"{self._full(field)} is {array.dtype} with {array.ndim} dimensions; "
                f"{np.dtype(dtype)} with {dimensions} is accepted"
            )
        return array

    def map(self, field: str) -> Map:
        """A map with text keys."""
        value = self._checked(field, self.take(field), dict, "a map")
        return {self._checked(field, key, str, "a map with text keys"): item for key, item in value.items()}

    def build(self, make: Callable[..., Value], **values: Any) -> Value:
        """`make(**values)`, with a refusal by the class itself turned into an EngineError."""
        try:
            return make(**values)
        except (ValueError, QuestionError) as error:
            raise EngineError(f"{self._name} does not hold together: {error}") from None

    def _full(self, field: str) -> str:
        return f"{self._name}.{field}"

    def _checked(self, field: str, value: Any, kind: type[Value], accepted: str) -> Value:
        if not isinstance(value, kind):
            raise EngineError(f"{self._full(field)} is a {type(value).__name__}; {accepted} is accepted")
        return value

    def _list(self, field: str, count: int | None = None) -> list[Any]:
        items = self._checked(field, self.take(field), list, "a list")
        if count is not None and len(items) != count:
            raise EngineError(f"{self._full(field)} has {len(items)} entries; {count} are accepted")
        return items

    def _whole(self, field: str, value: Any) -> int:
        if type(value) is not int:
            raise EngineError(f"{self._full(field)} is a {type(value).__name__}; a whole number is accepted")
        return value

    def _finite(self, field: str, value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise EngineError(f"{self._full(field)} is {value!r:.40}; a finite number is accepted")
        return float(value)

    def _point(self, field: str, value: Any) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            raise EngineError(f"{self._full(field)} holds something else than points (x, y)")
        return self._finite(field, value[0]), self._finite(field, value[1])
