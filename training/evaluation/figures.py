"""From the scores of records to figures: means, their intervals, and the difference of two models.

Intervals and tests take patients, never slices, as what could have been another: all records of a patient are
drawn together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..measures import patients_drawn, percentiles
from .scores import RecordScore

EXACT_PATIENTS = 12
"""Up to so many patients all exchanges of the two models are tried, 4096 at most."""


@dataclass(frozen=True)
class Figure:
    """A mean over records. interval: 95 %, None with one patient or where a paper gives none."""

    value: float
    records: int
    patients: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Difference:
    """The second model less the first, over records that both were asked.

    interval: 95 % bootstrap over patients. chance: probability of a difference at least so large if the two
    models were exchangeable (permutation of the patients' differences, two-sided). better, worse: patients.
    least_chance: the smallest value that can come of as many patients as show any difference.
    """

    first: float
    second: float
    interval: tuple[float, float] | None
    chance: float | None
    least_chance: float
    better: int
    worse: int
    patients: int
    records: int

    @property
    def value(self) -> float:
        """How much more the second model has."""
        return self.second - self.first


Part = Callable[[RecordScore], tuple[float, float] | None]
"""What a record adds above and below the line of a mean; None where the score does not apply."""


def mean_of(name: str) -> Part:
    """The plain mean over records of a score."""

    def part(score: RecordScore) -> tuple[float, float] | None:
        return (score.values[name], 1.0) if name in score.values else None

    return part


def pooled(above: str, below: str) -> Part:
    """The sum of one score over the sum of another, such as common pixels over those in either."""

    def part(score: RecordScore) -> tuple[float, float] | None:
        return (score.values[above], score.values[below]) if above in score.values else None

    return part


def figure(
    scores: Iterable[RecordScore], part: Part, *, seed: int, resamples: int, patients_first: bool = False
) -> Figure | None:
    """The mean with its interval (percentile bootstrap over patients); None where no record has the score.

    patients_first: the mean over patients of their means, so that many records do not count more.
    """
    by_patient = _sums(scores, part)
    if not by_patient:
        return None
    sums = _weighed(np.array(list(by_patient.values())), patients_first=patients_first)
    value = _ratio(sums[:, :2].sum(axis=0))
    drawn = _draws(len(sums), seed, resamples)
    interval = None if drawn is None else percentiles(_ratios(sums[:, :2], drawn))
    return Figure(value, int(sums[:, 2].sum()), len(sums), interval)


def difference(
    first: Sequence[RecordScore],
    second: Sequence[RecordScore],
    part: Part,
    *,
    seed: int,
    resamples: int,
    patients_first: bool = False,
) -> Difference | None:
    """The second model less the first on the records that both have; None where there is none."""
    pairs = _paired(first, second, part)
    if not pairs:
        return None
    sums = np.array([[*one, *other, count] for one, other, count in pairs.values()])
    sums = _weighed(sums, patients_first=patients_first)
    gains = np.array([_ratio(row[2:4]) - _ratio(row[:2]) for row in sums])
    drawn = _draws(len(sums), seed, resamples)
    interval = None
    if drawn is not None:
        interval = percentiles(_ratios(sums[:, 2:4], drawn) - _ratios(sums[:, :2], drawn))
    return Difference(
        first=_ratio(sums[:, :2].sum(axis=0)),
        second=_ratio(sums[:, 2:4].sum(axis=0)),
        interval=interval,
        chance=None if drawn is None else _exchanged(sums, seed, resamples),
        least_chance=min(1.0, 2.0 / 2 ** int((sums[:, :2] != sums[:, 2:4]).any(axis=1).sum())),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        patients=len(sums),
        records=int(sums[:, 4].sum()),
    )


def mean_of_groups(scores: Iterable[RecordScore], name: str, group: str) -> float | None:
    """The unweighted mean over groups of their means, as PRS-Med's code does over its sources."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if name in score.values:
            values[score.groups[group]].append(score.values[name])
    return float(np.mean([np.mean(own) for own in values.values()])) if values else None


def by_group(scores: Iterable[RecordScore], group: str) -> Mapping[str, list[RecordScore]]:
    """The scores of each group of one kind, in alphabetical order."""
    found: dict[str, list[RecordScore]] = defaultdict(list)
    for score in scores:
        found[score.groups[group]].append(score)
    return {name: found[name] for name in sorted(found)}


def _sums(scores: Iterable[RecordScore], part: Part) -> dict[str, NDArray[np.float64]]:
    """Per patient: above, below, and records."""
    found: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(3))
    for score in scores:
        shares = part(score)
        if shares is not None:
            found[score.patient] += (*shares, 1)
    return dict(found)


def _weighed(sums: NDArray[np.float64], *, patients_first: bool) -> NDArray[np.float64]:
    """Rows of (above, below) once or twice and the number of records; each patient as one, if wanted."""
    if not patients_first:
        return sums
    result = sums.copy()
    for below in range(1, sums.shape[1] - 1, 2):
        pair = slice(below - 1, below + 1)
        result[:, pair] /= np.where(sums[:, below] > 0, sums[:, below], 1)[:, None]
    return result


def _paired(
    first: Sequence[RecordScore], second: Sequence[RecordScore], part: Part
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    others = {score.record: score for score in second}
    kept = [
        (score, others[score.record])
        for score in first
        if score.record in others and None not in (part(score), part(others[score.record]))
    ]
    one, other = _sums((pair[0] for pair in kept), part), _sums((pair[1] for pair in kept), part)
    return {patient: (one[patient][:2], other[patient][:2], int(one[patient][2])) for patient in one}


def _draws(patients: int, seed: int, resamples: int) -> NDArray[np.int64] | None:
    """How often each patient is drawn, (resamples, patients); None for a single patient."""
    if patients < 2:
        return None
    drawn = patients_drawn(patients, resamples, seed)
    return np.stack([np.bincount(row, minlength=patients) for row in drawn])


def _ratio(sums: NDArray[np.float64]) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 1.0


def _ratios(sums: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    total = drawn @ sums
    return np.divide(total[:, 0], total[:, 1], out=np.ones(len(total)), where=total[:, 1] > 0)


def _exchanged(sums: NDArray[np.float64], seed: int, resamples: int) -> float:
    """Share of exchanges of both models, patient by patient, with a difference as large as the one found."""
    patients = len(sums)
    if patients <= EXACT_PATIENTS:
        swapped = np.array(list(product((False, True), repeat=patients)))
    else:
        swapped = np.random.default_rng(seed).random((resamples, patients)) < 0.5
    keep, swap = (~swapped).astype(np.float64), swapped.astype(np.float64)
    one = keep @ sums[:, :2] + swap @ sums[:, 2:4]
    other = keep @ sums[:, 2:4] + swap @ sums[:, :2]
    ones, others = np.ones(len(one)), np.ones(len(one))
    np.divide(one[:, 0], one[:, 1], out=ones, where=one[:, 1] > 0)
    np.divide(other[:, 0], other[:, 1], out=others, where=other[:, 1] > 0)
    observed = _ratio(sums[:, 2:4].sum(axis=0)) - _ratio(sums[:, :2].sum(axis=0))
    extreme = int((np.abs(others - ones) >= abs(observed) - 1e-12).sum())
    exact = patients <= EXACT_PATIENTS
    return extreme / len(swapped) if exact else (extreme + 1) / (len(swapped) + 1)
