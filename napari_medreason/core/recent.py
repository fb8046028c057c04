"""A bounded memory of the values used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The most recently used values, at most `limit`; `dropped` is told which one had to go."""

    def __init__(self, limit: int, dropped: Callable[[Value], None] | None = None) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._limit, self._dropped = limit, dropped

    def get(self, key: Hashable) -> Value | None:
        """The value, now the most recent one, or None."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value as the most recent one and drop the oldest beyond the limit."""
        if key not in self._values:
            self.make_room()
        self._values[key] = value
        self._values.move_to_end(key)
        return value

    def make_room(self) -> None:
        """Drop the oldest values until one more fits; for values that are too large to be one too many."""
        while len(self._values) >= self._limit:
            self.drop(next(iter(self._values)))

    def drop(self, key: Hashable) -> None:
        """Forget a value if it is there."""
        if key not in self._values:
            return
        value = self._values.pop(key)
        if self._dropped is not None:
            self._dropped(value)

    def clear(self) -> None:
        """Forget all values."""
        for key in list(self._values):
            self.drop(key)

    def __iter__(self) -> Iterator[Value]:
        """The values, from the oldest to the most recent; a copy, so that some may be dropped meanwhile."""
        return iter(list(self._values.values()))

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values
