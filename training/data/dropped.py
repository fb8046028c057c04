"""Counting what a build leaves out, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Dropped:
    """How many cases, regions or texts were left out, by reason; nothing is left out uncounted."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[str] = Counter(counts or {})

    def add(self, reason: str, count: int = 1) -> None:
        """Count `count` more under a reason such as "region: fewer than 10 pixels"."""
        if count:
            self._counts[reason] += count

    def update(self, counts: Mapping[str, int]) -> None:
        """Add the counts of another."""
        for reason, count in counts.items():
            self.add(reason, count)

    def as_dict(self) -> dict[str, int]:
        """Counts by reason, sorted by reason."""
        return dict(sorted(self._counts.items()))

    @property
    def total(self) -> int:
        """All of them."""
        return self._counts.total()
