"""Where a network of transformers goes, and how small it is made, so that it fits.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from napari_medreason.errors import ModelUnavailableError, NotEnoughMemoryError
from napari_medreason.models import fit
from napari_medreason.models.fit import FitPlan, PartSize, Precision
from napari_medreason.models.fit_memory import free_memory
from napari_medreason.models.fit_sizes import part_size


@dataclass(frozen=True)
class Placement:
    """Where a network goes, in which numbers it computes, and whether its text layers are made smaller."""

    device: torch.device
    dtype: torch.dtype
    quantisation: Literal["int8", "4bit"] | None = None

    @classmethod
    def of(cls, device: torch.device, precision: Precision) -> Placement:
        """The placement for one precision; what is not quantised is in bf16."""
        if precision == "int8" or precision == "4bit":
            return cls(device, torch.bfloat16, precision)
        return cls(device, torch.float32 if precision == "fp32" else torch.bfloat16)

    @property
    def precision(self) -> Precision:
        """The precision's name; "bf16" stands for any 16 bits."""
        return self.quantisation or ("fp32" if self.dtype == torch.float32 else "bf16")


def pick_device(name: str | None) -> torch.device:
    """The named device, else the first CUDA GPU, else Apple's, else the CPU.

    ModelUnavailableError when it is not there.
    """
    try:
        device = torch.device(name or _best_device())
    except RuntimeError as error:
        raise ModelUnavailableError(
            f"device {name!r} is not known to PyTorch; use 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailableError(f"device {name!r} was asked, but PyTorch sees no CUDA GPU; use 'cpu'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelUnavailableError(f"device {name!r} was asked, but PyTorch sees no Apple GPU; use 'cpu'")
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def plan_folders(
    folders: Mapping[str, Path], *, device: str | None = None, precision: Precision | None = None
) -> FitPlan:
    """How the networks of a system are loaded so that they fit together, told to whoever keeps models.

    folders: name for the user to model folder or weight file. Models that were used longest ago are closed
    where that gives a better plan. NotEnoughMemoryError when nothing fits; ModelUnavailableError when the
    precision can't be had here.
    """
    parts = [part_size(folder, name=name) for name, folder in folders.items()]
    return _plan(parts, device=device, precision=precision)


def _plan(parts: Sequence[PartSize], *, device: str | None, precision: Precision | None) -> FitPlan:
    """`plan_folders` for networks whose sizes are known."""
    picked = pick_device(device)
    check_precision(precision, picked)
    while True:
        memory = free_memory(picked, exclusive=device is not None)
        plan = fit.plan(parts, memory, precision)
        held = fit.host().held()
        emptied = replace(memory, free=memory.free + held, computer=memory.computer + held)
        best = fit.plan(parts, emptied, precision)
        gains = (best.fits, -best.choice) > (plan.fits, -plan.choice)
        if not gains or not fit.host().make_room():
            break
    fit.host().planned(plan)
    if not plan.fits and (precision is None or picked.type != "cuda"):
        raise NotEnoughMemoryError(f"{plan.words}; close other programs or models, or choose a smaller model")
    return plan


def placed(plan: FitPlan, name: str) -> Placement:
    """The placement of one network of a plan."""
    return Placement.of(torch.device(plan.device), plan.precision(name))


def placement_for(
    path: Path, *, device: str | None = None, precision: Precision | None = None, beside: int = 0
) -> Placement:
    """The placement of a network that is loaded by itself; `plan_folders` says what can go wrong.

    beside: bytes on the same device of smaller networks around it, which keep their own precision.
    With both device and precision given nothing is planned: whoever gives them has planned.
    """
    if device is not None and precision is not None:
        picked = pick_device(device)
        check_precision(precision, picked)
        return Placement.of(picked, fit.of_part(part_size(path), precision))
    part = replace(part_size(path), beside=beside)
    return placed(_plan([part], device=device, precision=precision), part.name)


def check_precision(precision: Precision | None, device: torch.device) -> None:
    """ModelUnavailableError when a precision is unknown or can't be had on a device."""
    if precision is None:
        return
    if precision not in fit.PRECISIONS:
        raise ModelUnavailableError(
            f"precision {precision!r} is not known; accepted: {', '.join(fit.PRECISIONS)}"
        )
    if precision not in fit.QUANTISED:
        return
    if not fit.bitsandbytes_there():
        raise ModelUnavailableError(
            f"precision {precision} needs the package bitsandbytes, which is not installed; "
            "pip install 'napari-medreason[gpu]', or use bf16"
        )
    if device.type == "mps":
        raise ModelUnavailableError(f"precision {precision} can't be had on Apple GPUs; use bf16")
