"""Which studies the correction dock lists, and how work lists are made, opened and searched again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medreason import io
from napari_medreason.worklist import (
    Item,
    LabelDefinition,
    Suggestion,
    WorkList,
    agreement_rows,
    second_reading_suggestions,
    state_counts,
    suggestions,
)

if TYPE_CHECKING:
    from napari_medreason._qt.correction_presenter import CorrectionPresenter

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
_FIGURES = ("dice", "mean_distance_mm", "distance_95_mm", "first_voxels", "second_voxels")


@dataclass(frozen=True)
class Listing:
    """Studies in the order of the list, suggestions by id, and one line that counts the states."""

    items: tuple[Item, ...]
    suggested: dict[str, Suggestion]
    words: str


def listed(work_list: WorkList, *, order: str, reader: str) -> Listing:
    """What is listed now, with what other programs changed. order: a key of correction_view.ORDERS."""
    work_list.refresh()
    items, settings = work_list.items, work_list.settings
    propose = second_reading_suggestions if order == "second" else suggestions
    found = {one.item.id: one for one in propose(items, settings, reader=reader)}
    counts = state_counts(items)
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    shown = items if order == "all" else tuple(one.item for one in found.values())
    return Listing(shown, found, f"{settings.title}: {words}")


def write_agreement(work_list: WorkList, path: Path) -> int:
    """Write the agreement of all second readings as CSV, a line per label; how many. Raises ExportError.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    rows = agreement_rows(work_list.items, work_list.settings)
    with io.replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("study", "label", "first_reader", "second_reader", "verdict", *_FIGURES))
        for row in rows:
            values = [getattr(row.figures, name) for name in _FIGURES]
            names = (row.path, row.label, row.first_reader, row.second_reader, row.verdict)
            table.writerow((*map(_as_text, names), *("" if value is None else value for value in values)))
    return len(rows)


def _as_text(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA_SIGNS) else name


class Lists:
    """Makes, opens and searches work lists in the background."""

    def __init__(self, presenter: CorrectionPresenter) -> None:
        self._presenter = presenter

    def create(
        self, folder: Path, studies: Path, labels: Sequence[LabelDefinition], *, title: str = ""
    ) -> None:
        """Make a work list, then show it."""
        job = partial(WorkList.create, folder, studies, labels=labels, title=title)
        presenter = self._presenter
        presenter.leave_then(lambda: presenter.read("Looking for studies …", job, presenter.show_list))

    def open(self, folder: Path, studies: Path | None = None) -> None:
        """Go on with a work list; studies: where they are now, when they have moved."""

        def job(*, progress: object, cancelled: object) -> WorkList:
            return WorkList.open(folder, studies=studies)

        presenter = self._presenter
        presenter.leave_then(lambda: presenter.read("Opening the work list …", job, presenter.show_list))

    def look_again(self) -> None:
        """Add studies that are new in the folder, and show what other programs changed."""
        work_list = self._presenter.work_list
        if work_list is not None:
            self._presenter.read("Looking for new studies …", work_list.add_studies, self._on_added)

    def _on_added(self, added: tuple[str, ...]) -> None:
        self._presenter.refresh()
        self._presenter.say(f"{len(added)} new studies." if added else "No new study was found.")
