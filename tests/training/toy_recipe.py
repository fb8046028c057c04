"""A recipe that fits a line through noisy points, slow enough to be killed; used in a process of its own."""

from __future__ import annotations

import time

import torch

from napari_medreason_training import loop, run_command
from napari_medreason_training.loop import Evaluation, Sample


class Toy:
    """A linear layer, AdamW, and random points at every step."""

    def __init__(self, steps, *, pause=0.0, nan_at=0, slow=0.0):
        torch.manual_seed(0)
        self.schedule_steps, self.pause, self.nan_at, self.slow = steps, pause, nan_at, slow
        self.model = torch.nn.Linear(3, 1)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 0.05)

    def step(self, number):
        time.sleep(self.pause)
        points = torch.randn(8, 3)
        loss = ((self.model(points) - points.sum(1, keepdim=True)) ** 2).mean()
        if number == self.nan_at:
            loss = loss * float("nan")
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": float(loss.detach())}

    def evaluate(self):
        torch.manual_seed(99)  # what evaluation draws must not change what training draws
        points = torch.randn(64, 3)
        error = float(((self.model(points) - points.sum(1, keepdim=True)) ** 2).mean().detach())
        return Evaluation({"error": error, "score": -error}, "score", (Sample("first", {"answer": "yes"}),))

    def state(self):
        time.sleep(self.slow)
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return tensors

    def restore(self, tensors):
        self.model.load_state_dict({n[6:]: v for n, v in tensors.items() if n.startswith("model.")})
        state = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def export(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.txt").write_text(str(self.model.weight.tolist()))


def train(writer, base):
    """What `run` calls: the name of the run says how it behaves."""
    options = dict(part.split("=") for part in writer.config.name.split(",") if "=" in part)
    numbers = {key: float(value) for key, value in options.items()}
    toy = Toy(
        int(numbers.get("steps", 40)),
        pause=numbers.get("pause", 0.0),
        nan_at=int(numbers.get("nan", 0)),
        slow=numbers.get("slow", 0.0),
    )
    return loop.run(toy, writer)


def use_toy():
    """Let the recipe `embedded` be the toy, in this process."""
    run_command.runner = lambda recipe: train


if __name__ == "__main__":
    import sys
    from pathlib import Path

    use_toy()
    run_command.execute(Path(sys.argv[1]), Path(sys.argv[2]))
