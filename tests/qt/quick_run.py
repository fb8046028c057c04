"""A training run with coarse phantoms, in a process of its own: `quick_run.py CONFIG --folder FOLDER`."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from napari_medreason_training import replay, run_command
from napari_medreason_training.phantoms import head_mr


@cache
def coarse_head(seed):
    """A head on pixels of 6 mm, made in a moment."""
    return head_mr(seed, contrast="random", spacing_mm=(6.0, 6.0, 6.0), shape=(32, 40, 32))


if __name__ == "__main__":
    replay._phantom = lambda _expert, seed: coarse_head(seed)
    replay.TRAINING_PHANTOMS, replay.VALIDATION_PHANTOMS = (1,), range(9000, 9001)
    replay.HELD_OUT_BATCHES = 1
    run_command.execute(Path(sys.argv[1]), Path(sys.argv[3]))
