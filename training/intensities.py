"""Grey values for label maps, and believable changes of real and phantom grey values."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .sampling import blurred, chance, normal, smooth_field, uniform
from .volumes import FREESURFER

_GREY = (3, 42, 8, 47, 11, 50, 12, 51, 26, 58, 17, 53, 18, 54)
_WHITE = (2, 41, 7, 46)
_FLUID = (4, 43, 5, 44, 14, 15, 24)
_BETWEEN: dict[tuple[int, ...], tuple[float, float]] = {
    (10, 49): (0.15, 0.75),
    (13, 52): (0.3, 1.1),
    (28, 60): (0.4, 1.0),
    (16,): (0.5, 1.0),
}
"""FreeSurfer values whose grey value lies between grey (0) and white matter (1), with the range."""
_RANKS = torch.tensor([[0, 1, 2], [2, 1, 0], [0, 2, 1]])
"""Brightness rank of fluid, grey and white matter on T1, T2 and FLAIR images."""


def tissue_contrasts(
    labels: list[int], count: int, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mean and spread of the grey value per image and code, (count, codes) each.

    Most images follow the order of fluid, grey and white matter of T1, T2 or FLAIR, or any order;
    the others give every label a brightness of its own.
    """
    codes = len(labels)
    mean = torch.rand(count, codes, generator=generator) * 0.9 + 0.05
    spread = torch.rand(count, codes, generator=generator) * 0.09 + 0.005
    ordered = chance(count, 1 - 0.22 * strength, generator)
    fluid, grey, white = _fluid_grey_white(count, generator).unbind(1)
    target = mean.clone()
    for values, level, jitter in _levels(fluid, grey, white, generator):
        for value in values:
            if value in labels:
                offset = normal(count, generator=generator) * jitter
                target[:, labels.index(value)] = level + offset
    mean = torch.where(ordered[:, None], target, mean)
    for left, right in _pairs(labels):
        mean[:, right], spread[:, right] = mean[:, left], spread[:, left]
    mean[:, 0] = torch.where(chance(count, 0.85, generator), uniform(count, 0, 0.04, generator), mean[:, 0])
    spread[:, 0] *= 0.3
    return mean, torch.where(ordered[:, None], spread * 0.6, spread)


Contrast = Literal["T1", "T2", "FLAIR"]
KNOWN_CONTRASTS: dict[Contrast, tuple[float, float, float]] = {
    "T1": (0.15, 0.5, 0.8),
    "T2": (0.95, 0.6, 0.4),
    "FLAIR": (0.1, 0.65, 0.5),
}
"""Usual brightness, 0 to 1, of fluid, grey and white matter."""


def known_contrast(labels: list[int], contrast: Contrast, generator: torch.Generator) -> Tensor:
    """(codes,) brightness of every label in a usual T1, T2 or FLAIR image; what is no brain, at random."""
    mean = torch.rand(len(labels), generator=generator) * 0.8 + 0.1
    fluid, grey, white = (torch.tensor([value]) for value in KNOWN_CONTRASTS[contrast])
    for values, level, _ in _levels(fluid, grey, white, generator):
        for value in values:
            if value in labels:
                mean[labels.index(value)] = level[0]
    for left, right in _pairs(labels):
        mean[right] = mean[left]
    mean[0] = 0.0
    return mean


def _fluid_grey_white(count: int, generator: torch.Generator) -> Tensor:
    levels = torch.sort(torch.rand(count, 3, generator=generator) * 0.85 + 0.1, 1).values
    levels = levels + torch.tensor([-0.08, 0.0, 0.08])
    kind = torch.rand(count, generator=generator)
    any_order = torch.rand(count, 3, generator=generator).argsort(1)
    known_order = _RANKS[torch.bucketize(kind, torch.tensor([0.5, 0.7])).clamp(max=2)]
    return levels.gather(1, torch.where((kind < 0.88)[:, None], known_order, any_order))


def _levels(
    fluid: Tensor, grey: Tensor, white: Tensor, generator: torch.Generator
) -> list[tuple[tuple[int, ...], Tensor, float]]:
    count = len(fluid)
    levels = [(_GREY, grey, 0.03), (_WHITE, white, 0.03), (_FLUID[:-1], fluid, 0.015)]
    outer = fluid + (grey - fluid) * uniform(count, 0, 0.35, generator)
    levels.append((_FLUID[-1:], outer, 0.015))
    for values, (low, high) in _BETWEEN.items():
        share = uniform(count, low, high, generator)
        levels.append((values, grey * (1 - share) + white * share, 0.03))
    return levels


def _pairs(labels: list[int]) -> list[tuple[int, int]]:
    """Codes of a left and a right label of one structure."""
    place: dict[str, dict[str, int]] = {}
    for value, (name, side) in FREESURFER.items():
        if side and value in labels:
            place.setdefault(name, {})[side] = labels.index(value)
    return [(sides["left"], sides["right"]) for sides in place.values() if len(sides) == 2]


