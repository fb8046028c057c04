"""From a run's checkpoint to the files that ship: half-precision weights and their description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from napari_medreason.models.embedded.network import GroundingNetwork, NetworkConfig
from napari_medreason.models.embedded.structures import UNPAIRED

from .batches import Source
from .checkpoint import average_weights, checkpoint_progress
from .config import EmbeddedConfig
from .embedded_sources import training_source, validation_source
from .losses import present
from .train_embedded import device_tuning, network_config, seeded
from .validation import predicted

REGIONS = {"brain_mr": ("MR", "head"), "body_ct": ("CT", "trunk")}
CALIBRATION_SEED = 4_242
CALIBRATION_BATCHES = 60
LEAST_CASES = 8
"""With fewer images with, or without, a structure its threshold stays at 0."""


def export(config: EmbeddedConfig, run: Path, data: Path, out: Path) -> None:
    """Write EXPERT.safetensors and EXPERT.json into `out` from the run's averaged weights."""
    device_tuning()
    weights = {name: value.half().contiguous() for name, value in average_weights(run).items()}
    sizes = network_config(config.expert)
    network = GroundingNetwork(sizes)
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    thresholds = presence_thresholds(network.eval(), config, data, run.parent / "phantoms")
    modality, region = REGIONS[config.expert]
    packed = save(weights)
    description = {
        "format": 1,
        "modality": modality,
        "region": region,
        "structures": list(sizes.structures),
        "paired": sorted(set(sizes.structures) - UNPAIRED),
        "pixel_mm": config.pixel_mm,
        "network": _network_sizes(sizes),
        "presence": thresholds,
        "evidence": {},
        "training": {"images": checkpoint_progress(run)["images"], "seed": config.seed},
        "sha256": hashlib.sha256(packed).hexdigest(),
    }
    out.mkdir(parents=True, exist_ok=True)
    _write(out / f"{config.expert}.safetensors", packed)
    write_json(out / f"{config.expert}.json", description)


def _network_sizes(sizes: NetworkConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(sizes).items() if key != "structures"}


def write_json(path: Path, table: dict[str, Any]) -> None:
    """Write a table as readable JSON, all or nothing."""
    _write(path, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


@torch.no_grad()
def presence_thresholds(
    network: GroundingNetwork, config: EmbeddedConfig, data: Path, cache: Path
) -> dict[str, float]:
    """Per structure the presence logit with the best balanced accuracy on calibration images.

    Brain: images of the validation maps. Body: half of them from validation phantoms, half new
    images of the training scans, since there is no other labelled scan.
    """
    sources: list[Source] = [validation_source(config, data, cache)]
    if config.expert == "body_ct":
        sources.append(training_source(config, data, cache))
    logits, wanted, known = [], [], []
    for step in range(CALIBRATION_BATCHES):
        batch = sources[step % len(sources)].batch(4, 0.7, seeded(CALIBRATION_SEED, step))
        logits.append(predicted(network, batch, config.pixel_mm)[2])
        wanted.append(present(batch.labels, batch.known.shape[1]) > 0.5)
        known.append(batch.known[:, 1:])
    columns = (torch.cat(part) for part in (logits, wanted, known))
    values, there, looked = columns
    return {
        name: _best_threshold(values[looked[:, k], k], there[looked[:, k], k])
        for k, name in enumerate(network.config.structures)
    }


def _best_threshold(logits: Tensor, there: Tensor) -> float:
    if min(int(there.sum()), int((~there).sum())) < LEAST_CASES:
        return 0.0
    candidates = torch.linspace(-3, 3, 61)
    seen = logits[None] >= candidates[:, None]
    sensitivity = (seen & there).sum(1) / there.sum()
    specificity = (~seen & ~there).sum(1) / (~there).sum()
    balanced = sensitivity + specificity
    best = candidates[balanced >= balanced.max() - 1e-6]
    return round(float(best[len(best) // 2]), 2)
