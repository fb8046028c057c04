"""Random oblique, deformed slices through volumes, and the small random fields that go with them.

Every function takes the torch.Generator that all its randomness comes from: the same seed gives
the same slices. P is the number of images, S the side of the square slice in model pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PLANE_AXES = torch.tensor(
    [
        [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0.0, 1, 0], [0, 0, -1], [1, 0, 0]],
    ]
)
"""Directions in LPS of growing column, growing row and the normal; axial, coronal, sagittal."""


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) numbers between low and high."""
    return torch.rand(count, generator=generator) * (high - low) + low


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=generator)


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """(count,) bool, each True with this probability."""
    return torch.rand(count, generator=generator) < probability


def smooth_field(count: int, channels: int, knots: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, channels, size, size): normal numbers on a coarse grid, bicubic in between."""
    coarse = normal(count, channels, knots, knots, generator=generator)
    return functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)


def rotations(count: int, degrees: float, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) rotations about all three axes, each angle normal with this spread."""
    angle = normal(count, 3, generator=generator) * (degrees * math.pi / 180)
    result = torch.eye(3).expand(count, 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3).repeat(count, 1, 1)
        cosine, sine = angle[:, axis].cos(), angle[:, axis].sin()
        turn[:, first, first], turn[:, second, second] = cosine, cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        result = result @ turn
    return result


def blurred(images: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    """(P, S, S) images, each blurred with its own Gaussian sigma (P,) in pixels."""
    count, size = images.shape[0], images.shape[-1]
    places = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-0.5 * (places[None] / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    x = functional.pad(images[None], (radius, radius, 0, 0), mode="replicate")
    x = functional.conv2d(x, kernel[:, None, None, :], groups=count)
    x = functional.pad(x, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(x, kernel[:, None, :, None], groups=count).reshape(count, size, size)


@dataclass(frozen=True)
class SliceShape:
    """How far slices are tilted, scaled and deformed at full strength.

    tilt_degrees; scale: smallest and largest factor on the pixel size; squeeze: spread of the
    factor between the two directions; slow_mm, fast_mm: largest deformation on a coarse and a fine
    grid; shift_mm: largest offset within the plane.
    """

    tilt_degrees: float
    scale: tuple[float, float]
    squeeze: float
    slow_mm: float
    fast_mm: float
    shift_mm: float


@dataclass(frozen=True, eq=False)
class SlicePoints:
    """Where the pixels of slices lie, in mm from the volume's centre.

    points: (P, S, S, 3) LPS mm. normal: (P, 3) unit vectors. plane: (P,) 0, 1 or 2.
    """

    points: Tensor
    normal: Tensor
    plane: Tensor


def random_slices(
    plane: Tensor,
    along: Tensor,
    shape: SliceShape,
    *,
    size: int,
    pixel_mm: float,
    strength: float,
    generator: torch.Generator,
) -> SlicePoints:
    """Slices of the given planes (P,) at `along` (P,) mm from the centre on the normal."""
    count = len(plane)
    axes = PLANE_AXES[plane]
    frame = torch.bmm(axes, rotations(count, shape.tilt_degrees * (0.4 + 0.6 * strength), generator))
    low, high = (1 + (factor - 1) * strength for factor in shape.scale)
    pixel = uniform(count, low, high, generator) * pixel_mm
    steps = torch.stack(
        [pixel * uniform(count, 1 - shape.squeeze, 1 + shape.squeeze, generator) for _ in range(2)], 1
    )
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * shape.shift_mm
    centre = axes[:, 2] * along[:, None] + torch.einsum("pu,pui->pi", shift, axes[:, :2])
    index = torch.arange(size).float() - (size - 1) / 2
    grid = torch.stack(torch.meshgrid(index, index, indexing="xy"))
    points = torch.einsum("pui,pu,uyx->pyxi", frame[:, :2], steps, grid) + centre[:, None, None]
    for knots, largest in ((6, shape.slow_mm * (0.3 + 0.7 * strength)), (16, shape.fast_mm)):
        field = smooth_field(count, 3, knots, size, generator).permute(0, 2, 3, 1)
        points = points + field * uniform(count, 0, largest, generator).view(count, 1, 1, 1)
    return SlicePoints(points, frame[:, 2], plane)


def nearest_codes(codes: Tensor, points: Tensor, spacing: Tensor) -> Tensor:
    """Codes (x, y, z) uint8 at points (..., 3) mm from the centre: (...) int64, 0 outside."""
    size = torch.tensor(codes.shape)
    index = (points / spacing + (size - 1) / 2).round().long()
    inside = ((index >= 0) & (index < size)).all(-1)
    index = torch.minimum(index.clamp(min=0), size - 1)
    flat = (index[..., 0] * size[1] + index[..., 1]) * size[2] + index[..., 2]
    return torch.where(inside, codes.reshape(-1)[flat].long(), 0)


def linear_voxels(voxels: Tensor, points: Tensor, spacing: Tensor, outside: float) -> Tensor:
    """Voxels (x, y, z) float32 at points (P, S, S, 3) mm from the centre: (P, S, S)."""
    size = torch.tensor(voxels.shape)
    index = points / spacing + (size - 1) / 2
    place = (2 * index / (size - 1).clamp(min=1) - 1).flip(-1)
    values = functional.grid_sample(
        voxels[None, None], place[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0, 0]
    inside = ((index > -0.5) & (index < size - 0.5)).all(-1)
    return torch.where(inside, values, torch.tensor(outside))
