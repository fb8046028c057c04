"""The training loop of one expert: seeded, resumable after a hard stop, one JSON line per event.

The state of a run is its folder: `checkpoint.safetensors`, `events.jsonl`, and a file `stop` that
ends the run after the step in hand. Every step draws its images from a generator seeded by the
configuration and the step, so a resumed run sees the images that an unbroken one would have seen.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.network import GroundingNetwork, NetworkConfig
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .batches import Batch, Source
from .checkpoint import CHECKPOINT, average_weights, load_checkpoint, save_checkpoint
from .config import EmbeddedConfig
from .embedded_sources import training_source, validation_source
from .losses import class_weights, presence_loss, prompt_loss, side_loss, structure_loss
from .plain_unet import network_for
from .prompts import random_prompts
from .validation import validation_scores

EVENTS = "events.jsonl"
WARM_UP_STEPS = 60
EVENT_STEPS = 25


@dataclass
class Run:
    """A training run in progress."""

    config: EmbeddedConfig
    folder: Path
    network: GroundingNetwork
    optimiser: torch.optim.Optimizer
    source: Source
    validation: Source
    weights: Tensor
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    means: dict[str, float] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.config.batch

    @property
    def progress(self) -> float:
        """Share of the schedule that is done, 0 to 1."""
        return min(1.0, self.images / self.config.images)


def network_config(expert: str) -> NetworkConfig:
    """Sizes of an expert's network."""
    if expert == "brain_mr":
        return NetworkConfig(BRAIN_MR, image_channels=1)
    return NetworkConfig(BODY_CT, image_channels=len(inputs.CT_CHANNELS))


def seeded(seed: int, step: int) -> torch.Generator:
    """The generator of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def train(config: EmbeddedConfig, folder: Path, data: Path) -> None:
    """Train until the schedule is done, the time is up or a file `stop` appears; or go on from there."""
    folder.mkdir(parents=True, exist_ok=True)
    run = prepare(config, folder, data)
    device_tuning()
    started, saved, before = time.monotonic(), time.monotonic(), run.seconds
    while not _finished(run, started):
        losses = training_step(run)
        run.seconds = before + time.monotonic() - started
        for name, value in losses.items():
            run.means[name] = 0.97 * run.means.get(name, value) + 0.03 * value
        if run.step % EVENT_STEPS == 0:
            write_event(run, "step", {name: round(value, 5) for name, value in run.means.items()})
        if run.images - run.validated >= config.validation_images:
            run.validated = run.images
            write_event(run, "validation", validation_scores(run, run.validation))
        if time.monotonic() - saved > config.checkpoint_seconds:
            save(run)
            saved = time.monotonic()
    save(run)


def device_tuning() -> None:
    """One thread and no denormal numbers: two experts train side by side on two cores."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def prepare(config: EmbeddedConfig, folder: Path, data: Path) -> Run:
    """A new run, or the one in the folder as its last checkpoint left it."""
    torch.manual_seed(config.seed)
    sizes = network_config(config.expert)
    network = network_for(sizes, plain=config.plain).to(memory_format=torch.channels_last)
    if config.start_from:
        start_from(network, average_weights(Path(config.start_from)))
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    cache = folder.parent / "phantoms"
    source = training_source(config, data, cache)
    weights = class_weights(_label_pixels(source, config))
    run = Run(config, folder, network, optimiser, source, validation_source(config, data, cache), weights)
    run.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if (folder / CHECKPOINT).exists():
        _resume(run)
    return run


def start_from(network: GroundingNetwork, weights: dict[str, Tensor]) -> None:
    """Load the weights of an earlier run; the refinement may be new, all else must be there."""
    result = network.load_state_dict(weights, strict=False)
    missing = [name for name in result.missing_keys if not name.startswith("refine.")]
    if missing or result.unexpected_keys:
        named = ", ".join([*missing, *result.unexpected_keys][:3])
        raise MedReasonError(f"the earlier run has other weights than this network: {named}")


def _resume(run: Run) -> None:
    progress = load_checkpoint(run.folder, run.network, run.average, run.optimiser)
    run.step, run.seconds = progress["step"], progress["seconds"]
    run.validated, run.means = progress["validated"], progress["means"]
    events = run.folder / EVENTS
    if events.exists():
        kept = [line for line in _whole_lines(events) if json.loads(line)["step"] <= run.step]
        temporary = events.with_suffix(".part")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        temporary.replace(events)


