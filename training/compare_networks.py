"""Networks of several runs on the same held-out scans: masks for structures that are given, no presence.

Shows what the queries of the grounding network cost or bring beside a plain U-Net of equal size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medreason.core.plane import AXES, Plane
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.averaging import network_maps
from napari_medreason.models.embedded.experts import load_experts
from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import fill_value, model_frame

from .checkpoint import average_weights, checkpoint_progress
from .config import EmbeddedConfig, read_config
from .evaluation_cases import Case, real_cases
from .evaluation_tables import pooled_dice
from .export_embedded import write_json
from .plain_unet import network_for, parameters
from .slice_scores import Overlap, overlap
from .train_embedded import device_tuning, network_config


def compare(runs: Sequence[tuple[Path, Path]], data: Path, out: Path) -> None:
    """Measure (configuration, folder) pairs of runs and write their Dice per structure as JSON."""
    device_tuning()
    write_json(out, {folder.name: _figures(read_config(config), folder, data) for config, folder in runs})


def _figures(config: EmbeddedConfig, folder: Path, data: Path) -> dict[str, Any]:
    network = network_for(network_config(config.expert), plain=config.plain)
    network.load_state_dict(average_weights(folder))
    cases = [case for case in real_cases(data, ()) if case.expert == config.expert]
    dice = {case.name: case_dice(case, network.eval()) for case in cases}
    return {
        "parameters": parameters(network),
        "images": checkpoint_progress(folder)["images"],
        "mean_dice": {name: round(float(np.mean(list(own.values()))), 3) for name, own in dice.items()},
        "dice": dice,
    }


@torch.inference_mode()
def case_dice(case: Case, network: GroundingNetwork) -> dict[str, float]:
    """Dice per structure that the case shows, where a structure beats all others and the background."""
    names = [name for name in case.members if name in network.config.structures]
    overlaps: dict[str, list[Overlap]] = defaultdict(list)
    for plane, labels in case.planes():
        best = best_structure(plane, case.expert, network)
        for name in names:
            index = 1 + network.config.structures.index(name)
            overlaps[name].append(overlap(best == index, np.isin(labels, list(case.members[name]))))
    shown = {name: parts for name, parts in overlaps.items() if any(part.true for part in parts)}
    return {name: pooled_dice(parts) or 0.0 for name, parts in shown.items()}


def best_structure(plane: Plane, expert_id: str, network: GroundingNetwork) -> Any:
    """(rows, columns) plane pixels: 0 background or 1 + structure index."""
    expert = next(expert for expert in load_experts() if expert.id == expert_id)
    frame = model_frame(plane, expert)
    image = frame.image_to_model(plane.image, fill_value(plane, expert))
    channels = inputs.scale(torch.from_numpy(image)[None], expert.modality)
    axis = torch.tensor([AXES.index(plane.grid.axis)])
    maps = network_maps(network, channels, axis, expert.pixel_mm, symmetric=False)
    native = np.stack([frame.map_to_plane(values, fill=-10.0) for values in maps.logits[0].numpy()])
    return np.where(native.max(0) > 0, 1 + native.argmax(0), 0)
