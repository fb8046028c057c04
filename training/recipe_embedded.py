"""Fine-tuning of one expert of the embedded model on corrected slices, without forgetting.

Every batch holds corrected slices and images of the shipped generator (replay); where no correction says
otherwise the tuned network is held to what its base saw (see grown_network.keep_loss). What is judged and
exported is the running average of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_medreason.core.run_folder import LAST, EndReason
from napari_medreason.core.run_memory import check_memory
from napari_medreason.core.run_recipes import EmbeddedRecipe
from napari_medreason.errors import RunError
from napari_medreason.io import replace_file
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.experts import Expert, load_network
from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import Perceiver

from . import loop, several
from .batches import Batch
from .grown_network import grown, keep_loss, new_structures, only_new_rows
from .loop import Evaluation
from .losses import presence_loss, prompt_loss, side_loss, structure_loss
from .new_rows import MOST_WEIGHT, start_new_rows
from .prompts import random_prompts
from .replay import Replay
from .run_data import LabelledPlane, RunRecords, labelled_planes, run_records
from .runs import RunWriter, note
from .train_embedded import device_tuning, seeded
from .tuned_export import export_tuned
from .tuned_scores import kept_dice, slice_scores
from .tuned_slices import Slice, SliceSource, prepared

DATA = "data.json"
SIZE = 128
"""Side of a training image in pixels, as when the experts were trained."""
WARM_UP_STEPS = 20
AVERAGE_DECAY = 0.98
NEW_ROWS_RATE = 10.0
"""New structures begin from nothing, so their rows learn so many times faster than the rest."""
KEEP = 2.0
"""Weight of the loss that holds the network to its base."""


@dataclass(frozen=True, eq=False)
class TuningData:
    """What a run needs of its records: planes by split, and the expert that reads them."""

    records: RunRecords
    expert: Expert
    structures: tuple[str, ...]
    train: tuple[LabelledPlane, ...]
    validation: tuple[LabelledPlane, ...]


def train(writer: RunWriter, base: Path) -> EndReason:
    """Do a whole run of the recipe "embedded", or go on with it; `base` is where its paths start."""
    several.on_one_process("embedded")
    device_tuning()
    config = writer.config
    if config.base not in ("", "embedded"):
        raise RunError(
            f"base = {config.base!r}: this recipe tunes the embedded model that is installed; leave base out"
        )
    records = run_records(config, base)
    _keep_data(writer, records)
    note(check_memory(config, psutil.virtual_memory().available))
    return loop.run(EmbeddedTuning(writer, tuning_data(records)), writer)


def _keep_data(writer: RunWriter, records: RunRecords) -> None:
    """Note which records are used; RunError when a run is resumed with others."""
    file = writer.folder / DATA
    found = {"sha256": records.sha256, "train": len(records.train)}
    found |= {"validation": len(records.validation), "test": len(records.test)}
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != found:
        raise RunError("the records have changed since this run began; start a new run with them")
    if not (writer.folder / LAST).exists():
        for words in records.check.warnings:
            writer.event("warning", 0, {}, words)
    with replace_file(file) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def tuning_data(records: RunRecords) -> TuningData:
    """Read the planes; RunError when no expert reads them, or when they are of more than one kind."""
    planes = tuple(labelled_planes(records.train, records.images))
    judged = tuple(labelled_planes(records.validation, records.images))
    modalities = {labelled.plane.modality for labelled in (*planes, *judged)}
    if len(modalities) > 1:
        raise RunError(f"the records are of {' and '.join(sorted(modalities))}; make one run for each")
    expert = Perceiver().expert_for(planes[0].plane)
    if expert is None:
        raise RunError(
            f"the embedded model does not read {modalities.pop() or 'pictures without pixel size'}; it reads "
            "calibrated CT and MR"
        )
    wanted = [region.structure for labelled in planes for region in labelled.regions]
    structures = (*expert.structures, *new_structures(wanted, expert.structures))
    return TuningData(records, expert, structures, planes, judged)


class EmbeddedTuning:
    """The recipe that the loop runs; see the module."""

    def __init__(self, writer: RunWriter, data: TuningData) -> None:
        self.config, self.data, self.folder = writer.config, data, writer.folder
        self.settings = writer.config.embedded
        self.schedule_steps = writer.config.budget.steps or self.settings.steps
        self.teacher = load_network(data.expert)
        old = len(data.expert.structures)
        torch.manual_seed(self.config.seed)
        self.network = grown(self.teacher, data.structures[old:])
        slices = _slices(data, data.train)
        start_new_rows(self.network, slices, data.expert)
        self.optimiser = _optimiser(self.network, old, self.settings)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.source = SliceSource(slices, data.expert, SIZE)
        self.judged = _slices(data, data.validation or data.train)[: self.config.evaluation.records or None]
        self.replay = Replay(data.expert, data.structures, SIZE)
        self.kept_before = kept_dice(self.teacher, self.replay.held_out(), data.expert)

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step; everything random comes from the seed and the number of the step."""
        generator = seeded(self.config.seed, step)
        batch = self._batch(generator)
        _set_rate(self.optimiser, step, self.schedule_steps)
        losses = tuning_losses(self.network, self.teacher, batch, generator, self.data.expert.pixel_mm)
        total = losses["structure"] + 0.3 * (losses["presence"] + losses["side"]) + 0.5 * losses["prompt"]
        total = total + KEEP * losses["keep"]
        self.optimiser.zero_grad()
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self._average(step)
        return {name: float(value.detach()) for name, value in {"loss": total, **losses}.items()}

    def _batch(self, generator: torch.Generator) -> Batch:
        replayed = round(self.settings.batch * self.settings.replay)
        corrected = max(1, self.settings.batch - replayed)
        parts = [self.source.batch(corrected, self.settings.strength, generator)]
        if replayed:
            parts.append(self.replay.batch(replayed, self.settings.strength, generator))
        return joined(parts)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        current = self.network.state_dict()
        torch._foreach_lerp_([self.average[name] for name in current], list(current.values()), 1 - decay)

    def averaged(self) -> GroundingNetwork:
        """The network with the running average of its weights, ready to look."""
        network = GroundingNetwork(self.network.config)
        network.load_state_dict(self.average)
        return network.eval()

    def evaluate(self) -> Evaluation:
        """Dice on the validation slices, less what is forgotten on phantoms that are never trained on."""
        network = self.averaged()
        dice, samples = slice_scores(network, self.judged, self.data.expert, self.data.structures)
        kept = kept_dice(network, self.replay.held_out(), self.data.expert)
        values = {"dice": dice, "kept dice": kept, "score": dice - max(0.0, self.kept_before - kept)}
        return Evaluation(values, "score", samples)

    def state(self) -> dict[str, Tensor]:
        """Weights, their average and the optimiser."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put weights, average and optimiser back."""
        self.network.load_state_dict(_under("network.", tensors))
        self.average.update({name: value.clone() for name, value in _under("average.", tensors).items()})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimiser.", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def export(self, folder: Path) -> None:
        """Write the tuned expert, compare it with its base on the test records, and write its card."""
        export_tuned(self.averaged(), self.data, self.source, self.replay, config=self.config, folder=folder)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _slices(data: TuningData, planes: Sequence[LabelledPlane]) -> list[Slice]:
    return [prepared(labelled, data.expert, data.structures) for labelled in planes]


