"""Training batches made on the fly: seeded, on any device torch runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .intensities import ct_resynthesis, mr_artefacts, mr_gamma, tissue_contrasts, with_arms
from .sampling import (
    SlicePoints,
    SliceShape,
    chance,
    linear_voxels,
    nearest_codes,
    normal,
    random_slices,
    uniform,
)
from .sources import TYPICAL_HU
from .volumes import LabelledVolume, LabelMaps

BRAIN_SHAPE = SliceShape(8.0, (0.85, 1.25), 0.08, 4.0, 1.0, 25.0)
BODY_SHAPE = SliceShape(5.0, (0.75, 1.3), 0.12, 11.0, 4.0, 35.0)
AXIAL, SAGITTAL = 0, 2
ARMS_DOWN = 0.35
"""Share of the axial CT slices that get arms beside the trunk."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B training images.

    channels: (B, C, S, S) scaled grey values. labels: (B, S, S) 0 background or 1 + structure index.
    sides: (B, S, S) 0 not to be told, 1 the patient's left, 2 right. known: (B, 1 + K) bool, the
    structures that were looked for. plane: (B,) 0 axial, 1 coronal, 2 sagittal.
    """

    channels: Tensor
    labels: Tensor
    sides: Tensor
    known: Tensor
    plane: Tensor


class Source(Protocol):
    """Makes batches; `strength` 0 to 1 says how strong the changes are."""

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """The next batch of the generator."""


@dataclass(frozen=True, eq=False)
class LabelMapSource:
    """Brain MR of random contrast, made from whole-head label maps."""

    maps: LabelMaps
    size: int
    pixel_mm: float

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """Images of random planes, more of them through the middle of the brain."""
        maps = self.maps
        which = torch.randint(len(maps.codes), (count,), generator=generator)
        plane = torch.randint(3, (count,), generator=generator)
        slices = self._slices(which, plane, strength, generator)
        codes = _stack_codes(maps.codes, which, slices.points)
        image = self._image(which, slices, codes, strength, generator)
        image = mr_artefacts(image, strength, generator)
        channels = mr_gamma(inputs.scale_mr(image), inputs.DARK, generator)
        known = torch.ones(count, 1 + len(BRAIN_MR), dtype=torch.bool)
        return Batch(channels, maps.structure[codes], _told_sides(maps.side[codes], plane), known, plane)

    def _slices(
        self, which: Tensor, plane: Tensor, strength: float, generator: torch.Generator
    ) -> SlicePoints:
        count = len(which)
        place = uniform(count, -1.05, 1.05, generator)
        normal_axis = torch.tensor([2, 1, 0])[plane]
        reach = self.maps.half_extent[which, normal_axis]
        along = place.sign() * place.abs() ** 1.4 * reach
        return random_slices(
            plane,
            along,
            BRAIN_SHAPE,
            size=self.size,
            pixel_mm=self.pixel_mm,
            strength=strength,
            generator=generator,
        )

    def _image(
        self,
        which: Tensor,
        slices: SlicePoints,
        codes: Tensor,
        strength: float,
        generator: torch.Generator,
    ) -> Tensor:
        """Grey values by label, the mean over the thickness of the slice."""
        count, maps = len(which), self.maps
        thickness = uniform(count, 0, 3.5, generator) * chance(count, 0.6, generator)
        step = (thickness[:, None] * slices.normal)[:, None, None]
        mean, spread = tissue_contrasts(maps.label.tolist(), count, strength, generator)
        mean, spread = _stripped(maps, mean, spread, generator)
        images = [_look_up(mean, codes)]
        for half in (-0.5, 0.5):
            images.append(_look_up(mean, _stack_codes(maps.codes, which, slices.points + half * step)))
        texture = normal(*codes.shape, generator=generator) * _look_up(spread, codes)
        return torch.stack(images).mean(0) + texture


def _stack_codes(stack: Tensor, which: Tensor, points: Tensor) -> Tensor:
    one_mm = torch.ones(3)
    return torch.stack(
        [nearest_codes(stack[n], p, one_mm) for n, p in zip(which.tolist(), points, strict=True)]
    )


def _look_up(values: Tensor, codes: Tensor) -> Tensor:
    return values.gather(1, codes.flatten(1)).view(codes.shape)


def _stripped(
    maps: LabelMaps, mean: Tensor, spread: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Half of the images lose everything outside the brain, half of those keep the fluid."""
    count = len(mean)
    fluid = maps.structure == 1 + BRAIN_MR.index("cerebrospinal_fluid")
    outside = (maps.structure == 0) | fluid
    strip, keep_fluid = chance(count, 0.5, generator), chance(count, 0.5, generator)
    drop = strip[:, None] & outside & ~(keep_fluid[:, None] & fluid)
    return torch.where(drop, mean[:, :1], mean), torch.where(drop, spread[:, :1], spread)


def _told_sides(sides: Tensor, plane: Tensor) -> Tensor:
    """A sagittal slice does not show which side it is of."""
    return torch.where((plane == SAGITTAL)[:, None, None], 0, sides)


@dataclass(frozen=True, eq=False)
class VolumeSource:
    """Slices of volumes that have an image, CT or MR."""

    volumes: Sequence[LabelledVolume]
    modality: str
    size: int
    pixel_mm: float

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """Images from volumes drawn by weight."""
        weights = torch.tensor([volume.weight for volume in self.volumes])
        which = torch.multinomial(weights, count, replacement=True, generator=generator)
        parts = [self._one(self.volumes[int(n)], strength, generator) for n in which]
        image, labels, sides, known, plane = (torch.cat(part) for part in zip(*parts, strict=True))
        if self.modality == "CT":
            image = self._some_with_arms(image, plane, generator)
        channels = self._channels(image, labels, strength, generator)
        return Batch(channels, labels, _told_sides(sides, plane), known, plane)

    def _some_with_arms(self, image: Tensor, plane: Tensor, generator: torch.Generator) -> Tensor:
        chosen = chance(len(image), ARMS_DOWN, generator) & (plane == AXIAL)
        arms = [
            with_arms(i, self.pixel_mm, generator) if c else i for i, c in zip(image, chosen, strict=True)
        ]
        return torch.stack(arms)

    def _one(
        self, volume: LabelledVolume, strength: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        plane = torch.multinomial(torch.tensor(volume.planes), 1, generator=generator)
        extent = torch.tensor(volume.codes.shape) * volume.spacing
        reach = float(extent[[2, 1, 0][int(plane)]]) * (0.49 if int(plane) == 0 else 0.38)
        shape = BODY_SHAPE if self.modality == "CT" else BRAIN_SHAPE
        slices = random_slices(
            plane,
            uniform(1, -reach, reach, generator),
            shape,
            size=self.size,
            pixel_mm=self.pixel_mm,
            strength=strength,
            generator=generator,
        )
        points = _within(slices, extent)
        outside = -1024.0 if self.modality == "CT" else 0.0
        image = linear_voxels(volume.voxels, points, volume.spacing, outside)
        codes = nearest_codes(volume.codes, points, volume.spacing)
        return image, volume.structure[codes], volume.side[codes], volume.known[None], plane

    def _channels(self, image: Tensor, labels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        if self.modality == "CT":
            image = ct_resynthesis(image, labels, BODY_CT, TYPICAL_HU, generator)
            return inputs.scale(image, "CT")
        image = inputs.scale_mr(image)[:, 0] - inputs.DARK
        channels = inputs.scale_mr(mr_artefacts(image, strength, generator))
        return mr_gamma(channels, inputs.DARK, generator)


def _within(slices: SlicePoints, extent: Tensor) -> Tensor:
    """Points with their place along the slice's normal axis kept inside the volume.

    Thin slabs are deformed by more than their thickness; without this the body would be cut.
    """
    axis = [2, 1, 0][int(slices.plane[0])]
    points = slices.points.clone()
    reach = float(extent[axis]) / 2 - 1e-3
    points[..., axis] = points[..., axis].clamp(-reach, reach)
    return points


@dataclass(frozen=True, eq=False)
class MixedSource:
    """Each batch comes from one of several sources, drawn by share."""

    sources: Sequence[Source]
    shares: Sequence[float]

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """A batch of the source that the generator picks."""
        which = torch.multinomial(torch.tensor(list(self.shares)), 1, generator=generator)
        return self.sources[int(which)].batch(count, strength, generator)
