"""Settings of the recipes that train words and masks together: "prs-med" and "medisee".

Defaults are the papers'; a preset puts other values in their place (see core.run_config). Where a paper gives
no number, the released code's stands. "released": as the authors' code does it, but for what is plainly wrong
in it. "one-gpu": 4-bit weights on one graphics card. "cpu-small": for tiny models, to try a run out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_medreason.core.run_limits import COUNT, SHARE

TrainingPrecision = Literal["", "fp32", "bf16", "4bit"]
Schedule = Literal["cosine by epoch", "cosine", "linear"]
"""How the learning rate falls: in steps once for each pass over the data, or at every step."""


@dataclass(frozen=True)
class PrsMedRecipe:
    """Joint training of PRS-Med.

    epochs: passes over the training records; steps: optimiser steps in place of them, 0 for none;
    budget.steps takes the place of both. batch: records at once, accumulation: batches for one step.
    clip: largest norm of the gradient. lowest_rate: where the cosine ends. lora_targets: projections of the
    text layers' attention. train_encoder: all of the image encoder, as in the paper's best row. mask_loss:
    the paper's, or the released one with and without its wrong argument. class_weight: of naming the kind of
    picture in the first class_epochs. text_on: which words are learnt. decoder: "" is the base's, another one
    starts anew. size: side of the square that the encoder sees. precision: of LLaVA-Med, "" is what fits.
    checkpointing: less memory, but slower.
    """

    preset: str = "paper"
    epochs: float = 20.0
    steps: int = 0
    batch: int = field(default=8, metadata=COUNT)
    accumulation: int = field(default=1, metadata=COUNT)
    learning_rate: float = 1e-4
    schedule: Schedule = "cosine by epoch"
    lowest_rate: float = 1e-6
    warm_up_steps: int = 0
    weight_decay: float = 1e-5
    clip: float = 2.0
    lora_rank: int = field(default=16, metadata=COUNT)
    lora_alpha: int = field(default=16, metadata=COUNT)
    lora_dropout: float = field(default=0.05, metadata=SHARE)
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    train_encoder: bool = True
    mask_loss: Literal["cross-entropy and dice", "structure", "structure as released"] = (
        "cross-entropy and dice"
    )
    mask_weight: float = 1.0
    text_weight: float = 1.0
    text_on: Literal["answer", "question and answer"] = "answer"
    class_weight: float = 0.0
    class_epochs: float = 5.0
    decoder: Literal["", "v5", "v6", "paper"] = ""
    size: int = field(default=1024, metadata=COUNT)
    precision: TrainingPrecision = ""
    checkpointing: bool = False


@dataclass(frozen=True)
class MediSeeRecipe:
    """Joint training of MediSee; what is not named here is as in PrsMedRecipe.

    The paper's batch is per graphics card, of which it had four. box_weight: of the corners' difference,
    overlap_weight: of 1 - generalised IoU. similarity_weight: of the second stage, in which a question that
    needs reasoning is taught to look where the plain name looks. words: which rows of embeddings and output
    layer are trained; "candidates" are those of [SEG] and [BBOX] alone. decoder_box: whether the box is a
    prompt of the mask decoder beside the text (the paper's ablation without it). faithful: the conventions of
    the released weights for pictures that are not square; must be as the model is asked later.
    """

    preset: str = "paper"
    epochs: float = 0.0
    steps: int = 1500
    batch: int = field(default=15, metadata=COUNT)
    accumulation: int = field(default=10, metadata=COUNT)
    learning_rate: float = 3e-4
    schedule: Schedule = "linear"
    lowest_rate: float = 0.0
    warm_up_steps: int = 100
    weight_decay: float = 0.0
    clip: float = 1.0
    lora_rank: int = field(default=8, metadata=COUNT)
    lora_alpha: int = field(default=16, metadata=COUNT)
    lora_dropout: float = field(default=0.05, metadata=SHARE)
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    words: Literal["all", "candidates"] = "all"
    text_weight: float = 1.0
    cross_entropy_weight: float = 2.0
    dice_weight: float = 0.5
    box_weight: float = 1.0
    overlap_weight: float = 1.0
    similarity_weight: float = 0.0
    decoder_box: bool = True
    faithful: bool = True
    precision: TrainingPrecision = ""
    checkpointing: bool = True


_SMALL: Mapping[str, Any] = {
    "precision": "fp32",
    "checkpointing": False,
    "accumulation": 1,
    "batch": 8,
    "epochs": 0.0,
    "steps": 300,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warm_up_steps": 20,
}
_ONE_GPU: Mapping[str, Any] = {
    "precision": "4bit",
    "checkpointing": True,
    "epochs": 0.0,
    "steps": 1000,
    "schedule": "cosine",
    "warm_up_steps": 50,
}

PRS_MED_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "released": {
        "batch": 4,
        "clip": 1.0,
        "lora_dropout": 0.1,
        "mask_loss": "structure as released",
        "text_on": "question and answer",
        "class_weight": 0.5,
    },
    "one-gpu": {**_ONE_GPU, "batch": 2, "accumulation": 4},
    "cpu-small": {**_SMALL, "size": 128},
}
MEDISEE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "released": {"box_weight": 2.0, "overlap_weight": 2.0},
    "second-stage": {"similarity_weight": 1.0},
    "one-gpu": {**_ONE_GPU, "batch": 2, "accumulation": 8, "words": "candidates"},
    "cpu-small": _SMALL,
}
