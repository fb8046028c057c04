"""Fine-tuning of one expert of the embedded model on corrected slices, without forgetting.

A structure that the expert does not know is read from what its network sees already (new_rows), and only the
part that draws from box and points is trained: all that was known by name stays as it was. Where structures
that the expert knows were corrected, all of the network is trained; then, where no correction says otherwise,
it is held to what its base saw (see grown_network.keep_loss). Every batch holds corrected slices and images
of the shipped generator (replay). What is judged and exported is the running average of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_memory import check_memory
from napari_medreason.core.run_recipes import EmbeddedRecipe
from napari_medreason.errors import RunError
from napari_medreason.models.embedded.experts import Expert, load_network
from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import Perceiver

from . import loop, several
from .batches import Batch
from .grown_network import decay_groups, grown, new_structures, only_old_rows
from .loop import Evaluation
from .new_rows import start_new_rows
from .replay import Replay
from .run_data import LabelledPlane, RunRecords, keep_data, labelled_planes, run_records, spread
from .runs import RunWriter, note
from .train_embedded import device_tuning, seeded
from .tuned_export import export_tuned
from .tuned_losses import Networks, prompt_losses, tuning_losses
from .tuned_scores import kept_dice, prompted_dice, slice_scores
from .tuned_slices import Slice, SliceSource, prepared

SIZE = 128
"""Side of a training image in pixels, as when the experts were trained."""
WARM_UP_STEPS = 20
AVERAGE_DECAY = 0.98
GRADIENT_CLIP = 2.0
WEIGHTS = {"structure": 1.0, "presence": 0.3, "side": 0.3, "prompt": 0.5, "keep": 2.0, "keep prompt": 2.0}
"""Of the losses; the last two hold the network to its base."""


@dataclass(frozen=True, eq=False)
class TuningData:
    """What a run needs of its records: planes by split, and the expert that reads them."""

    records: RunRecords
    expert: Expert
    structures: tuple[str, ...]
    train: tuple[LabelledPlane, ...]
    validation: tuple[LabelledPlane, ...]

    @property
    def new(self) -> tuple[str, ...]:
        """Structures that the expert does not know."""
        return self.structures[len(self.expert.structures) :]

    @property
    def only_new(self) -> bool:
        """Whether no structure that the expert knows was corrected."""
        known = self.expert.structures
        return not any(region.structure in known for plane in self.train for region in plane.regions)


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
    keep_data(writer, records)
    note(check_memory(config, psutil.virtual_memory().available))
    return loop.run(EmbeddedTuning(writer, tuning_data(records)), writer)


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
        torch.manual_seed(self.config.seed)
        self.network = grown(self.teacher, data.new)
        self.slices = _slices(data, data.train)
        start_new_rows(self.network, self.slices, data.expert)
        self.optimiser = _optimiser(self.network, data, self.settings)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.source = SliceSource(self.slices, data.expert, SIZE)
        judged = spread(data.validation or data.train, self.config.evaluation.records)
        self.judged = _slices(data, judged)
        self.prompted = _prompted(self.judged, data.expert)
        self.replay = Replay(data.expert, data.structures, SIZE)
        self.before = self._kept(self.teacher)

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step; everything random comes from the seed and the number of the step."""
        generator = seeded(self.config.seed, step)
        batch, corrected = self._batch(generator)
        _set_rate(self.optimiser, step, self.schedule_steps, self.settings.learning_rate)
        networks = Networks(self.network, self.teacher, self.data.expert.pixel_mm)
        losses_of = prompt_losses if self.data.only_new else tuning_losses
        losses = losses_of(networks, batch, corrected, generator)
        total = sum((WEIGHTS[name] * value for name, value in losses.items()), torch.zeros(()))
        self.optimiser.zero_grad()
        torch.autograd.backward(total)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP)
        self.optimiser.step()
        self._average(step)
        told = {"loss": total, **losses, "gradient": norm}
        return {name: float(value.detach()) for name, value in told.items()}

    def _batch(self, generator: torch.Generator) -> tuple[Batch, int]:
        """Images, corrected slices first, and how many these are."""
        replayed = round(self.settings.batch * self.settings.replay)
        corrected = max(1, self.settings.batch - replayed)
        parts = [self.source.batch(corrected, self.settings.strength, generator)]
        if replayed:
            parts.append(self.replay.batch(replayed, self.settings.strength, generator))
        return joined(parts), corrected

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        current = self.network.state_dict()
        torch._foreach_lerp_([self.average[name] for name in current], list(current.values()), 1 - decay)

    def averaged(self) -> GroundingNetwork:
        """The network with the running average of its weights, ready to look."""
        network = GroundingNetwork(self.network.config)
        network.load_state_dict(self.average)
        if self.data.new and not self.data.only_new:  # what they are read from has changed
            start_new_rows(network, self.slices, self.data.expert)
        return network.eval()

    def evaluate(self) -> Evaluation:
        """Dice on the validation slices by name and from prompts, and on phantoms never trained on.

        score: the mean of both, less what is forgotten of either on the phantoms.
        """
        network = self.averaged()
        dice, samples = slice_scores(network, self.judged, self.data.expert, self.data.structures)
        prompted = prompted_dice(network, self.prompted, self.data.expert)
        kept = self._kept(network)
        lost = sum(max(0.0, self.before[name] - kept[name]) for name in kept)
        values = {"dice": dice, "prompted dice": prompted, **kept, "score": (dice + prompted) / 2 - lost}
        return Evaluation(values, "score", samples)

    def _kept(self, network: GroundingNetwork) -> dict[str, float]:
        held_out, expert = self.replay.held_out(), self.data.expert
        return {
            "kept dice": kept_dice(network, held_out, expert),
            "kept prompted dice": prompted_dice(network, held_out, expert),
        }

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
        export_tuned(self.averaged(), self.data, config=self.config, folder=folder)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _slices(data: TuningData, planes: Sequence[LabelledPlane]) -> list[Slice]:
    return [prepared(labelled, data.expert, data.structures) for labelled in planes]


def _prompted(slices: Sequence[Slice], expert: Expert) -> list[Batch]:
    """The slices, one in a batch, as training images that are moved but not changed."""
    source = SliceSource(slices, expert, SIZE)
    return [source.batch_of([one], 0.0, seeded(0, number)) for number, one in enumerate(slices)]


def _optimiser(
    network: GroundingNetwork, data: TuningData, settings: EmbeddedRecipe
) -> torch.optim.Optimizer:
    """Of what is trained: the drawing from prompts alone, or all but the rows of new structures.

    New rows share parameters with the old ones: they get no gradient there, and rows do not decay.
    """
    if data.only_new:
        network.requires_grad_(False)
        network.prompt.requires_grad_(True)
    elif data.new:
        only_old_rows(network, len(data.expert.structures))
    groups = decay_groups(network, settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _set_rate(optimiser: torch.optim.Optimizer, step: int, steps: int, learning_rate: float) -> None:
    """Linear warm-up, then a cosine to 2 % of the rate."""
    done = min(1.0, step / steps)
    cosine = 0.5 + 0.5 * float(torch.cos(torch.tensor(torch.pi * done)))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * min(1.0, step / WARM_UP_STEPS) * (0.02 + 0.98 * cosine)


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of one size and expert as one."""
    return Batch(
        torch.cat([part.channels for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.sides for part in parts]),
        torch.cat([part.known for part in parts]),
        torch.cat([part.plane for part in parts]),
    )
