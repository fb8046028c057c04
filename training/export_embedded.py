"""From a run's checkpoint to the files that ship: half-precision weights and their description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from napari_medreason.models.embedded.network import GroundingNetwork, NetworkConfig
from napari_medreason.models.embedded.structures import UNPAIRED

from .calibration import presence_weights
from .checkpoint import average_weights, checkpoint_progress
from .config import EmbeddedConfig
from .train_embedded import device_tuning, network_config

REGIONS = {"brain_mr": ("MR", "head"), "body_ct": ("CT", "trunk")}


def export(config: EmbeddedConfig, run: Path, data: Path, out: Path) -> None:
    """Write EXPERT.safetensors and EXPERT.json into `out` from the run's averaged weights."""
    device_tuning()
    weights = {name: value.half().contiguous() for name, value in average_weights(run).items()}
    sizes = network_config(config.expert)
    network = GroundingNetwork(sizes)
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    presence = presence_weights(network.eval(), config, data, run.parent / "phantoms")
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
        "presence": presence,
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
