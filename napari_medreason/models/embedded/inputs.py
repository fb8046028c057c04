"""Grey values to network channels and place maps; the same code in training and at the reading desk.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CT_CHANNELS: tuple[tuple[float, float], ...] = ((-150.0, 250.0), (-1024.0, -300.0), (100.0, 1200.0))
"""Low and high HU of the soft-tissue, lung and bone channels."""
DARK = -0.4
"""Channel value of the lowest grey value; the highest is DARK + 1."""
_MM_PER_UNIT = 100.0


def scale_mr(image: Tensor) -> Tensor:
    """(B, h, w) in any unit to (B, 1, h, w), percentiles 0.5 to 99.5 of each image to DARK and DARK + 1."""
    ordered = image.flatten(1)[:, ::7].sort(1).values
    last = ordered.shape[1] - 1
    low = ordered[:, round(0.005 * last)].view(-1, 1, 1)
    high = ordered[:, round(0.995 * last)].view(-1, 1, 1)
    return (((image - low) / (high - low).clamp(min=1e-4)).clamp(-0.1, 1.1) + DARK)[:, None]


def scale_ct(image: Tensor) -> Tensor:
    """(B, h, w) in HU to (B, 3, h, w): soft-tissue, lung and bone channels, clipped."""
    return torch.stack([((image - low) / (high - low)).clamp(0, 1) + DARK for low, high in CT_CHANNELS], 1)


def scale(image: Tensor, modality: str) -> Tensor:
    """(B, h, w) native grey values to channels, by modality "CT" or "MR"."""
    return scale_ct(image) if modality == "CT" else scale_mr(image)


def place_maps(channels: Tensor, plane: Tensor, pixel_mm: float) -> Tensor:
    """(B, 5, h/4, w/4): place right and down of the body's centre in 100 mm, and which plane it is.

    channels: from `scale`. plane: (B,) 0 axial, 1 coronal, 2 sagittal. The body is what is not air,
    so that an off-centre patient gets the same maps.
    """
    body = _body(channels)
    size = body.shape[-2:]
    y, x = (torch.arange(n, dtype=torch.float32, device=channels.device) for n in size)
    mass = body.sum((1, 2)).clamp(min=1.0)
    centre_y = (body.sum(2) * y).sum(1) / mass
    centre_x = (body.sum(1) * x).sum(1) / mass
    unit = 4 * pixel_mm / _MM_PER_UNIT
    right = ((x[None, None, :] - centre_x[:, None, None]) * unit).expand(-1, size[0], -1)
    down = ((y[None, :, None] - centre_y[:, None, None]) * unit).expand(-1, -1, size[1])
    planes = functional.one_hot(plane, 3).to(channels.dtype)[:, :, None, None].expand(-1, -1, *size)
    return torch.cat([right[:, None], down[:, None], planes], 1)


def _body(channels: Tensor) -> Tensor:
    """(B, h/4, w/4) 1.0 where there is something other than air."""
    source, limit = (channels[:, 1], DARK + 0.95) if channels.shape[1] == 3 else (channels[:, 0], DARK + 0.15)
    return (functional.avg_pool2d(source[:, None], 4)[:, 0] > limit).float()
