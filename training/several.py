"""One run on several processes (accelerate launch, torchrun): who writes, and what all decide alike.

On one process everything here does nothing, so that a recipe is written once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import torch

from napari_medreason.errors import RunError

T = TypeVar("T")

PRESETS: tuple[str, ...] = ("several-gpus", "fsdp", "zero2", "zero3")
"""Ways of accelerate to share a run out; files of configs/accelerate."""


def is_main() -> bool:
    """Whether this is the process that writes the run folder."""
    return process_number() == 0


def process_number() -> int:
    """Number of this process among those of the run, from 0."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """How many processes work on the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(*, cpu: bool) -> None:
    """Meet the other processes; a recipe's own Accelerator(cpu=...) uses the same group afterwards."""
    if process_count() > 1:
        from accelerate import PartialState

        PartialState(cpu=cpu)


def leave() -> None:
    """Part from the other processes."""
    if process_count() > 1 and torch.distributed.is_initialized():
        from accelerate import PartialState

        PartialState().destroy_process_group()


def from_main(value: int) -> int:
    """The main process's number, the same for all; every process must call it."""
    if process_count() == 1:
        return value
    from accelerate.utils import broadcast

    return int(broadcast(_number(value)))


def anywhere(found: bool) -> bool:
    """Whether it is so in any process; every process must call it."""
    if process_count() == 1:
        return found
    from accelerate.utils import reduce

    return float(reduce(_number(int(found)), "sum")) > 0


def mean_of_all(value: float) -> float:
    """The mean over the processes; every process must call it."""
    if process_count() == 1:
        return value
    from accelerate.utils import reduce

    return float(reduce(_number(0).double() + value, "mean"))


def wait_for_all() -> None:
    """Go on when every process is here."""
    if process_count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def share_of(items: Sequence[T]) -> Sequence[T]:
    """Part for this process of what all would do together, such as the items of one batch."""
    return items[process_number() :: process_count()]


def own_random_numbers(seed: int, step: int) -> None:
    """Let every process but the main one draw numbers of its own, that a resumed run draws again."""
    if not is_main():
        torch.manual_seed((seed * 1_000_003 + step) * 1_009 + process_number())


def on_one_process(recipe: str) -> None:
    """RunError for a recipe that does not share its work out."""
    if process_count() > 1:
        raise RunError(
            f"the recipe {recipe} works on one process, and {process_count()} were started; start it "
            "without accelerate launch"
        )


def launch_line(config: str, folder: str) -> str:
    """The command that does the same run on several GPUs."""
    return (
        'accelerate launch --config_file "$(python -m napari_medreason_training several several-gpus)" '
        f"-m napari_medreason_training run {config} --folder {folder}"
    )


def preset_file(name: str) -> Path:
    """The settings of accelerate that lie in the package."""
    return Path(str(files(__package__))) / "configs" / "accelerate" / f"{name}.yaml"


def _number(value: int) -> torch.Tensor:
    from accelerate import PartialState

    return torch.tensor([value], device=PartialState().device)
