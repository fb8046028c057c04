"""What to correct next, and how far a work list has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.core.plane import Axis
from napari_medreason.worklist.items import STATES, Item, LabelConfidence, Settings
from napari_medreason.worklist.steps import same_reader


@dataclass(frozen=True)
class Suggestion:
    """One study to open next, and where to look first.

    reason: a few words for the user. label, axis, index: the least certain label and slice, None when no
    figure is known.
    """

    item: Item
    reason: str
    label: int | None = None
    confidence: float | None = None
    axis: Axis | None = None
    index: int | None = None


@dataclass(frozen=True)
class AgreementRow:
    """Two readers on one label of one study, for tables."""

    item_id: str
    path: str
    label: str
    first_reader: str
    second_reader: str
    verdict: str
    figures: LabelAgreement


def suggestions(items: Iterable[Item], settings: Settings, *, reader: str) -> tuple[Suggestion, ...]:
    """Studies that this reader can work on, best first.

    First what a second reader sent back, then what the reader has begun, then pre-labelled studies with
    the least certain label first, then those without figures, by path.
    """
    ranked = [
        (
            rank,
            item.confidence if item.confidence is not None else 2.0,
            item.path,
            _suggestion(item, settings),
        )
        for item in items
        if (rank := _rank(item, reader)) is not None
    ]
    return tuple(entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1]))


def second_reading_suggestions(
    items: Iterable[Item], settings: Settings, *, reader: str
) -> tuple[Suggestion, ...]:
    """Accepted studies of others without a finished second reading: own ones first, then least certain."""
    open_items = [item for item in items if _can_read_second(item, reader)]
    open_items.sort(
        key=lambda item: (
            item.open_second is None,
            item.confidence if item.confidence is not None else 2.0,
            item.path,
        )
    )
    return tuple(_suggestion(item, settings) for item in open_items)


def state_counts(items: Iterable[Item]) -> dict[str, int]:
    """How many items are in each state, in the order of work, also those with none."""
    counted = Counter(item.state for item in items)
    return {state: counted[state] for state in STATES}


def agreement_rows(items: Iterable[Item], settings: Settings) -> tuple[AgreementRow, ...]:
    """The figures of every finished second reading, label by label, oldest first in each study."""
    return tuple(
        AgreementRow(
            item.id,
            item.path,
            settings.name_of(figures.label),
            item.reader,
            second.reader,
            second.verdict or "",
            figures,
        )
        for item in items
        for second in item.second_readings
        for figures in second.agreement
    )


def _rank(item: Item, reader: str) -> int | None:
    """0 for what comes first; None for what this reader can't or need not work on."""
    if item.state == "in progress" and same_reader(item.reader, reader):
        return 0 if item.sent_back else 1
    return {"pre-labelled": 2, "waiting": 3}.get(item.state)


def _can_read_second(item: Item, reader: str) -> bool:
    if item.state != "accepted" or same_reader(item.reader, reader):
        return False
    second = item.second
    return second is None or (second.verdict is None and same_reader(second.reader, reader))


def _suggestion(item: Item, settings: Settings) -> Suggestion:
    known = [
        label for label in (item.prelabel.labels if item.prelabel else ()) if label.confidence is not None
    ]
    if not known:
        return Suggestion(item, _occasion(item) or "no figure of certainty")
    least = min(known, key=_certainty)
    words = f"{settings.name_of(least.label)} {_certainty(least):.0%} certain"
    occasion = _occasion(item)
    place = least.least_certain[0] if least.least_certain else None
    return Suggestion(
        item,
        f"{occasion}; {words}" if occasion else words,
        least.label,
        least.confidence,
        place.axis if place else None,
        place.index if place else None,
    )


def _certainty(label: LabelConfidence) -> float:
    return 1.0 if label.confidence is None else label.confidence


def _occasion(item: Item) -> str:
    if item.sent_back:
        return f"changes wanted: {item.reason}"
    if item.open_second is not None:
        return "second reading begun"
    return {"in progress": "begun", "waiting": "not pre-labelled"}.get(item.state, "")
