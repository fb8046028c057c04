"""Settings of the recipes that train a reasoner: "sft" (examples first) and "grpo" (rewards).

Defaults are the paper's; a preset puts other values in their place (see core.run_config). One step of "grpo"
is one round of drawn answers with all the updates made from it, as veRL counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_medreason.core.run_limits import COUNT, SHARE

Trained = Literal["all", "low-rank"]
"""Every weight, or a low-rank adapter (LoRA) on the text layers alone."""
Numbers = Literal["fp32", "bf16", "4bit"]
"""How weights are held; 4bit: text layers in 4-bit NormalFloat, a low-rank adapter in 16 bits (QLoRA)."""
RewardVariant = Literal["soft", "hard", "base", "base_as_released"]
Aggregation = Literal["token-mean", "answer-mean"]


@dataclass(frozen=True)
class SftRecipe:
    """Supervised warm-up, so that answers have the form that rewards can judge (MedReasoner's SFT baseline).

    steps: optimiser steps that the schedule is planned for, 0 for what `epochs` gives; budget.steps takes
    its place if it is set. batch: examples of one step, over all processes; at_once: of them in memory.
    learning_rate: at the top of a cosine, after a linear start over the share `warm_up` of the steps.
    vision: train the image encoder too, and what joins it to the words. low_rank, low_rank_scale: rank and
    alpha of the adapter.
    checkpointing: compute activations again rather than keep them. square: side in pixels of what the
    model is shown. prompt: a prompt file of one's own, "" for the family's. direct: answers without
    reasoning. max_answer_tokens, repetition_penalty: of the answers that are judged, 0 for the family's
    penalty.
    """

    preset: str = "paper"
    steps: int = 0
    epochs: float = 5.0
    learning_rate: float = 5e-6
    warm_up: float = field(default=0.1, metadata=SHARE)
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    batch: int = field(default=16, metadata=COUNT)
    at_once: int = field(default=2, metadata=COUNT)
    trained: Trained = "all"
    numbers: Numbers = "bf16"
    vision: bool = True
    low_rank: int = field(default=64, metadata=COUNT)
    low_rank_scale: int = field(default=128, metadata=COUNT)
    low_rank_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    checkpointing: bool = True
    square: int = field(default=840, metadata=COUNT)
    prompt: str = ""
    direct: bool = False
    max_answer_tokens: int = field(default=1024, metadata=COUNT)
    repetition_penalty: float = 0.0


@dataclass(frozen=True)
class GrpoRecipe:
    """Group relative policy optimisation with the rewards of MedReasoner.

    steps, at_once, vision and what follows it: as in SftRecipe; at_once counts answers. prompts: questions
    of one step, over all processes; group: answers drawn for each; updates: optimiser updates made from
    them. clip: of the probability ratio, on both sides; dual_clip: its bound for worse answers. kl: weight
    of the divergence from the start (k3 estimate) in the loss. advantage_floor: added to a group's standard
    deviation. reward: of training.rewards; sound: with what is wrong in the released rewards put right.
    max_answer_tokens: of drawn answers. vllm: draw them with vLLM, which must be installed.
    """

    preset: str = "paper"
    steps: int = 0
    epochs: float = 5.0
    learning_rate: float = 1e-6
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    prompts: int = field(default=128, metadata=COUNT)
    group: int = field(default=16, metadata={"least": 2})
    updates: int = field(default=2, metadata=COUNT)
    at_once: int = field(default=1, metadata=COUNT)
    temperature: float = 1.0
    clip: float = field(default=0.2, metadata=SHARE)
    dual_clip: float = 3.0
    kl: float = 0.01
    aggregation: Aggregation = "token-mean"
    advantage_floor: float = 1e-6
    reward: RewardVariant = "soft"
    sound: bool = False
    trained: Trained = "all"
    numbers: Numbers = "bf16"
    vision: bool = True
    low_rank: int = field(default=64, metadata=COUNT)
    low_rank_scale: int = field(default=128, metadata=COUNT)
    low_rank_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    checkpointing: bool = True
    square: int = field(default=840, metadata=COUNT)
    prompt: str = ""
    direct: bool = False
    max_answer_tokens: int = field(default=2048, metadata=COUNT)
    repetition_penalty: float = 0.0
    vllm: bool = False


_ONE_GPU: Mapping[str, Any] = {"trained": "low-rank", "vision": False, "epochs": 1.0}
_CPU: Mapping[str, Any] = {"numbers": "fp32", "checkpointing": False, "square": 84}

SFT_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "one-gpu": {**_ONE_GPU, "learning_rate": 1e-4},
    "one-gpu-4bit": {**_ONE_GPU, "learning_rate": 1e-4, "numbers": "4bit", "at_once": 1},
    "cpu-small": {**_CPU, "learning_rate": 1e-3, "batch": 16, "at_once": 16, "max_answer_tokens": 96},
}
"""paper: every weight, on several GPUs. one-gpu: 48 GB for 7 billion
weights; one-gpu-4bit: 24 GB. cpu-small: for models of a few million weights, in tests and proofs."""

_ONE_GPU_ROUND: Mapping[str, Any] = {
    **_ONE_GPU,
    "sound": True,
    "learning_rate": 1e-5,
    "updates": 1,
    "max_answer_tokens": 768,
}
GRPO_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "one-gpu": {**_ONE_GPU_ROUND, "prompts": 8, "group": 8, "at_once": 2},
    "one-gpu-4bit": {**_ONE_GPU_ROUND, "prompts": 4, "group": 8, "at_once": 1, "numbers": "4bit"},
    "cpu-small": {
        **_CPU,
        "sound": True,
        "learning_rate": 3e-4,
        "prompts": 8,
        "group": 8,
        "updates": 1,
        "at_once": 64,
        "max_answer_tokens": 96,
    },
}
"""As SFT_PRESETS; only "paper" has the group of 16 and the released rewards with their faults."""
