"""Grey values to network channels and place maps; the same code in training and at the reading desk.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

CT_CHANNELS: tuple[tuple[float, float], ...] = ((-150.0, 250.0), (-1024.0, -300.0), (100.0, 1200.0))
"""Low and high HU of the soft-tissue, lung and bone channels."""
DARK = -0.4
"""Channel value of the lowest grey value; the highest is DARK + 1."""
_MM_PER_UNIT = 100.0
_TISSUE_HU, _OUTER_AIR_HU, _AIR_HU = -300.0, -930.0, -1024.0
_LARGE_SHARE = 0.35
"""Pieces of tissue of at least this share of the largest are body, smaller ones beside it are not."""


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
    return scale_ct(without_arms(image)) if modality == "CT" else scale_mr(image)


def without_arms(hu: Tensor) -> Tensor:
    """(B, h, w) HU with air in place of arms, blankets and other things beside the trunk.

    What is no part of the body's largest pieces, and is reached from the left or the right edge of
    the image without crossing tissue, is beside the body. Two pieces of like size, such as thighs,
    both stay. Runs on the CPU, whatever the device of the images.
    """
    tissue = functional.avg_pool2d((hu > _TISSUE_HU).float()[:, None], 2)[:, 0] > 0.5
    air = functional.avg_pool2d(hu[:, None], 2)[:, 0] < _OUTER_AIR_HU
    pairs = zip(tissue.cpu().numpy(), air.cpu().numpy(), strict=True)
    beside = torch.from_numpy(np.stack([_beside(*pair) for pair in pairs])).to(hu.device)
    blank = functional.interpolate(beside[:, None].float(), hu.shape[-2:], mode="nearest")[:, 0] > 0.5
    return torch.where(blank, _AIR_HU, hu)


def _beside(tissue: NDArray[np.bool_], air: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a slice, on a grid of half the resolution, shows what lies beside the body."""
    pieces, count = scipy.ndimage.label(scipy.ndimage.binary_erosion(tissue))
    if count == 0:
        return np.zeros_like(tissue)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    body = scipy.ndimage.binary_dilation((sizes >= _LARGE_SHARE * sizes.max())[pieces], iterations=2) & tissue
    body |= scipy.ndimage.binary_closing(body, iterations=3)  # a thin flank beside a bowel full of gas
    edges = np.zeros_like(air)
    edges[:, [0, -1]] = air[:, [0, -1]] & ~body[:, [0, -1]]
    outside = scipy.ndimage.binary_propagation(edges, mask=~body)
    return np.asarray(outside & ~scipy.ndimage.binary_dilation(body))


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
