"""How much memory is free now, on the GPU and in the computer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from napari_medreason.models.fit import FreeMemory

if TYPE_CHECKING:
    import torch

_GROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device, *, exclusive: bool) -> FreeMemory:
    """What is free on a device; exclusive: the user named it, so that no other is planned."""
    computer = computer_memory()
    if device.type == "cuda":
        free = _free_cuda(device)
    elif device.type == "mps":
        free = min(_free_mps(), computer)  # it is the computer's memory
    else:
        free = computer
    return FreeMemory(str(device), free, computer, exclusive)


def computer_memory() -> int:
    """Bytes that programs can still have, within the limit of a container where there is one."""
    available = int(psutil.virtual_memory().available)
    limit, used = _group_bytes("memory.max"), _group_bytes("memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used + _reclaimable()))


def _group_bytes(name: str) -> int | None:
    """A figure of the control group (version 2); None where there is none, or no limit ("max")."""
    try:
        return int((_GROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _reclaimable() -> int:
    """Bytes of cached files, which count as used but are given up when needed."""
    try:
        lines = (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError):
        return 0


def _free_cuda(device: torch.device) -> int:
    """Free memory of the GPU, with what PyTorch holds without using it."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _free_mps() -> int:
    """What Metal recommends to use at most, without what is used."""
    import torch

    return max(0, int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory()))