def _whole_lines(path: Path) -> list[str]:
    """Lines of the file; a last line that a hard stop cut short is left out."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def save(run: Run) -> None:
    """Write the run's checkpoint."""
    progress = {"step": run.step, "seconds": run.seconds, "validated": run.validated, "means": run.means}
    progress["images"] = run.images
    save_checkpoint(run.folder, run.network, run.average, run.optimiser, progress)


def _finished(run: Run, started: float) -> bool:
    minutes = run.config.minutes
    late = minutes > 0 and time.monotonic() - started > 60 * minutes
    return run.images >= run.config.images or late or (run.folder / "stop").exists()


def _label_pixels(source: Source, config: EmbeddedConfig) -> Tensor:
    classes = 1 + len(network_config(config.expert).structures)
    pixels = torch.zeros(classes)
    for step in range(24):
        labels = source.batch(4, 0.5, seeded(config.seed + 1, step)).labels
        pixels += torch.bincount(labels.flatten(), minlength=classes)
    return pixels


def training_step(run: Run) -> dict[str, float]:
    """One optimiser step on one batch; returns the losses."""
    run.step += 1
    generator = seeded(run.config.seed, run.step)
    strength = run.config.strongest * min(1.0, 0.2 + 1.6 * run.progress)
    batch = run.source.batch(run.config.batch, strength, generator)
    for group in run.optimiser.param_groups:
        group["lr"] = run.config.learning_rate * rate_factor(run.step, run.progress)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.config.bf16):
        losses = batch_losses(run.network, batch, annealed(run.weights, run.progress), generator, run.config)
    total = losses["structure"] + 0.3 * (losses["presence"] + losses["side"]) + 0.5 * losses["prompt"]
    run.optimiser.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(run.network.parameters(), 2.0)
    run.optimiser.step()
    _average(run)
    return {name: float(value.detach()) for name, value in {"loss": total, **losses}.items()}


def rate_factor(step: int, progress: float) -> float:
    """Learning rate as a share of the largest: linear warm-up, then a cosine to 2 %."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))


def annealed(weights: Tensor, progress: float) -> Tensor:
    """Class weights, which fade to 1 in the last third: they speed learning up, but blur the borders."""
    power = min(1.0, max(0.0, 3 * (1 - progress)))
    return weights**power


def batch_losses(
    network: GroundingNetwork,
    batch: Batch,
    weights: Tensor,
    generator: torch.Generator,
    config: EmbeddedConfig,
) -> dict[str, Tensor]:
    """The four losses of a batch, on every second row and column from a random offset."""
    row, column = torch.randint(2, (2,), generator=generator).tolist()
    offset = (row, column)
    place = inputs.place_maps(batch.channels, batch.plane, config.pixel_mm)
    image = batch.channels.contiguous(memory_format=torch.channels_last)
    features = network.features(image, place, offset)
    logits, presence = network.structures(features, offset)
    quarter = batch.labels[:, row::2, column::2]
    prompts = random_prompts(batch, generator)
    prompts.target[:, row::2, column::2]
    prompted, quality = network.prompted(features, prompts.maps, offset)
    return {
        "structure": structure_loss(logits, quarter, batch.known.clone(), weights),
        "presence": presence_loss(presence, batch.labels, batch.known),
        "side": side_loss(network.sides(features), batch.sides[:, 1::4, 1::4]),
        "prompt": _prompted_loss(
            prompted[:, 0], quality, prompts.target[:, row::2, column::2], prompts.valid
        ),
    }


def _prompted_loss(logits: Tensor, quality: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    if not bool(valid.any()):
        return logits.sum() * 0
    return prompt_loss(logits[valid], quality[valid], target[valid])


@torch.no_grad()
def _average(run: Run) -> None:
    decay = min(run.config.average_decay, (1 + run.step) / (10 + run.step))
    current = run.network.state_dict()
    torch._foreach_lerp_([run.average[name] for name in current], list(current.values()), 1 - decay)


def write_event(run: Run, kind: str, values: dict[str, Any]) -> None:
    """Append one JSON line to the run's events and make sure it is on disk."""
    line = {"event": kind, "step": run.step, "images": run.images, "seconds": round(run.seconds, 1)} | values
    with (run.folder / EVENTS).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")
