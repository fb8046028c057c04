"""Tables of an evaluation: sound figures with intervals, and the papers' own layouts."""

from __future__ import annotations

import csv
import io as text_io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .figures import Difference, Figure, Part, by_group, difference, figure, mean_of, pooled
from .scores import RecordScore

Scores = Mapping[str, Sequence[RecordScore]]
"""The scores of each model by its title, in the order of the configuration."""


@dataclass(frozen=True)
class Measure:
    """One figure: its name in tables and files, and how it is made of the scores of records.

    patients_first: the mean over patients of their means, as adapters' cards have it.
    """

    title: str
    key: str
    part: Part
    patients_first: bool = False


def _mean(title: str, key: str) -> Measure:
    return Measure(title, key, mean_of(key))


CIOU = Measure("cIoU", "ciou", pooled("common", "union"))
DICE = _mean("Dice", "dice")
PATIENTS = Measure("Dice, mean of patients", "dice_of_patients", DICE.part, patients_first=True)
MASKS = (
    DICE,
    PATIENTS,
    _mean("gIoU (mean IoU)", "iou"),
    CIOU,
    _mean("mDice, 256 thresholds", "dice_256"),
    _mean("mIoU, 256 thresholds", "iou_256"),
)
PLACES = (
    _mean("box IoU", "box_iou"),
    _mean("box Acc@0.5", "box_right"),
    _mean("pDice (true Dice)", "points_dice"),
    _mean("circle IoU", "points_iou"),
)
ANSWERS = (_mean("not found", "not_found"), _mean("refused", "refused"), _mean("seconds each", "seconds"))
WORDS = (
    _mean("ROUGE-1", "rouge_1"),
    _mean("ROUGE-L", "rouge_l"),
    _mean("METEOR", "meteor"),
    _mean("names a place", "place_named"),
    _mean("place right", "place_right"),
)
SOUND = (*MASKS, *PLACES, *ANSWERS, *WORDS)
COMPARED = (DICE, PATIENTS, MASKS[2], CIOU, *PLACES[:3], *WORDS[:3], WORDS[4])


@dataclass(frozen=True)
class Table:
    """Cells as texts. name: of its CSV file; title, note: for people, note "" for none."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As a Markdown table under its title."""
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in (self.columns, *self.rows)]
        lines.insert(-len(self.rows) or len(lines), "|" + " --- |" * len(self.columns))
        return "\n".join(lines) + "\n"

    def as_csv(self) -> str:
        """As CSV with a head line."""
        stream = text_io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows((self.columns, *self.rows))
        return stream.getvalue()


@dataclass(frozen=True)
class Resampling:
    """Seed and number of the draws behind intervals and tests."""

    seed: int
    resamples: int

    def _options(self, measure: Measure) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "resamples": self.resamples,
            "patients_first": measure.patients_first,
        }

    def figure(self, scores: Iterable[RecordScore], measure: Measure) -> Figure | None:
        """A figure with its interval."""
        return figure(scores, measure.part, **self._options(measure))

    def difference(
        self, first: Sequence[RecordScore], second: Sequence[RecordScore], measure: Measure
    ) -> Difference | None:
        """The second model less the first."""
        return difference(first, second, measure.part, **self._options(measure))


def overview(scores: Scores, draws: Resampling) -> list[Table]:
    """Sound figures of all records: masks, places, answers and words."""
    parts = (
        ("masks", "Masks", MASKS),
        ("places", "Boxes and key points", PLACES),
        ("answers", "Answers", ANSWERS),
        ("words", "Words", WORDS),
    )
    return [_by_model(name, title, measures, scores, draws) for name, title, measures in parts]


def _by_model(name: str, title: str, measures: Sequence[Measure], scores: Scores, draws: Resampling) -> Table:
    rows = [
        (model, *(with_interval(draws.figure(own, measure)) for measure in measures))
        for model, own in scores.items()
    ]
    return Table(name, title, ("model", *(measure.title for measure in measures)), tuple(rows))


def per_group(scores: Scores, group: str, draws: Resampling) -> Table:
    """Dice of each group of one kind, models side by side."""
    grouped = {model: by_group(own, group) for model, own in scores.items()}
    first = next(iter(grouped.values()))
    rows = [
        (
            name,
            str(len(own)),
            str(len({score.patient for score in own})),
            *(with_interval(draws.figure(found[name], DICE)) for found in grouped.values()),
        )
        for name, own in first.items()
    ]
    title = f"Dice by {group.replace('_', '-')}"
    return Table(f"by_{group}", title, (group, "records", "patients", *scores), tuple(rows))


def comparison(scores: Scores, draws: Resampling) -> Table | None:
    """Every other model less the first one, on the same records; None for a single model."""
    (base, first), *others = scores.items()
    rows = []
    for other, second in others:
        for measure in COMPARED:
            found = draws.difference(first, second, measure)
            if found is not None:
                rows.append((f"{other} less {base}", measure.title, *_difference_cells(found)))
    columns = ("models", "measure", base_column(base), "other", "difference", "p", "patients better, worse")
    note = (
        "Paired, on the same records. Interval: 95 % bootstrap over patients. p: permutation test over "
        "patients, two-sided, not corrected for the number of rows; behind it the least value that can "
        "come of as many patients as show a difference, where that is above 0.05."
    )
    return Table("comparison", "Comparison", columns, tuple(rows), note) if rows else None


def base_column(title: str) -> str:
    """Head of the first model's column."""
    return f"first ({title})"


def _difference_cells(found: Difference) -> tuple[str, ...]:
    interval = "" if found.interval is None else f" ({found.interval[0]:+.3f} to {found.interval[1]:+.3f})"
    chance = "one patient" if found.chance is None else f"{found.chance:.3f}"
    if found.chance is not None and found.least_chance > 0.05:
        chance += f" (least {found.least_chance:.2f})"
    patients = f"{found.better}, {found.worse} of {found.patients}"
    return f"{found.first:.3f}", f"{found.second:.3f}", f"{found.value:+.3f}{interval}", chance, patients


def with_interval(found: Figure | None) -> str:
    """Such as "0.812 (0.750–0.861)"; without an interval for one patient, "–" for nothing."""
    if found is None:
        return "–"
    if found.interval is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.interval[0]:.3f}–{found.interval[1]:.3f})"


def plain(value: float | None, format_: Callable[[float], str] = "{:.3f}".format) -> str:
    """A number, or "–" for none."""
    return "–" if value is None else format_(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
