"""Settings of the recipes that train a reasoner: "sft" (examples first) and "grpo" (rewards).

Defaults are the paper's; a preset puts other values in their place (see core.run_config).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SftRecipe:
    """Supervised warm-up, so that answers have the form that rewards can judge.

    steps: optimiser steps that the schedule is planned for; budget.steps takes its place if it is set.
    """

    preset: str = "paper"
    steps: int = 300
    learning_rate: float = 1e-5
    batch: int = 8


@dataclass(frozen=True)
class GrpoRecipe:
    """Group relative policy optimisation with the rewards of MedReasoner.

    steps: as in SftRecipe. group: answers drawn for each question.
    """

    preset: str = "paper"
    steps: int = 300
    learning_rate: float = 1e-6
    group: int = 16


SFT_PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": {}}
GRPO_PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": {}}