def _optimiser(network: GroundingNetwork, old: int, settings: EmbeddedRecipe) -> torch.optim.Optimizer:
    """Rows of new structures learn faster, those of old ones then not at all; without new ones all alike."""
    learning_rate = settings.learning_rate
    rows = only_new_rows(network, old) if len(network.config.structures) > old else []
    rest = [p for p in network.parameters() if all(p is not row for row in rows)]
    groups: list[dict[str, Any]] = [
        {"params": rest, "weight_decay": settings.weight_decay, "rate": learning_rate},
    ]
    if rows:
        groups.append({"params": rows, "weight_decay": 0.0, "rate": learning_rate * NEW_ROWS_RATE})
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def _set_rate(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Linear warm-up, then a cosine to 2 % of each group's rate."""
    done = min(1.0, step / steps)
    cosine = 0.5 + 0.5 * float(torch.cos(torch.tensor(torch.pi * done)))
    factor = min(1.0, step / WARM_UP_STEPS) * (0.02 + 0.98 * cosine)
    for group in optimiser.param_groups:
        group["lr"] = group["rate"] * factor


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of one size and expert as one."""
    return Batch(
        torch.cat([part.channels for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.sides for part in parts]),
        torch.cat([part.known for part in parts]),
        torch.cat([part.plane for part in parts]),
    )


def tuning_losses(
    network: GroundingNetwork,
    teacher: GroundingNetwork,
    batch: Batch,
    generator: torch.Generator,
    pixel_mm: float,
) -> dict[str, Tensor]:
    """The losses of a batch, on every second row and column from a random offset."""
    row, column = torch.randint(2, (2,), generator=generator).tolist()
    place = inputs.place_maps(batch.channels, batch.plane, pixel_mm)
    image = batch.channels.contiguous(memory_format=torch.channels_last)
    features = network.features(image, place, (row, column))
    logits, presence = network.structures(features, (row, column))
    with torch.no_grad():
        seen = teacher.features(image, place, (row, column))
        base_logits, base_presence = teacher.structures(seen, (row, column))
        base_sides = teacher.sides(seen).softmax(1)
    quarter = batch.labels[:, row::2, column::2]
    old = base_presence.shape[1]
    untold = ~batch.known[:, 1 : 1 + old]
    sides = network.sides(features)
    kept_presence = functional.binary_cross_entropy_with_logits(
        presence[:, :old], base_presence.sigmoid(), weight=untold.float()
    )
    # As in the regression that new rows start from; without it small findings fade while tuning.
    weights = torch.ones(logits.shape[1] + 1)
    weights[1 + old :] = MOST_WEIGHT
    return {
        "structure": structure_loss(logits, quarter, batch.known.clone(), weights),
        "presence": presence_loss(presence, batch.labels, batch.known) + kept_presence,
        "side": side_loss(sides, batch.sides[:, 1::4, 1::4]) + functional.cross_entropy(sides, base_sides),
        "prompt": _prompt_part(network, features, batch, generator, (row, column)),
        "keep": keep_loss(logits.float(), base_logits.float(), quarter, batch.known),
    }


def _prompt_part(
    network: GroundingNetwork,
    features: Any,
    batch: Batch,
    generator: torch.Generator,
    offset: tuple[int, int],
) -> Tensor:
    prompts = random_prompts(batch, generator)
    logits, quality = network.prompted(features, prompts.maps, offset)
    if not bool(prompts.valid.any()):
        return logits.sum() * 0
    target = prompts.target[:, offset[0] :: 2, offset[1] :: 2]
    return prompt_loss(logits[prompts.valid, 0], quality[prompts.valid], target[prompts.valid])
