"""A recipe that shares its batches out over processes; run under accelerate launch."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from napari_medreason_training import loop, run_command, several
from napari_medreason_training.loop import Evaluation


class Shared:
    """A linear layer on several processes."""

    def __init__(self, writer):
        self.folder, self.nan = writer.folder, writer.config.name == "nan-in-1"
        self.schedule_steps = writer.config.budget.steps
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        model = torch.nn.Linear(3, 1)
        self.model, self.optimiser = self.accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1))

    def step(self, number):
        points = torch.randn(4, 3)
        if number == 1:
            (self.folder / f"drawn-{several.process_number()}.txt").write_text(str(points.tolist()))
        loss = ((self.model(points) - points.sum(1, keepdim=True)) ** 2).mean()
        if self.nan and number == 3 and several.process_number() == 1:
            loss = loss * float("nan")
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        self.optimiser.step()
        return {"loss": float(loss.detach())}

    def evaluate(self):
        return Evaluation({"score": several.mean_of_all(float(several.process_number()))}, "score")

    def state(self):
        return dict(self.accelerator.unwrap_model(self.model).state_dict())

    def restore(self, tensors):
        own = {name: tensors[name] for name in ("weight", "bias")}
        self.accelerator.unwrap_model(self.model).load_state_dict(own)

    def export(self, folder):
        weight = self.accelerator.unwrap_model(self.model).weight.tolist()
        (self.folder / f"weights-{several.process_number()}.txt").write_text(str(weight))


if __name__ == "__main__":
    import sys
    from pathlib import Path

    run_command.runner = lambda recipe: lambda writer, base: loop.run(Shared(writer), writer)
    run_command.execute(Path(sys.argv[1]), Path(sys.argv[2]))
