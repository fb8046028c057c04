"""GRPO of a reasoner on TRL, with the rewards and settings of MedReasoner.

A step: for each of `prompts` questions a group of answers is drawn, each answer is rewarded, its advantage
is its reward less the group's mean, over the group's standard deviation, and `updates` updates follow, each
from its share of the answers. The loss is the clipped ratio of probabilities times the advantage, plus `kl`
times the k3 estimate of the divergence from the start; nothing is taken off the reward for the divergence.

What TRL does otherwise than veRL 0.4, which the paper used, and what is done about it here:

- advantage: TRL adds 1e-4 to the standard deviation, veRL 1e-6; `advantage_floor` is what is added here.
- dual clip: veRL bounds the ratio by 3 where the advantage is negative; that is TRL's `delta`.
- tokens: veRL takes the mean over the tokens of each part in memory and averages these, so with the paper's
  one answer at a time it is the mean over answers. "token-mean" is TRL's "dapo", over all tokens of an
  update; "answer-mean" is TRL's "grpo".
- old probabilities: with one update a step they are the current ones, and nothing is clipped; veRL computes
  them always.
- a total reward that is no number (released rewards, an answer with NaN) counts as 0; veRL would lose the
  group.
- probabilities are computed in the trainer's numbers; with vLLM TRL corrects for drawing in other ones.
- paper: 64 GPUs, 128 questions and 16 answers a step, 2 updates, text of up to 2,048 tokens, 5 epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_recipes_reasoning import GrpoRecipe
from napari_medreason.errors import RunError

from .. import loop, several
from ..device_memory import reasoner_size, tell_memory
from ..run_data import keep_data, run_records
from ..runs import RunWriter
from .base_model import base_model, check_settings, device_of, low_rank_config
from .conversations import Conversation
from .rewarding import Reward
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

_ROUNDING = 1e-5
"""Standard deviation of rewards below which they are equal."""
_LOSS = {"token-mean": "dapo", "answer-mean": "grpo"}
_TOLD = {
    "reward": "reward",
    "reward_std": "reward spread",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut rate",
    "clip_ratio/region_mean": "clipped",
    "frac_reward_zero_std": "equal groups",
}
"""TRL's names of metrics, and ours. cut rate: answers that ended for their length; equal groups: groups whose
answers all have the same reward, which teach nothing."""


def train(writer: RunWriter, base: Path) -> EndReason:
    """Do a whole run of the recipe "grpo", or go on with it; `base` is where its paths start."""
    config = writer.config
    start = base_model(config.base, base)
    check_settings(config.grpo, start)
    _check_rounds(config.grpo)
    _check_vllm(config.grpo)
    records = run_records(config, base)
    keep_data(writer, records)
    tell_memory(config, reasoner_size(start.folder))
    data = reasoner_data(config, start, records, base)
    with quiet():
        return loop.run(GrpoTuning(writer, data), writer)


class GrpoTuning(ReasonerTuning):
    """The recipe that the loop runs; see the module."""

    settings: GrpoRecipe

    def __init__(self, writer: RunWriter, data: ReasonerData) -> None:
        settings = writer.config.grpo
        self.schedule_steps = planned_steps(writer.config, len(data.train), settings.prompts)
        super().__init__(writer.config, data, _trainer(writer, data))

    def step(self, number: int) -> dict[str, float]:
        """One round of answers and the updates made from it."""
        rows = rows_of_step(
            number,
            per_step=self.settings.prompts,
            examples=len(self.data.train),
            seed=self.config.seed,
        )
        drawn = [question(self.data.train[row]) for row in several.share_of(rows)]
        repeated = [one for one in drawn for _ in range(self.settings.group)]
        self.trainer.state.global_step = number  # by which TRL knows that vLLM's weights are old
        losses, norms = [], []
        parts = self.trainer.args.gradient_accumulation_steps
        for _ in range(self.settings.updates):
            losses += [self.loss_of(repeated, last=part == parts - 1) for part in range(parts)]
            norms.append(self.update(self.settings.learning_rate))
        mean_loss, norm = sum(losses) / self.settings.updates, max(norms)
        return {"loss": mean_loss, "gradient": norm, **self._metrics()}

    def _metrics(self) -> dict[str, float]:
        found = self.trainer._metrics["train"]
        told = {name: found[key] for key, name in _TOLD.items() if found.get(key)}
        own = ("reward ", "format rate", "refusal rate")
        told |= {name: values for name, values in found.items() if name.startswith(own)}
        means = {name: sum(values) / len(values) for name, values in told.items()}
        found.clear()
        return means


class ExactAdvantages(GRPOTrainer):
    """TRL's trainer with the paper's addend to the standard deviation of a group."""

    def __init__(self, *, floor: float, group: int, **options: Any) -> None:
        super().__init__(**options)
        self._floor, self._group = floor, group

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        scored = super()._generate_and_score_completions(inputs)
        scored["advantages"] = scaled(scored["advantages"], self._group, self._floor)
        return scored


def scaled(differences: Tensor, group: int, floor: float) -> Tensor:
    """(n,) rewards less their group's mean, over the group's (unbiased) standard deviation plus `floor`.

    A group whose rewards are equal up to rounding teaches nothing: 0, whatever the floor.
    """
    grouped = differences.view(-1, group)
    spread = grouped.std(dim=1, keepdim=True)
    return torch.where(spread > _ROUNDING, grouped / (spread + floor), 0.0).view(-1)


def question(one: Conversation) -> dict[str, Any]:
    """A conversation up to its answer as TRL takes it, with the truth for the reward."""
    return {"prompt": list(one.messages), "image": one.picture(), "truth": one.truth}


def options_of_paper(settings: GrpoRecipe) -> Mapping[str, Any]:
    """What the recipe says, in TRL's words; nothing is left to TRL's defaults, which are other ones."""
    answers = settings.prompts * settings.group // several.process_count()
    return {
        "per_device_train_batch_size": settings.at_once,
        "gradient_accumulation_steps": answers // (settings.at_once * settings.updates),
        "steps_per_generation": answers // settings.at_once,
        "num_generations": settings.group,
        "num_iterations": 1,
        "max_completion_length": settings.max_answer_tokens,
        "temperature": settings.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "beta": settings.kl,
        "epsilon": settings.clip,
        "epsilon_high": settings.clip,
        "delta": settings.dual_clip,
        "loss_type": _LOSS[settings.aggregation],
        "scale_rewards": "none",  # done by ExactAdvantages
        "importance_sampling_level": "token",
        "mask_truncated_completions": False,
        "use_vllm": settings.vllm,
    }


def _trainer(writer: RunWriter, data: ReasonerData) -> Any:
    settings, device = writer.config.grpo, device_of(writer.config.device)
    options = trainer_options(settings, writer.folder, writer.config.seed, device)
    network = trained_network(data.base, settings, device)
    return ExactAdvantages(
        floor=settings.advantage_floor,
        group=settings.group,
        model=network,
        reward_funcs=[Reward(settings)],
        args=GRPOConfig(**options, **options_of_paper(settings)),
        train_dataset=Dataset.from_list([{"prompt": list(data.train[0].messages)}]),
        processing_class=data.processor,
        peft_config=low_rank_config(network, settings),
    )


def _check_rounds(settings: GrpoRecipe) -> None:
    processes = several.process_count()
    answers = settings.prompts * settings.group
    whole = settings.at_once * settings.updates * processes
    if settings.group < 2 or settings.updates < 1 or settings.prompts % processes or answers % whole:
        raise RunError(
            f"prompts = {settings.prompts} and group = {settings.group} (2 or more) give {answers} answers, "
            f"which must share out over {processes} processes, {settings.updates} updates and "
            f"{settings.at_once} answers at once; change one of them"
        )


def _check_vllm(settings: GrpoRecipe) -> None:
    if settings.vllm and find_spec("vllm") is None:
        raise RunError(
            "vllm = true needs vLLM, which is not installed; install trl[vllm] (Linux, NVIDIA GPU), or "
            "set vllm = false to draw answers with transformers"
        )
