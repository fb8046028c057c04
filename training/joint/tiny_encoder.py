"""TinySAM's encoder for the proof of PRS-Med: random weights that have been shown the synthetic shapes.

The released TinySAM has seen very many pictures before PRS-Med starts from it; random weights would spend
most of a proof on learning what an object is. So the toy base's encoder first learns, for some dozens of
steps, to tell the kinds of object apart in each of its cells. It gets no words there, and its slices are in
no split of the proof.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_medreason.models.prs_med.encoder import FEATURES, STRIDE, TinySamEncoder
from napari_medreason.models.prs_med.pictures import encoder_input

from .shapes import BRIGHTNESS, synthetic_slice

SIDE = 128
"""Side of the square that the toy encoder sees."""
STEPS = 50
"""Enough to tell the three objects apart; about a minute of one core."""
_BATCH = 6
_RATE = 1e-3
_APART = 2_000_000
"""Added to the seed, so that no slice is one of the proof's."""


def shown_shapes(encoder: TinySamEncoder, seed: int, steps: int) -> TinySamEncoder:
    """Train `encoder` in place to name the kind of object in each of its cells; gives it back."""
    if not steps:
        return encoder
    rng = np.random.default_rng(seed + _APART)
    named = nn.Conv2d(FEATURES, len(BRIGHTNESS) + 1, 1)
    both = nn.ModuleList([encoder, named]).train()
    optimiser = torch.optim.AdamW(both.parameters(), _RATE)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        pictures, shares = _batch(rng)
        # An object fills few cells, so each kind of object counts as much as the ground.
        weight = 1 / shares.mean((0, 2, 3)).clamp(min=0.01)
        loss = functional.cross_entropy(named(encoder(pictures)), shares, weight=weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(both.parameters(), 2.0)
        optimiser.step()
        falling.step()
    return encoder.eval()


def _batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Squares, and (B, kinds, rows, columns) shares of the ground and of each object in a cell."""
    slices = [synthetic_slice(rng) for _ in range(_BATCH)]
    pictures = torch.cat([encoder_input(_grey(picture), SIDE) for picture, _ in slices])
    masks = torch.tensor(np.stack([np.stack([one[name] for name in BRIGHTNESS]) for _, one in slices]))
    shares = functional.interpolate(masks.float(), (SIDE // STRIDE,) * 2, mode="area")
    return pictures, torch.cat([1 - shares.sum(1, keepdim=True), shares], dim=1)


def _grey(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(rows, columns, 3) as a display window over all of its values shows it."""
    low, high = picture.min(), picture.max()
    scaled = (picture - low) / (high - low) * 255
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)
