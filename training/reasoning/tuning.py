"""What SFT and GRPO of a reasoner share: trainers of TRL, driven step by step by the loop of all recipes.

TRL computes: it draws answers, scores them, and gives losses and gradients (its `training_step`). When a step
is taken, what is kept, when the run ends and how it goes on after a hard stop is decided by training.loop.
So nothing of the run depends on the state of TRL's own loop, and a resumed run repeats the unbroken one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_medreason.core.run_config import RunConfig

from .. import several
from ..loop import Evaluation
from ..run_data import RunRecords, spread
from .answering import MAIN, Judged, Writing, answers, evaluation, judged
from .base_model import BaseModel, Settings, load_network, load_words
from .conversations import Asking, Conversation, asking, conversations


@dataclass(frozen=True, eq=False)
class ReasonerData:
    """What a run needs: the base, the way it is asked, and the records as conversations."""

    base: BaseModel
    way: Asking
    records: RunRecords
    train: tuple[Conversation, ...]
    judged_on: tuple[Conversation, ...]
    processor: Any

    def test(self) -> tuple[Conversation, ...]:
        """The test records, made when they are needed."""
        return tuple(conversations(self.records.test, self.records.images, self.way))


def reasoner_data(config: RunConfig, base: BaseModel, records: RunRecords, start: Path) -> ReasonerData:
    """Read planes and words; without validation records the training records judge."""
    settings: Settings = config.settings
    processor = load_words(base)
    way = asking(
        base.family,
        settings.square,
        prompt=start / settings.prompt if settings.prompt else None,
        direct=settings.direct,
        control=processor.tokenizer.all_special_tokens,
    )
    judging = spread(records.validation or records.train, config.evaluation.records)
    return ReasonerData(
        base,
        way,
        records,
        tuple(conversations(records.train, records.images, way)),
        tuple(conversations(judging, records.images, way)),
        processor,
    )


def planned_steps(config: RunConfig, examples: int, per_step: int) -> int:
    """How many steps the schedule has: as the budget or the recipe says, else whole epochs."""
    settings: Settings = config.settings
    epochs = math.ceil(settings.epochs * examples / per_step)
    return config.budget.steps or settings.steps or max(1, epochs)


def rows_of_step(number: int, *, per_step: int, examples: int, seed: int) -> list[int]:
    """Which examples make step `number`, from 1: epoch after epoch, each in an order of its own."""
    places = range((number - 1) * per_step, number * per_step)
    return [_order(place // examples, examples, seed)[place % examples] for place in places]


def _order(epoch: int, examples: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order: list[int] = torch.randperm(examples, generator=generator).tolist()
    return order


class ReasonerTuning:
    """A recipe for the loop, but for `step`. trainer: of TRL; it is never let run alone."""

    schedule_steps: int
    main = MAIN

    def __init__(self, config: RunConfig, data: ReasonerData, trainer: Any) -> None:
        self.config, self.data, self.trainer = config, data, trainer
        self.settings: Settings = config.settings
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        accelerator = trainer.accelerator
        if self.settings.checkpointing:  # TRL does it at the start of its own loop, which is not run
            trainer.model.activation_checkpointing_enable({"use_reentrant": False})
        self.model, self.optimiser = accelerator.prepare(trainer.model, trainer.create_optimizer())
        trainer.model_wrapped, trainer.optimizer = self.model, self.optimiser
        family = data.base.family.repetition_penalty or 1.0
        self.writing = Writing(self.settings.max_answer_tokens, self.settings.repetition_penalty or family)

    @property
    def network(self) -> Any:
        """The network itself, without what wraps it for several processes."""
        return self.trainer.accelerator.unwrap_model(self.model)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The weights that training changes, by name."""
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def update(self, rate: float) -> float:
        """One update of the weights from the gradients there are, at a learning rate; the gradient's norm."""
        norm = self.trainer.accelerator.clip_grad_norm_(
            list(self.trained.values()), self.settings.gradient_clip
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(norm)

    def loss_of(self, inputs: Any, items: Tensor | None = None, *, last: bool) -> float:
        """Loss of one part of a batch, whose gradients are added; `last`: no other part follows."""
        accelerator = self.trainer.accelerator
        alone = nullcontext() if last else accelerator.no_sync(self.model)
        with alone:
            return float(self.trainer.training_step(self.model, inputs, items))

    def judge(self, asked: Sequence[Conversation], network: Any = None) -> list[Judged]:
        """Answers of the network as it is now, or of another one."""
        texts = answers(network or self.network, self.data.processor, asked, self.writing)
        return [judged(text, one, self.data.way) for text, one in zip(texts, asked, strict=True)]

    def evaluate(self) -> Evaluation:
        """Box IoU and the rates of form and refusals on the validation records."""
        found = self.judge(self.data.judged_on)
        return evaluation(found, self.data.judged_on, self.data.way, main=self.main)

    def state(self) -> dict[str, Tensor]:
        """The trained weights and the optimiser."""
        tensors = {f"weights.{name}": value for name, value in self.trained.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put weights and optimiser back."""
        for name, value in self.trained.items():
            value.copy_(tensors[f"weights.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def export(self, folder: Path) -> None:
        """Write the adapter or the whole model, what it does better than its base, and its card."""
        from .export import export_reasoner

        if several.is_main():
            export_reasoner(self, folder)


def trained_network(base: BaseModel, settings: Settings, device: torch.device) -> Any:
    """The base, ready for TRL's trainers, which read its folder again where they need it untouched."""
    network = load_network(base, settings, device)
    network.config._name_or_path = str(base.folder)
    return network


def trainer_options(settings: Settings, folder: Path, seed: int, device: torch.device) -> dict[str, Any]:
    """Options that SFT and GRPO give to TRL alike. Nothing is written, reported or logged by TRL itself."""
    return {
        "output_dir": str(folder),
        "seed": seed,
        "use_cpu": device.type == "cpu",
        "bf16": settings.numbers != "fp32",
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.gradient_clip,
        "activation_checkpointing": settings.checkpointing,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that the libraries give about each other: peft asks for what is on its way out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield
