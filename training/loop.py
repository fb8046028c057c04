"""The loop that all recipes share: resumable after a hard stop, judged while it goes on, ended in time.

A resumed run does what the unbroken one would have done: parameters, optimiser and random generators come
from the last checkpoint, and events after it are taken back. On several processes (see several) all take the
same steps, evaluations and checkpoints, and the main one writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_medreason.core.run_folder import ADAPTER, EndReason
from napari_medreason.errors import RunError

from . import several
from .runs import RunWriter, State, random_state, set_random_state

_REASONS: tuple[EndReason, ...] = get_args(EndReason)
EVENT_STEPS = 5
"""Steps whose mean losses make one event."""
_WORK_PER_SAVE = 10
"""Training goes on at least so many times as long as the last checkpoint took, before the next is written."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One answer of an evaluation: words and 8-bit pictures by title."""

    name: str
    words: Mapping[str, Any]
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good the recipe's model is now. main: which of the values decides, the higher the better."""

    values: Mapping[str, float]
    main: str
    samples: tuple[Sample, ...] = ()


class Recipe(Protocol):
    """What a kind of training does; the loop does the rest.

    schedule_steps: after how many steps the recipe's own schedule is done.
    """

    schedule_steps: int

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step, counted from 1; the losses by name, `loss` among them."""

    def evaluate(self) -> Evaluation:
        """Judge on the validation records; changes nothing that training uses. Alike in every process."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, but the random generators."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo everything since `state`."""

    def export(self, folder: Path) -> None:
        """Write the adapter with its card; of several processes, only the main one may write."""


@dataclass
class _Progress:
    """judged: the step of the newest evaluation. losses: of the steps that no event tells of yet, by name."""

    step: int = 0
    best: float = -math.inf
    waited: int = 0
    first: dict[str, float] = field(default_factory=dict)
    judged: int = -1
    losses: dict[str, list[float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "best": None if math.isinf(self.best) else self.best}

    def add(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.losses.setdefault(name, []).append(value)

    def take_means(self) -> dict[str, float]:
        """Mean losses since they were last taken."""
        means = {name: sum(values) / len(values) for name, values in self.losses.items()}
        self.losses.clear()
        return means


class _Saving:
    """When the next checkpoint is due: after the planned time, or later where writing one is slow."""

    def __init__(self, planned_seconds: float) -> None:
        self._planned, self._took, self._saved = planned_seconds, 0.0, time.monotonic()

    def due(self) -> bool:
        """The main process decides for all."""
        waited = time.monotonic() - self._saved
        return bool(several.from_main(waited > max(self._planned, _WORK_PER_SAVE * self._took)))

    def save(self, recipe: Recipe, writer: RunWriter, progress: _Progress) -> None:
        started = time.monotonic()
        _save(recipe, writer, progress)
        self._saved = time.monotonic()
        self._took = self._saved - started


def run(recipe: Recipe, writer: RunWriter) -> EndReason:
    """Train until the schedule, the budget or the user ends it; the best checkpoint is exported.

    RunError when a loss is not finite; the last checkpoint is from before.
    """
    progress = _begin(recipe, writer)
    reason = _work(recipe, writer, progress)
    several.wait_for_all()
    best = writer.load(best=True)
    if best is not None:
        recipe.restore(best.tensors)
    recipe.export(writer.folder / ADAPTER)
    words = "" if best is None else f"exported the state of step {best.progress['step']}"
    values = {f"before {name}": value for name, value in progress.first.items()}
    writer.end(progress.step, reason, {**values, "best": progress.best}, words)
    return reason


def _begin(recipe: Recipe, writer: RunWriter) -> _Progress:
    seed = writer.config.seed
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from it
    state = writer.load()
    if state is None:
        progress = _Progress()
        writer.event("start", 0, {"steps": recipe.schedule_steps}, "started")
        _judge(recipe, writer, progress)
        return progress
    recipe.restore(state.tensors)
    set_random_state(state.tensors)
    kept = {name: value for name, value in state.progress.items() if name in vars(_Progress())}
    kept["best"] = -math.inf if kept["best"] is None else float(kept["best"])
    writer.event("start", int(kept["step"]), {"steps": recipe.schedule_steps}, "resumed")
    return _Progress(**kept)


def _work(recipe: Recipe, writer: RunWriter, progress: _Progress) -> EndReason:
    plan, begun = writer.config.evaluation, progress.step
    saving = _Saving(plan.checkpoint_seconds)
    reason = _why_stop(writer, progress)
    while reason is None and progress.step < recipe.schedule_steps:
        progress.step += 1
        several.own_random_numbers(writer.config.seed, progress.step)
        progress.add(_one_step(recipe, progress.step))
        if progress.step % EVENT_STEPS == 0:
            writer.event("step", progress.step, progress.take_means())
        if progress.step % plan.every_steps == 0:
            _judge(recipe, writer, progress)
        reason = _why_stop(writer, progress)
        if progress.step % EVENT_STEPS == 0 and saving.due():
            saving.save(recipe, writer, progress)
    return _finished(recipe, writer, progress, reason=reason or "done", begun=begun)


def _finished(
    recipe: Recipe, writer: RunWriter, progress: _Progress, *, reason: EndReason, begun: int
) -> EndReason:
    """Judge and keep the last state, unless that was done by the sitting before."""
    judging = progress.judged != progress.step and reason != "stopped"
    if judging:
        _judge(recipe, writer, progress)
    if judging or progress.step > begun or not progress.step:
        _save(recipe, writer, progress)
    return reason


def _why_stop(writer: RunWriter, progress: _Progress) -> EndReason | None:
    """Why the run ends now, None to go on; the main process decides for all, and alone reads its folder."""
    reason = writer.should_stop(progress.step) if several.is_main() else None
    patience = writer.config.evaluation.patience
    if patience and progress.waited >= patience:
        reason = reason or "no gain"
    number = several.from_main(-1 if reason is None else _REASONS.index(reason))
    return None if number < 0 else _REASONS[number]


def _one_step(recipe: Recipe, number: int) -> dict[str, float]:
    losses = recipe.step(number)
    bad = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if several.anywhere(bool(bad)):
        found = bad[0] if bad else "loss is not finite in another process"
        raise RunError(
            f"the {found} at step {number}; start a new run with a smaller learning rate; the last "
            "checkpoint of this one is from before"
        )
    return losses


def _judge(recipe: Recipe, writer: RunWriter, progress: _Progress) -> None:
    kept = random_state()
    evaluation = recipe.evaluate()
    set_random_state(kept)
    progress.judged = progress.step
    writer.event("evaluation", progress.step, evaluation.values)
    for sample in evaluation.samples[: writer.config.evaluation.samples]:
        writer.sample(progress.step, sample.name, sample.words, sample.pictures)
    if not progress.first:
        progress.first = {name: float(value) for name, value in evaluation.values.items()}
    value = float(evaluation.values[evaluation.main])
    if several.from_main(value > progress.best):
        progress.best, progress.waited = value, 0
        _save(recipe, writer, progress, best=True)
    else:
        progress.waited += 1


def _save(recipe: Recipe, writer: RunWriter, progress: _Progress, *, best: bool = False) -> None:
    tensors = {**recipe.state(), **random_state()}
    writer.save(State(tensors, progress.plain()), best=best)
    if not best:
        writer.event("checkpoint", progress.step)
