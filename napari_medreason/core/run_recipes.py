"""Settings of each recipe; see core.run_config."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_medreason.core.run_limits import COUNT, SHARE


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Fine-tuning of the embedded model.

    steps: optimiser steps that the learning rate is planned for; budget.steps takes its place if it is set.
    replay: share of every batch that comes from the shipped generator, so that nothing known is forgotten.
    strength: of the random changes to the user's own slices, 0 to 1.
    """

    steps: int = field(default=300, metadata=COUNT)
    learning_rate: float = 2e-4
    batch: int = field(default=4, metadata=COUNT)
    replay: float = field(default=0.5, metadata=SHARE)
    strength: float = field(default=0.5, metadata=SHARE)
    weight_decay: float = 0.02
