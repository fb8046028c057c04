"""Checkpoints without pickle: tensors as safetensors, the rest as metadata; written, then renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Write weights, their running average, optimiser state and progress, all or nothing."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    temporary = folder / f"{CHECKPOINT}.part"
    save_file(tensors, temporary, {"progress": json.dumps(progress)})
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(folder / CHECKPOINT)


def load_checkpoint(
    folder: Path, network: nn.Module, average: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint back into network, average and optimiser; returns the progress."""
    tensors, progress = _read(folder / CHECKPOINT)
    network.load_state_dict(_under("network.", tensors))
    average.update(_under("average.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser.", tensors).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return progress


def average_weights(folder: Path) -> dict[str, Tensor]:
    """The running average of the weights in a run's checkpoint."""
    return _under("average.", _read(folder / CHECKPOINT)[0])


def checkpoint_progress(folder: Path) -> dict[str, Any]:
    """The progress in a run's checkpoint: step, images, seconds and so on."""
    return _read(folder / CHECKPOINT)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        progress: dict[str, Any] = json.loads(handle.metadata()["progress"])
    return tensors, progress


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
