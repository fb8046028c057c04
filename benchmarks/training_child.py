"""One row of benchmarks/training.py: training_child.py RECIPE ours|plain FOLDER STEPS DEVICE; prints JSON."""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from napari_medreason.core.run_config import RunConfig, run_config
from napari_medreason.core.run_memory import memory_estimate
from napari_medreason_training.run_data import run_records

WARM_UP = 2


class Writer:
    """All that recipes ask of a run's folder before their first step."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder


class Clock:
    """Seconds of each step: of the one thread on a processor, of the wall with a GPU."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, []
        self._begun = 0.0

    def now(self) -> float:
        if self.device != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def begin(self) -> None:
        self._begun = self.now()

    def end(self) -> None:
        self.seconds.append(self.now() - self._begun)


def timed(step: Callable[[int], object], steps: int, clock: Clock) -> None:
    for number in range(1, WARM_UP + steps + 1):
        clock.begin()
        step(number)
        clock.end()


def embedded(config: RunConfig, place: Path, _who: str, steps: int, clock: Clock) -> tuple[int, str]:
    from napari_medreason_training import recipe_embedded
    from napari_medreason_training.train_embedded import device_tuning

    device_tuning()
    data = recipe_embedded.tuning_data(run_records(config, place))
    timed(recipe_embedded.EmbeddedTuning(Writer(config, place), data).step, steps, clock)
    return config.embedded.batch, memory_estimate(config).words


def reasoner(config: RunConfig, place: Path, who: str, steps: int, clock: Clock) -> tuple[int, str]:
    from napari_medreason_training.device_memory import reasoner_size
    from napari_medreason_training.reasoning import grpo, sft
    from napari_medreason_training.reasoning.base_model import base_model
    from napari_medreason_training.reasoning.tuning import reasoner_data

    base = base_model(config.base, place)
    data = reasoner_data(config, base, run_records(config, place), place)
    if who == "ours":
        recipe = grpo.GrpoTuning if config.recipe == "grpo" else sft.SftTuning
        timed(recipe(Writer(config, place), data).step, steps, clock)
    else:
        from training_plain import trl_script

        trl_script(config, data, WARM_UP + steps, clock)
    samples = config.sft.batch if config.recipe == "sft" else config.grpo.prompts * config.grpo.group
    return samples, memory_estimate(config, reasoner_size(base.folder)).words


def joint(config: RunConfig, place: Path, who: str, steps: int, clock: Clock) -> tuple[int, str]:
    from napari_medreason_training.joint import medisee, prs_med
    from napari_medreason_training.joint.base import base_folders, base_size
    from napari_medreason_training.joint.recipe import JointTuning

    folders = base_folders(config.base, place, config.recipe)
    writer = Writer(config, place)
    if config.recipe == "prs-med":
        module = prs_med.prs_med_module(folders, config.prs_med, writer)
    else:
        module = medisee.medisee_module(folders, writer)
    recipe = JointTuning(module, run_records(config, place), config, folders)
    if who == "ours":
        timed(recipe.step, steps, clock)
    else:
        from training_plain import torch_script

        timed(torch_script(recipe, module), steps, clock)
    settings = config.settings
    return settings.batch * settings.accumulation, memory_estimate(config, base_size(folders)).words


def main() -> None:
    recipe, who, folder, steps, device = sys.argv[1:]
    place, clock = Path(folder), Clock(device)
    config = run_config(json.loads((place / "config.json").read_text()), "benchmark")
    measured = {"embedded": embedded, "sft": reasoner, "grpo": reasoner}.get(recipe, joint)
    with warnings.catch_warnings(action="ignore"):
        samples, estimate = measured(config, place, who, int(steps), clock)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    seconds = clock.seconds[WARM_UP:]
    print(json.dumps({"seconds": seconds, "samples": samples, "peak": peak, "estimate": estimate}))


if __name__ == "__main__":
    main()
