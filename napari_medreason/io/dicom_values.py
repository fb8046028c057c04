"""Careful access to DICOM attributes, whose values may be missing, empty or broken."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

DAMAGED = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What pydicom and the pixel decoders raise on damaged or unusual files."""


@dataclass(frozen=True)
class FrameAttributes:
    """Attributes of one frame: its own functional group first, then the shared one, then the file's."""

    file: Dataset
    shared: Dataset | None
    own: Dataset | None

    def find(self, group: str, keyword: str) -> Any:
        """The value of `keyword` from the functional group `group`, else from the file, else None."""
        for holder in (self.own, self.shared):
            item = first_item(holder, group)
            if item is not None and item.get(keyword) not in (None, ""):
                return item.get(keyword)
        return self.file.get(keyword)

    def numbers(self, group: str, keyword: str, count: int) -> tuple[float, ...] | None:
        """`count` finite numbers, None when they are missing or broken."""
        try:
            value = self.find(group, keyword)
            values = tuple(float(part) for part in ([value] if count == 1 else value))
        except (TypeError, ValueError, OverflowError):
            return None
        usable = len(values) == count and all(abs(part) < 1e9 for part in values)
        return values if usable else None

    def number(self, group: str, keyword: str) -> float | None:
        """One finite number, None when it is missing or broken."""
        values = self.numbers(group, keyword, 1)
        return None if values is None else values[0]


def words(value: Any) -> list[str]:
    """A text attribute with one or several values as a list."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    return [str(part) for part in value]


def first_item(holder: Dataset | None, keyword: str) -> Dataset | None:
    """First item of a sequence attribute, None when there is none."""
    items = holder.get(keyword) if holder is not None and keyword else None
    return items[0] if items else None


def whole_number(header: Dataset, keyword: str) -> int | None:
    """A whole number, None when it is missing or broken."""
    try:
        return int(header.get(keyword))
    except (TypeError, ValueError, OverflowError):
        return None
