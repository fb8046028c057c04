"""Which slices of a study are meant by words such as "middle", "all", "every 5" or "3,7,10-12"."""

from __future__ import annotations

import re

from napari_medreason.errors import QuestionError

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_EVERY = re.compile(r"every (\d{1,6})")
_ACCEPTED = "a number, such as 12, a range 10-20, several with commas, 'middle', 'all' or 'every 5'"


def slice_numbers(slices: str, count: int) -> tuple[int, ...]:
    """0-based numbers among `count` slices: "middle", "all", "every 5", "12", "10-20", "3,7,10-12"."""
    check_slices(slices)
    if slices == "middle":
        return (count // 2,)
    if slices == "all":
        return tuple(range(count))
    if every := _EVERY.fullmatch(slices):
        return tuple(range(0, count, int(every.group(1))))
    numbers = sorted({number for part in slices.split(",") for number in _range(part)})
    if numbers[-1] >= count:
        raise QuestionError(f"slice {numbers[-1]} was asked; this study has slices 0 to {count - 1}")
    return tuple(numbers)


def check_slices(slices: str) -> None:
    """QuestionError unless the words name slices."""
    every = _EVERY.fullmatch(slices)
    if slices in ("middle", "all") or (every is not None and int(every.group(1)) > 0):
        return
    if not slices or not all(_RANGE.fullmatch(part.strip()) and _range(part) for part in slices.split(",")):
        raise QuestionError(f"slices are {slices!r:.60}; accepted: {_ACCEPTED}")


def _range(part: str) -> range:
    match = _RANGE.fullmatch(part.strip())
    if match is None:
        return range(0)
    first = int(match.group(1))
    return range(first, int(match.group(2) or first) + 1)