def mr_artefacts(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(P, S, S) images with bias field, blur, lost resolution and noise; grey values about 0 to 1."""
    count, size = images.shape[0], images.shape[-1]
    bias = smooth_field(count, 1, 4, size, generator)[:, 0]
    images = images * torch.exp(bias * uniform(count, 0, 0.1 + 0.2 * strength, generator).view(-1, 1, 1))
    images = blurred(images, uniform(count, 0.2, 1.1, generator))
    if torch.rand((), generator=generator) < 0.35 * strength:
        factor = (0.45, 0.6, 0.8)[int(torch.randint(3, (), generator=generator))]
        small = functional.interpolate(images[None], scale_factor=factor, mode="area")
        images = functional.interpolate(small, (size, size), mode="bilinear", align_corners=False)[0]
    level = uniform(count, 0, 0.05 * strength + 0.01, generator) * chance(count, 0.7, generator)
    return images + normal(*images.shape, generator=generator) * level.view(-1, 1, 1)


def mr_gamma(channels: Tensor, dark: float, generator: torch.Generator) -> Tensor:
    """Scaled (P, 1, S, S) images with a random gamma; `dark` is the value of black."""
    power = torch.exp(normal(channels.shape[0], generator=generator) * 0.25).view(-1, 1, 1, 1)
    return (channels - dark).clamp(min=0) ** power + dark


_SOFT_SPREAD: dict[str, tuple[float, float]] = {
    **{"liver": (25, 40), "spleen": (25, 50), "kidney": (40, 90), "gallbladder": (12, 0)},
    **{"stomach": (25, 10), "pancreas": (20, 35), "adrenal_gland": (18, 20), "lung": (20, 0)},
    **{"oesophagus": (12, 10), "heart": (30, 100), "aorta": (50, 130), "inferior_vena_cava": (35, 70)},
    **{"portal_vein": (35, 80), "small_bowel": (22, 10), "colon": (25, 0), "urinary_bladder": (15, 0)},
    **{"vertebra": (40, 0), "sacrum": (40, 0), "hip_bone": (40, 0), "femur": (40, 0), "ribs": (40, 0)},
    **{"spinal_canal": (8, 0), "iliopsoas": (10, 5), "gluteal_muscles": (10, 5), "erector_spinae": (10, 5)},
}
"""HU: spread of a structure's own offset, and the most that contrast medium adds."""
_UNIFORM_ORGANS = ("liver", "spleen", "kidney", "gallbladder", "pancreas", "aorta", "inferior_vena_cava")


def ct_resynthesis(
    hu: Tensor,
    labels: Tensor,
    structures: tuple[str, ...],
    typical_hu: dict[str, float],
    generator: torch.Generator,
) -> Tensor:
    """(P, S, S) HU with other contrast phases, organ textures, fat, muscle, noise and sharpness.

    labels: (P, S, S) 0 background or 1 + index in structures.
    """
    count = hu.shape[0]
    offset = _organ_offsets(count, structures, generator)
    soft = (hu > -300) & (hu < 600)
    changed = hu + torch.where(soft, _of_label(offset, labels), 0.0)
    rest = labels == 0
    fat, muscle = rest & (hu > -200) & (hu < -30), rest & (hu >= -30) & (hu < 180)
    changed = changed + fat * (normal(count, 1, 1, generator=generator) * 12)
    changed = changed + muscle * (normal(count, 1, 1, generator=generator) * 15)
    flat = chance(count * (len(structures) + 1), 0.25, generator).view(count, -1)
    flat &= torch.tensor([False] + [name in _UNIFORM_ORGANS for name in structures])
    base = torch.tensor([0.0] + [typical_hu[name] for name in structures]) + offset
    plain = _of_label(base, labels) + normal(*hu.shape, generator=generator) * 8
    changed = torch.where(_of_label(flat, labels), plain, changed)
    noise = uniform(count, 0, 35, generator).view(-1, 1, 1)
    changed = changed + normal(*hu.shape, generator=generator) * noise
    return blurred(changed, uniform(count, 0.1, 1.0, generator))


def with_arms(hu: Tensor, pixel_mm: float, generator: torch.Generator) -> Tensor:
    """(S, S) axial HU with an arm on both sides of the trunk, as in scans with the arms down."""
    body = hu > -300
    columns, rows = body.sum(0), body.sum(1)
    filled = (columns > 4).nonzero()[:, 0]
    if len(filled) == 0:
        return hu
    middle = float((rows * torch.arange(len(rows))).sum() / rows.sum())
    radius, gap, lower, shape = torch.rand(4, generator=generator).tolist()
    radius = (26 + 26 * radius) / pixel_mm
    y = middle + (40 * lower - 15) / pixel_mm
    for edge, outwards in ((float(filled[0]), -1), (float(filled[-1]), 1)):
        x = edge + outwards * radius * (0.9 + 0.4 * gap)
        arm = _arm(hu.shape[-1], (x, y), radius, (0.8 + 0.5 * shape, pixel_mm))
        hu = torch.where(~body, torch.maximum(hu, arm), hu)
    return hu


def _arm(size: int, centre: tuple[float, float], radius: float, shape: tuple[float, float]) -> Tensor:
    """(size, size) HU of one arm in air; shape: height over width, and mm per pixel."""
    index = torch.arange(size).float()
    x, y = index[None, :] - centre[0], index[:, None] - centre[1]
    depth = ((x**2 + (y / shape[0]) ** 2).sqrt()) / radius
    bone = (x**2 + y**2).sqrt() * shape[1]
    arm = torch.where(depth < 1, -100.0, -1024.0)
    arm = torch.where(depth < 0.85, 50.0, arm)
    arm = torch.where(bone < 12, 500.0, arm)
    return torch.where(bone < 6, 20.0, arm)


def _organ_offsets(count: int, structures: tuple[str, ...], generator: torch.Generator) -> Tensor:
    spread = torch.tensor([0.0] + [_SOFT_SPREAD[name][0] for name in structures])
    most = torch.tensor([0.0] + [_SOFT_SPREAD[name][1] for name in structures])
    own = normal(count, len(structures) + 1, generator=generator) * spread
    phase = torch.rand(count, 1, generator=generator) * chance(count, 0.6, generator)[:, None]
    return own + phase * most


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    """Values (P, 1 + K) looked up at labels (P, S, S)."""
    return values.gather(1, labels.flatten(1)).view(labels.shape)
