"""Careful access to DICOM attributes, whose values may be missing, empty or broken."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

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
            if item is not None and (value := value_of(item, keyword)) not in (None, ""):
                return value
        return value_of(self.file, keyword)

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


_LONGEST_SHARED = 128
"""Values up to so many bytes are worth looking up among those that were converted before."""

tag_of = cache(Tag)
"""The tag of a keyword, made once."""


def value_of(holder: Dataset, keyword: str, default: Any = None) -> Any:
    """As `Dataset.get`, several times faster for values that the files of a series share."""
    element = holder.get_item(tag_of(keyword))
    if element is None:
        return default
    if not isinstance(element, RawDataElement) or element.value is None:
        return holder.get(keyword, default)
    if len(element.value) > _LONGEST_SHARED or element.VR == "SQ":
        return holder.get(keyword, default)
    return _converted(
        element.tag,
        element.VR,
        element.value,
        element.is_implicit_VR,
        element.is_little_endian,
        _encodings(holder),
    )


def _encodings(holder: Dataset) -> tuple[str, ...]:
    """Names of Python's codecs for the text of a data set, from Specific Character Set (0008,0005)."""
    found = holder.original_character_set
    return (found,) if isinstance(found, str) else tuple(found)


@lru_cache(maxsize=8192)
def _converted(
    tag: BaseTag, vr: str | None, value: bytes, implicit: bool, little: bool, encodings: tuple[str, ...]
) -> Any:
    raw = RawDataElement(tag, vr, len(value), value, 0, implicit, little)
    return convert_raw_data_element(raw, encoding=list(encodings)).value


def words(value: Any) -> list[str]:
    """A text attribute with one or several values as a list."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    return [str(part) for part in value]


def first_item(holder: Dataset | None, keyword: str) -> Dataset | None:
    """First item of a sequence attribute, None when there is none."""
    if holder is None or not keyword or tag_of(keyword) not in holder:
        return None
    items = holder.get(keyword)
    return items[0] if items else None


def whole_number(header: Dataset, keyword: str) -> int | None:
    """A whole number, None when it is missing or broken."""
    try:
        return int(value_of(header, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
