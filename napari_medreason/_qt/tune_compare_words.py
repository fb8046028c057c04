"""Before and after in words: figures of an adapter's card, what they mean, single cases. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_medreason._qt.tune_compare_cases import HeldOut, HeldOutCase, dice
from napari_medreason.core.grounding import Grounding
from napari_medreason.models.adapter_card import ENOUGH_PATIENTS

HEADS = ("Held-out", "Before", "After", "Gain", "95 % of gain", "n")
HEAD_TIPS = ("", "", "", "After less before", "95 % interval of the gain, over patients", "Held-out patients")
FELL = 0.05
"""A loss in one structure that the mean of all must not hide."""
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
ONLY_THESE = "Only the structures of the records were measured."
_LARGEST = 1e6


def figure_rows(before_after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The figures of a card as rows of a table, under HEADS."""
    return [_row(name, group) for name, group in before_after.items() if _is_group(group)]


def _row(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _title(name),
        f"{group['before']:.2f}",
        f"{group['after']:.2f}",
        f"{_gain(group):+.3f}",
        _interval_words(group) or "–",
        str(_patients(group) or "–"),
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
    return isinstance(group, Mapping) and all(_is_number(group.get(name)) for name in ("before", "after"))


def _is_number(value: object) -> bool:
    """Whether it can be shown: a card may have come from anywhere."""
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _patients(group: Mapping[str, Any]) -> int:
    found = group.get("patients")
    return found if isinstance(found, int) else 0


def _gain(group: Mapping[str, Any]) -> float:
    return float(group["after"] - group["before"])


def _interval(group: Mapping[str, Any]) -> tuple[float, float] | None:
    """Of the gain, over patients; None with so few that it would say nothing about the next one."""
    found = group.get("interval")
    if _patients(group) < ENOUGH_PATIENTS or not isinstance(found, list) or len(found) != 2:
        return None
    return (float(found[0]), float(found[1])) if all(_is_number(part) for part in found) else None


def _interval_words(group: Mapping[str, Any]) -> str:
    found = _interval(group)
    return "" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}"


def doubt(before_after: Mapping[str, Any]) -> str:
    """What speaks against accepting, in a sentence; "" for nothing."""
    main, fell = _main(before_after), _fell(before_after)
    if main is None:
        return "Nothing was measured on held-out patients."
    also = f" {fell}" if fell else ""
    if _gain(main[1]) < 0:
        return f"The figures on held-out cases are worse than before.{also}"
    return f"On held-out cases not everything rose.{also}" if also else ""


def _fell(before_after: Mapping[str, Any]) -> str:
    """What fell much, beside the figures that stand for the whole."""
    main = _main(before_after)
    names = [
        _title(name).removeprefix("– ")
        for name, group in before_after.items()
        if _is_group(group) and (main is None or group is not main[1]) and _gain(group) < -FELL
    ]
    return f"Fell: {', '.join(names)}." if names else ""


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
    patients = _patients(group)
    who = f"{patients} held-out patient{'' if patients == 1 else 's'}"
    span = f" (95 % interval {_interval_words(group)})" if _interval(group) else ""
    found = f"{_tendency(group)}: {measure} {_gain(group):+.3f}{span} on {who}."
    return " ".join(part for part in (found, _caution(patients), _fell(before_after), ONLY_THESE) if part)


def _tendency(group: Mapping[str, Any]) -> str:
    if _patients(group) < ENOUGH_PATIENTS:
        return "Too few patients to tell"
    low, high = _interval(group) or (-1.0, 1.0)
    if low > 0:
        return "Better than before"
    return "Worse than before" if high < 0 else "No sure difference"


def _caution(patients: int) -> str:
    if patients >= ENOUGH_PATIENTS:
        return ""
    whom = "one patient" if patients == 1 else "so few"
    return f"What {whom} gained says nothing about the next; hold out {ENOUGH_PATIENTS} or more."


def case_title(case: HeldOutCase, number: int, total: int) -> str:
    """Which case is shown."""
    record, image = case.record, case.record.image
    what = " ".join(
        part for part in (record.side, record.label or record.structure.replace("_", " ")) if part
    )
    place = f"patient {record.patient}, {image.axis} slice {image.index}"
    return f"Held-out, not your open study. Case {number} of {total}: {what}, {place}"


def chosen_words(held_out: HeldOut) -> str:
    """How cases were chosen when not all are shown; "" when all are."""
    shown, total = len(held_out.cases), held_out.total
    if shown >= total:
        return ""
    if held_out.order == "patients":
        return f"{shown} of {total} cases, of every patient in turn."
    way = "worse" if held_out.order == "worse" else "better"
    return f"Of {total} cases the {shown} that changed most for the {way}: they don't stand for the whole."


def answer_words(title: str, grounding: Grounding | None, case: HeldOutCase) -> str:
    """One answer: its overlap with the correction, and its words."""
    if grounding is None:
        return f"{title}: not asked yet"
    overlap = dice(grounding.mask, case.record.mask)
    return f"{title}: Dice {overlap:.2f}. {grounding.answer}"
