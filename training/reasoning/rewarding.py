"""Rewards of drawn answers as TRL asks for them; each term, refusals and parse failures become metrics."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from napari_medreason.core.released_answers import released_score
from napari_medreason.core.run_recipes_reasoning import GrpoRecipe

from ..rewards import score
from .answering import is_formed

LogMetric = Callable[[str, float], None]


class Reward:
    """The sum of the terms of one variant, for each answer.

    A total that is not a number, as the released rewards give for an answer with NaN in it, counts as 0.
    """

    __name__ = "reward"

    def __init__(self, settings: GrpoRecipe) -> None:
        self.settings = settings

    def __call__(
        self,
        completions: Sequence[Sequence[dict[str, Any]]],
        truth: Sequence[str],
        log_metric: LogMetric,
        **_: Any,
    ) -> list[float]:
        """One number for each answer; what TRL passes beside it is not used."""
        texts = [str(one[-1]["content"]) for one in completions]
        terms = [
            score(text, true, self.settings.reward, sound=self.settings.sound)
            for text, true in zip(texts, truth, strict=True)
        ]
        self._log(texts, truth, terms, log_metric)
        return [one["score"] if math.isfinite(one["score"]) else 0.0 for one in terms]

    def _log(
        self,
        texts: Sequence[str],
        truth: Sequence[str],
        terms: Sequence[dict[str, float]],
        log_metric: LogMetric,
    ) -> None:
        direct = self.settings.direct
        pairs = list(zip(texts, truth, strict=True))
        values: dict[str, list[float]] = defaultdict(list)
        for one in terms:
            for name, value in one.items():
                if name != "score" and math.isfinite(value):
                    values[f"reward {name}"].append(value)
        values["format rate"] = [is_formed(text, true, direct=direct) for text, true in pairs]
        values["refusal rate"] = [released_score(t, true, think=not direct).failed for t, true in pairs]
        for name, own in values.items():
            log_metric(name, sum(own) / len(own))
