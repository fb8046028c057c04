"""Settings of each recipe, with the values of the papers as presets; see core.run_config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RewardName = Literal["soft", "hard", "base", "base_as_released"]


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


@dataclass(frozen=True)
class SftRecipe:
    """Supervised warm-up of a Reasoner (MedReasoner, section on baselines; TRL's SFTTrainer)."""

    learning_rate: float = 5e-6
    batch: int = 1
    accumulation: int = 8
    epochs: float = 1.0
    warm_up: float = 0.1
    lora_rank: int = 16
    lora_alpha: int = 32
    quantise: bool = False


@dataclass(frozen=True)
class GrpoRecipe:
    """Reinforcement learning of a Reasoner, with the settings of MedReasoner stated one by one.

    group: answers sampled for each question. kl: weight of the k3 estimate of the distance to the base.
    clip: of the probability ratio. lora_rank: 0 trains all weights, as the paper.
    """

    reward: RewardName = "soft"
    learning_rate: float = 1e-6
    group: int = 16
    temperature: float = 1.0
    kl: float = 0.01
    clip: float = 0.2
    questions_per_step: int = 1
    max_new_tokens: int = 512
    lora_rank: int = 16
    lora_alpha: int = 32
    quantise: bool = False


@dataclass(frozen=True)
class PrsMedRecipe:
    """Joint training of PRS-Med: words and mask."""

    preset: Literal["paper", "released"] = "paper"
    learning_rate: float = 1e-4
    batch: int = 4
    accumulation: int = 1
    lora_rank: int = 16
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class MediSeeRecipe:
    """Joint training of MediSee: words, box and mask, in two stages."""

    preset: Literal["paper", "released"] = "paper"
    stage: Literal["joint", "similarity"] = "joint"
    learning_rate: float = 3e-4
    batch: int = 4
    accumulation: int = 1
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
