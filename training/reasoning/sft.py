"""Supervised warm-up of a reasoner on TRL: the perfect answers of records, after their prompts.

As in MedReasoner's SFT baseline: all weights with the image encoder, 5e-6 on a cosine with a linear start
over a tenth of the steps, 16 examples a step. The loss is the mean over the answers' tokens, their end among
them; the prompt has no part in it. Differences: LLaMA-Factory, which the baseline used, cuts texts at 2,048
tokens, here nothing is cut; a step has the examples of one process of the baseline, since its number of
processes is not told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_recipes_reasoning import SftRecipe
from napari_medreason.errors import RunError

from .. import loop, several
from ..device_memory import reasoner_size, tell_memory
from ..run_data import keep_data, run_records
from ..runs import RunWriter
from .answering import SCORE
from .base_model import base_model, check_settings, device_of, low_rank_config
from .conversations import Conversation
from .tuning import (
    ReasonerData,
    ReasonerTuning,
    planned_steps,
    quiet,
    reasoner_data,
    rows_of_step,
    trained_network,
    trainer_options,
)

IGNORED = -100
"""Label of a token that has no part in the loss, in PyTorch's cross-entropy."""


def train(writer: RunWriter, base: Path) -> EndReason:
    """Do a whole run of the recipe "sft", or go on with it; `base` is where its paths start."""
    config = writer.config
    start = base_model(config.base, base)
    check_settings(config.sft, start)
    records = run_records(config, base)
    keep_data(writer, records)
    tell_memory(config, reasoner_size(start.folder))
    data = reasoner_data(config, start, records, base)
    with quiet():
        return loop.run(SftTuning(writer, data), writer)


class SftTuning(ReasonerTuning):
    """The recipe that the loop runs; see the module."""

    settings: SftRecipe
    main = SCORE

    def __init__(self, writer: RunWriter, data: ReasonerData) -> None:
        config, settings = writer.config, writer.config.sft
        _check_batch(settings)
        self.schedule_steps = planned_steps(config, len(data.train), settings.batch)
        super().__init__(config, data, _trainer(writer, data))
        # The loss of each part is divided by the tokens of the whole batch already.
        self.trainer.loss_is_scaled_for_ga = True

    def step(self, number: int) -> dict[str, float]:
        """One update from a batch of examples."""
        rows = rows_of_step(
            number,
            per_step=self.settings.batch,
            examples=len(self.data.train),
            seed=self.config.seed,
        )
        own = several.share_of(rows)
        size = self.settings.at_once
        parts = [self._collated(own[start : start + size]) for start in range(0, len(own), size)]
        told = torch.stack([(part["labels"] != IGNORED).sum() for part in parts]).sum()
        # TRL divides by the tokens of all processes; each has about as many.
        items = told * several.process_count()
        loss = sum(self.loss_of(part, items, last=part is parts[-1]) for part in parts)
        rate = learning_rate(number, self.schedule_steps, self.settings)
        norm = self.update(rate)
        self.trainer._metrics["train"].clear()
        return {"loss": loss, "gradient": norm, "learning rate": rate}

    def _collated(self, rows: Sequence[int]) -> Any:
        batch = self.trainer.data_collator([example(self.data.train[row]) for row in rows])
        return {name: value.to(self.network.device) for name, value in batch.items()}


def example(one: Conversation) -> dict[str, Any]:
    """A conversation with its answer as TRL takes it."""
    answer = {"role": "assistant", "content": [{"type": "text", "text": one.answer}]}
    return {"prompt": list(one.messages), "completion": [answer], "images": [one.picture()]}


def learning_rate(number: int, steps: int, settings: SftRecipe) -> float:
    """The rate of step `number`, from 1: a linear start, then half a cosine down to 0."""
    warm = max(1, round(settings.warm_up * steps))
    if number <= warm:
        return settings.learning_rate * number / warm
    done = (number - warm) / max(1, steps - warm)
    return settings.learning_rate * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))


def _check_batch(settings: SftRecipe) -> None:
    share = settings.at_once * several.process_count()
    if settings.batch < 1 or settings.batch % share:
        raise RunError(
            f"batch = {settings.batch} is no multiple of at_once = {settings.at_once} times "
            f"{several.process_count()} processes; change one of them"
        )


def _trainer(writer: RunWriter, data: ReasonerData) -> Any:
    settings, device = writer.config.sft, device_of(writer.config.device)
    options = trainer_options(settings, writer.folder, writer.config.seed, device)
    accumulated = settings.batch // (settings.at_once * several.process_count())
    network = trained_network(data.base, settings, device)
    return SFTTrainer(
        model=network,
        args=SFTConfig(
            **options,
            per_device_train_batch_size=settings.at_once,
            gradient_accumulation_steps=accumulated,
            max_length=None,
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list([example(data.train[0])]),
        processing_class=data.processor,
        peft_config=low_rank_config(network, settings),
    )
