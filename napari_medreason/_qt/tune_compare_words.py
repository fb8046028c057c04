"""Before and after in words: figures of an adapter's card, what they mean, single cases. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_medreason._qt.tune_compare_cases import HeldOutCase, dice
from napari_medreason.core.grounding import Grounding

HEADS = ("Held-out", "Before", "After", "Gain", "95 % interval", "Patients")
ENOUGH_PATIENTS = 3
"""With fewer, figures are preliminary, as on the card of the embedded model."""
_TITLES = {
    "mask": "Dice of masks",
    "named": "Dice by name",
    "box": "Box IoU",
    "prompted": "Dice by box",
}
_MEASURES = {"mask": "Dice", "named": "Dice", "box": "box IoU", "prompted": "Dice from box and points"}
"""The first of these that a card has stands for the whole."""
NOTHING_MEASURED = (
    "Nothing was measured: among the records there is no test patient that the run has not learnt from."
)


def figure_rows(before_after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The figures of a card as rows of a table, under HEADS."""
    return [_row(name, group) for name, group in before_after.items() if _is_group(group)]


def _row(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    found = _interval(group)
    return (
        _title(name),
        f"{group['before']:.2f}",
        f"{group['after']:.2f}",
        f"{_gain(group):+.2f}",
        "–" if found is None else f"{found[0]:.2f} to {found[1]:.2f}",
        str(group.get("patients", "–")),
    )


def figure_tips(before_after: Mapping[str, Any]) -> list[str]:
    """Of each row of `figure_rows`: what it is, and on how many regions it is better."""
    groups = ((name, group) for name, group in before_after.items() if _is_group(group))
    return [
        f"{_title(name)}: better on {group['better']} of {group['regions']} regions"
        if {"better", "regions"} <= set(group)
        else _title(name)
        for name, group in groups
    ]


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    way, _, what = name.partition(" ")
    return f"– {what.replace('_', ' ')}" if way in _MEASURES and what else name


def _is_group(group: object) -> bool:
    return isinstance(group, Mapping) and all(
        isinstance(group.get(k), int | float) for k in ("before", "after")
    )


def _gain(group: Mapping[str, Any]) -> float:
    return float(group["after"] - group["before"])


def _interval(group: Mapping[str, Any]) -> tuple[float, float] | None:
    found = group.get("interval")
    if isinstance(found, list) and len(found) == 2 and all(isinstance(part, int | float) for part in found):
        return float(found[0]), float(found[1])
    return None


def _interval_words(group: Mapping[str, Any]) -> str:
    found = _interval(group)
    return "" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}"


def is_worse(before_after: Mapping[str, Any]) -> bool:
    """Whether the figures that stand for the whole fell."""
    main = _main(before_after)
    return main is not None and _gain(main[1]) < 0


def _main(before_after: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    for name, measure in _MEASURES.items():
        if _is_group(before_after.get(name)):
            return measure, before_after[name]
    return None


def verdict(before_after: Mapping[str, Any]) -> str:
    """What the figures mean, in a sentence or two."""
    main = _main(before_after)
    if main is None:
        return NOTHING_MEASURED
    measure, group = main
    patients = int(group.get("patients", 0))
    who = f"{patients} held-out patient{'' if patients == 1 else 's'}"
    span = f" (95 % interval {_interval_words(group)})" if _interval(group) else ""
    return f"{_tendency(group)}: {measure} {_gain(group):+.3f}{span} on {who}.{_caution(patients)}"


def _tendency(group: Mapping[str, Any]) -> str:
    low, high = _interval(group) or (-1.0, 1.0)
    if low > 0:
        return "Better than before"
    return "Worse than before" if high < 0 else "No sure difference"


def _caution(patients: int) -> str:
    if patients == 1:
        return " The interval is over slices of one patient and says nothing about the next patient."
    if patients < ENOUGH_PATIENTS:
        return f" Fewer than {ENOUGH_PATIENTS} patients: preliminary."
    return ""


def case_title(case: HeldOutCase, number: int, total: int) -> str:
    """Which case is shown."""
    record, image = case.record, case.record.image
    what = " ".join(
        part for part in (record.side, record.label or record.structure.replace("_", " ")) if part
    )
    return f"Case {number} of {total}: {what}, patient {record.patient}, {image.axis} slice {image.index}"


def answer_words(title: str, grounding: Grounding | None, case: HeldOutCase) -> str:
    """One answer: its overlap with the correction, and its words."""
    if grounding is None:
        return f"{title}: not asked yet"
    overlap = dice(grounding.mask, case.record.mask)
    return f"{title}: Dice {overlap:.2f}. {grounding.answer}"
