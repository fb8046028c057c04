"""How sure the model may be that a structure is in the slice, from images that were not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import areas

from .config import EmbeddedConfig
from .embedded_sources import calibration_sources
from .losses import present
from .train_embedded import seeded
from .validation import predicted

CALIBRATION_SEED = 4_242
CALIBRATION_BATCHES = 150
LEAST_CASES = 8
"""With fewer images with, or without, a structure its presence logit is used as it is."""
AS_IT_IS = (0.0, 1.0, 0.0)
_RIDGE = 0.002


@torch.no_grad()
def presence_weights(
    network: GroundingNetwork, config: EmbeddedConfig, data: Path, cache: Path
) -> dict[str, tuple[float, float, float]]:
    """Per structure: bias, weight of the presence logit, weight of log(1 + mask area in pixels)."""
    sources = calibration_sources(config, data, cache)
    cues, wanted, known = [], [], []
    for step in range(CALIBRATION_BATCHES):
        batch = sources[step % len(sources)].batch(4, 0.7, seeded(CALIBRATION_SEED, step))
        _, logits, presence = predicted(
            network, batch, config.pixel_mm, symmetric=config.expert == "brain_mr"
        )
        area = np.stack([areas(image.numpy()) for image in logits])
        cues.append(np.stack([presence.numpy(), np.log1p(area)], -1))
        wanted.append(present(batch.labels, batch.known.shape[1]) > 0.5)
        known.append(batch.known[:, 1:])
    return _fits(network.config.structures, np.concatenate(cues), torch.cat(wanted), torch.cat(known))


def _fits(
    names: tuple[str, ...], cues: NDArray[np.float64], wanted: Tensor, known: Tensor
) -> dict[str, tuple[float, float, float]]:
    result = {}
    for k, name in enumerate(names):
        looked = known[:, k].numpy()
        result[name] = logistic_fit(cues[looked, k], wanted[:, k].numpy()[looked])
    return result


def logistic_fit(cues: NDArray[np.float64], there: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Logistic regression of `there` (n,) on cues (n, 2) with no weight below 0, as often as things are."""
    if min(there.sum(), (~there).sum()) < LEAST_CASES:
        return AS_IT_IS
    sign = np.where(there, 1.0, -1.0)

    def loss(parameters: NDArray[np.float64]) -> float:
        values = parameters[0] + cues @ parameters[1:]
        fit = float(np.logaddexp(0.0, -sign * values).mean())
        return fit + _RIDGE * float(parameters[1:] @ parameters[1:])

    best = minimize(loss, np.array(AS_IT_IS), bounds=[(None, None), (0, None), (0, None)]).x
    bias, per_logit, per_area = (round(float(value), 4) for value in best)
    return bias, per_logit, per_area
