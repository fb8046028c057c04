"""Sizes said in words, compared with those of a mask: "3 cm", "12 x 9 mm", "1.5 cm by 1 cm", "40 ml"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["agrees", "disagrees", "not known"]
TOLERANCE = 0.25
"""Sizes agree up to this share of the larger one, and lengths always up to 2 mm: people round."""
_LENGTH_SLACK_MM = 2.0

_NUMBER = r"\d+(?:[.,]\d+)?"
_TIMES = r"(?:\s*(?:mm|cm))?\s*(?:[x×]|by)\s*"
_SIZE = re.compile(
    rf"(?<!\d)(?<!\d[.,])(?P<numbers>{_NUMBER}(?:{_TIMES}{_NUMBER}){{0,2}})\s*"
    r"(?P<unit>mm2|mm²|cm2|cm²|cm3|cm³|mm3|mm³|mm|cm|ml|cc|millimet(?:er|re)s?|centimet(?:er|re)s?)(?![a-z\d])"
)
_LENGTHS = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimetre": 10.0,
}
_AREAS = {"mm2": 1.0, "mm²": 1.0, "cm2": 100.0, "cm²": 100.0}
_VOLUMES = {"ml": 1.0, "cc": 1.0, "cm3": 1.0, "cm³": 1.0, "mm3": 0.001, "mm³": 0.001}


@dataclass(frozen=True)
class MaskSizes:
    """Sizes of a mask, None where unknown.

    size_mm: of the whole label, over all slices, along three directions. plane_mm: of its box on the slice,
    along two. area_mm2: on the slice. volume_ml: of the whole label.
    """

    size_mm: tuple[float, ...] | None = None
    plane_mm: tuple[float, ...] | None = None
    area_mm2: float | None = None
    volume_ml: float | None = None


Found = tuple[int, str, Verdict, str]


def size_statements(text: str, sizes: MaskSizes) -> tuple[str, list[Found]]:
    """The text with its sizes blanked out, and each as (place, words, verdict, what the mask measures).

    One length is compared with the longest side of the label; two with its box on the slice; three with
    its box over all slices; sides in any order.
    """
    found = [(match.start(), match[0], *_judged(match, sizes)) for match in _SIZE.finditer(text)]
    return _SIZE.sub(lambda match: "." * len(match[0]), text), found


def _judged(match: re.Match[str], sizes: MaskSizes) -> tuple[Verdict, str]:
    said = re.findall(rf"({_NUMBER})\s*(mm|cm)?", match["numbers"])
    numbers = [_value(number) for number, _ in said]
    unit = match["unit"] if match["unit"] in (*_AREAS, *_VOLUMES) else match["unit"].removesuffix("s")
    if unit in _AREAS:
        return _alike(numbers, [sizes.area_mm2], _AREAS[unit], "mm² on the slice")
    if unit in _VOLUMES:
        return _alike(numbers, [sizes.volume_ml], _VOLUMES[unit], "ml")
    lengths = [number * _LENGTHS[own or unit] for number, (_, own) in zip(numbers, said, strict=True)]
    if len(lengths) == 2:
        return _alike(lengths, sizes.plane_mm or [None], 1.0, "mm on the slice")
    sides = sorted(sizes.size_mm or sizes.plane_mm or (), reverse=True)
    kept = sides if len(lengths) == 3 else sides[:1]
    return _alike(lengths, kept or [None], 1.0, "mm" if len(lengths) == 3 else "mm at its longest")


def _value(number: str) -> float:
    """A number with a decimal point or comma; three digits behind a comma are thousands."""
    whole, _, rest = number.partition(",")
    return float(f"{whole}{rest}" if len(rest) == 3 else f"{whole}.{rest}" if rest else number)


def _alike(
    numbers: list[float], measured: Sequence[float | None], factor: float, unit: str
) -> tuple[Verdict, str]:
    known = sorted((value for value in measured if value is not None), reverse=True)
    if not known or len(known) != len(numbers):
        return "not known", "the size of its pixels is unknown" if not known else "another number of sides"
    said = sorted((number * factor for number in numbers), reverse=True)
    slack = _LENGTH_SLACK_MM if unit.startswith("mm") and "²" not in unit else 0.0
    agrees = all(
        abs(one - other) <= max(slack, TOLERANCE * max(one, other))
        for one, other in zip(said, known, strict=True)
    )
    words = " x ".join(f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" for value in known)
    return "agrees" if agrees else "disagrees", f"it measures {words} {unit}"
