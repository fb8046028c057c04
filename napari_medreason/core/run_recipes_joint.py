"""Settings of the recipes that train words and masks together: "prs-med" and "medisee".

Defaults are the papers'; a preset puts other values in their place (see core.run_config).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PrsMedRecipe:
    """Joint training of PRS-Med.

    steps: optimiser steps that the schedule is planned for; budget.steps takes its place if it is set.
    """

    preset: str = "paper"
    steps: int = 300
    learning_rate: float = 1e-4
    batch: int = 8


@dataclass(frozen=True)
class MediSeeRecipe:
    """Joint training of MediSee; steps as in PrsMedRecipe."""

    preset: str = "paper"
    steps: int = 300
    learning_rate: float = 1e-4
    batch: int = 8


PRS_MED_PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": {}}
MEDISEE_PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": {}}
