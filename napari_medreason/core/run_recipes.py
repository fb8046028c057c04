"""Settings of each recipe; see core.run_config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Fine-tuning of the embedded model.

    steps: optimiser steps that the learning rate is planned for; budget.steps takes its place if it is set.
    replay: share of every batch that comes from the shipped generator, so that nothing known is forgotten.
    strength: of the random changes to the user's own slices, 0 to 1.
    """

    steps: int = 300
    learning_rate: float = 2e-4
    batch: int = 4
    replay: float = 0.5
    strength: float = 0.5
    weight_decay: float = 0.02
