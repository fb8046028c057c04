"""Joint training as a recipe of the loop: optimiser, schedule, evaluation and export, for either system."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Tensor

from napari_medreason.core.record import Record
from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_recipes_joint import MediSeeRecipe, PrsMedRecipe
from napari_medreason.errors import RunError

from .. import loop
from ..device_memory import tell_memory
from ..loop import Evaluation, Sample
from ..measures import box_iou
from ..overlays import overlaid
from ..run_data import RunRecords, keep_data, run_records, spread
from ..runs import RunWriter, note
from .base import BaseFolders, base_size
from .export import export_joint
from .module import JointModule, Seen
from .samples import JointSample, drawn, joint_samples, mask_dice


def train_joint(
    writer: RunWriter, base: Path, build: Callable[[], JointModule], folders: BaseFolders
) -> EndReason:
    """Do a whole run with the system that `build` loads, or go on with it."""
    config = writer.config
    records = run_records(config, base)
    keep_data(writer, records)
    tell_memory(config, base_size(folders))
    torch.manual_seed(config.seed)
    recipe = JointTuning(build(), records, config, folders)
    return loop.run(recipe, writer)


class JointTuning:
    """The recipe that the loop runs, for PRS-Med and MediSee.

    at_once: records of one optimiser step, over all processes. steps_per_epoch: steps of one pass over the
    training records.
    """

    def __init__(
        self, module: JointModule, data: RunRecords, config: RunConfig, folders: BaseFolders
    ) -> None:
        self.config, self.data, self.folders = config, data, folders
        self.settings: PrsMedRecipe | MediSeeRecipe = config.settings
        self.samples = _learnt(joint_samples(data.train, data))
        judged: Sequence[Record] = data.validation or data.train
        self.judged = joint_samples(spread(judged, config.evaluation.records), data)
        on_cpu = module.language.device.type == "cpu"
        # Naming the kind of picture ends after some passes; its head then gets no gradient.
        shared = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="no" if on_cpu else "bf16", kwargs_handlers=[shared]
        )
        self.trained = [value for value in module.parameters() if value.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.trained,
            self.settings.learning_rate,
            betas=(0.9, 0.999 if isinstance(self.settings, PrsMedRecipe) else 0.95),
            eps=1e-6 if isinstance(self.settings, PrsMedRecipe) else 1e-8,
            weight_decay=self.settings.weight_decay,
        )
        self.module = module
        self._prepared, self._stepper = self.accelerator.prepare(module, self.optimiser)
        at_once = self.settings.batch * self.settings.accumulation * int(self.accelerator.num_processes)
        self.at_once, self.steps_per_epoch = at_once, math.ceil(len(self.samples) / at_once)
        planned = self.settings.steps or math.ceil(self.settings.epochs * self.steps_per_epoch)
        self.schedule_steps = max(1, config.budget.steps or planned)

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step; which records it takes follows from the seed and its number.

        Parts of a batch (accumulation, processes) count alike, each loss is a mean over its part. So a word
        counts more where the other answers of its part are short.
        """
        self._prepared.train()
        self._set_rate(number)
        totals: dict[str, float] = {}
        parts = self.settings.accumulation
        for part in range(parts):
            losses = self._learn(number, part, last=part == parts - 1)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / parts
        norm = self.accelerator.clip_grad_norm_(self.trained, self.settings.clip)
        self._stepper.step()
        self._stepper.zero_grad()
        # Not finite, it ends the run before weights that it spoilt are kept. DeepSpeed may not tell it.
        return totals if norm is None else {**totals, "gradient": float(norm)}

    def _learn(self, number: int, part: int, *, last: bool) -> Mapping[str, Tensor]:
        batch, processes = self.settings.batch, self.accelerator.num_processes
        first = (number - 1) * self.at_once + batch * (part * processes + self.accelerator.process_index)
        samples = drawn(self.samples, self.config.seed, first, batch)
        with nullcontext() if last else self.accelerator.no_sync(self._prepared):
            losses: dict[str, Tensor] = self._prepared(samples, epoch=(number - 1) / self.steps_per_epoch)
            self.accelerator.backward(losses["loss"] / self.settings.accumulation)
        return losses

    def _set_rate(self, number: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, number, self.schedule_steps, self.steps_per_epoch)

    def evaluate(self) -> Evaluation:
        """Dice of the masks (and overlap of the boxes) on the validation records, from questions alone."""
        self.module.eval()
        kept = self.config.evaluation.samples
        dice, overlaps, text, samples = [], [], [], []
        for place, sample in enumerate(self.judged):
            with self.accelerator.autocast():
                seen = self.module.look(sample)
                words = self.module.say(sample) if place < kept else ""
            dice.append(mask_dice(seen.mask, sample.record.mask))
            text.append(seen.text_loss)
            if seen.box_plane is not None:
                overlaps.append(box_iou(seen.box_plane, sample.record.box_plane))
            if place < kept:
                samples.append(_kept(place, sample, seen, words, dice[-1]))
        values = {"dice": float(np.mean(dice)), "text loss": float(np.mean(text))}
        if overlaps:
            values["box iou"] = float(np.sum(overlaps)) / len(self.judged)
        return Evaluation(values, "dice", tuple(samples))

    def state(self) -> dict[str, Tensor]:
        """What is trained, and the optimiser."""
        tensors = {f"module.{name}": value.detach() for name, value in self.module.changing().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put both back."""
        with torch.no_grad():
            for name, value in self.module.changing().items():
                value.copy_(tensors[f"module.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value.clone()
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def export(self, folder: Path) -> None:
        """Write the adapter, compare it with its base on the test records, and write its card."""
        if self.accelerator.is_main_process:
            self.module.eval()
            with self.accelerator.autocast():
                export_joint(self.module, self.data, self.folders, config=self.config, folder=folder)


def _learnt(samples: list[JointSample]) -> list[JointSample]:
    """Those that a mask can be learnt from; RunError when there is none."""
    found = [sample for sample in samples if sample.mask_picture.any()]
    if not found:
        raise RunError("no mask of the training records has a pixel at the size that the model sees")
    if len(found) < len(samples):
        note(
            f"{len(samples) - len(found)} of {len(samples)} training records have no pixel at the size that "
            "the model sees and are left out"
        )
    return found


def learning_rate(
    settings: PrsMedRecipe | MediSeeRecipe, number: int, steps: int, steps_per_epoch: int
) -> float:
    """The rate of optimiser step `number`, counted from 1: a linear start, then the recipe's decline."""
    warm_up = settings.warm_up_steps
    if number <= warm_up:
        return settings.learning_rate * number / warm_up
    done = (number - 1 - warm_up) / max(1, steps - warm_up)
    if settings.schedule == "cosine by epoch":
        epochs = max(1, math.ceil(steps / steps_per_epoch))
        done = ((number - 1) // steps_per_epoch) / epochs
    done = min(1.0, max(0.0, done))
    left = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.lowest_rate + (settings.learning_rate - settings.lowest_rate) * left


def _kept(place: int, sample: JointSample, seen: Seen, words: str, dice: float) -> Sample:
    record = sample.record
    told = {"question": record.question, "answer": words, "true answer": record.answer}
    return Sample(
        f"answer-{place:02d}", {**told, "dice": round(dice, 3)}, {"answer": _picture(sample, seen.mask)}
    )


def _picture(sample: JointSample, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(rows, columns, 3): the picture with the true mask in green and the answer in red, both in yellow."""
    rgb = sample.picture.rgb.astype(np.float32)
    answered = sample.picture.frame.image_to_model(mask.astype(np.float32), fill=0.0) > 0.5
    return overlaid(rgb, sample.mask_picture, answered)
