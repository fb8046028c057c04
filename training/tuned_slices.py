"""Corrected slices as a stream of training images: moved, turned, bent and changed in brightness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.core.plane import AXES
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.experts import Expert
from napari_medreason.models.embedded.perception import fill_value, model_frame

from .batches import Batch
from .intensities import mr_artefacts, mr_gamma
from .run_data import LabelledPlane
from .sampling import blurred, chance, normal, smooth_field, uniform
from .volumes import LEFT, RIGHT

SIDES = {"left": LEFT, "right": RIGHT}
SAGITTAL = AXES.index("sagittal")
TURN_DEGREES, STRETCH, SHIFT_MM, BEND_MM = 12.0, 0.2, 20.0, 6.0
"""Largest changes at full strength: rotation, size, place, and the deformation on a coarse grid."""
NOISE_HU = 20.0


@dataclass(frozen=True, eq=False)
class Slice:
    """One corrected plane on the expert's pixels, as tensors.

    image: (h, w) native grey values. labels: (h, w) 0 or 1 + structure index. sides: (h, w) 0, 1 the
    patient's left, 2 right. known: (1 + K,) bool, background and the structures that the records name.
    fill: grey value of what lies outside. plane: 0 axial, 1 coronal, 2 sagittal.
    """

    image: Tensor
    labels: Tensor
    sides: Tensor
    known: Tensor
    fill: float
    plane: int


def prepared(labelled: LabelledPlane, expert: Expert, structures: Sequence[str]) -> Slice:
    """A plane on the expert's pixels; structures: those of the network, in its order."""
    plane = labelled.plane
    frame = model_frame(plane, expert)
    fill = fill_value(plane, expert)
    labels = np.zeros(frame.model_shape, dtype=np.int64)
    sides = np.zeros(frame.model_shape, dtype=np.int64)
    known = torch.zeros(1 + len(structures), dtype=torch.bool)
    known[0] = True
    half_told = one_sided(labelled)
    # Small things are drawn over large ones, such as a lesion over the white matter it lies in.
    for region in sorted(labelled.regions, key=lambda region: -int(region.mask.sum())):
        if region.structure not in structures:
            continue
        index = 1 + structures.index(region.structure)
        inside = frame.image_to_model(region.mask.astype(np.float32), 0.0) > 0.5
        labels[inside], sides[inside] = index, SIDES.get(region.side, 0)
        # Where only the left one is labelled, the right one may be there as well: it is not taught as absent.
        known[index] = region.structure not in half_told
    image = torch.from_numpy(frame.image_to_model(plane.image, fill))
    return Slice(
        image, torch.from_numpy(labels), torch.from_numpy(sides), known, fill, AXES.index(plane.grid.axis)
    )


def one_sided(labelled: LabelledPlane) -> frozenset[str]:
    """Paired structures of which only one side is labelled on the plane."""
    seen: dict[str, set[str]] = {}
    for region in labelled.regions:
        seen.setdefault(region.structure, set()).add(region.side)
    return frozenset(
        name
        for name, sides in seen.items()
        if name in vocabulary() and vocabulary()[name].paired and sides in ({"left"}, {"right"})
    )


@dataclass(frozen=True, eq=False)
class SliceSource:
    """Random images of corrected slices, each slice as often as the others."""

    slices: Sequence[Slice]
    expert: Expert
    size: int

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """Images of slices that the generator draws."""
        which = torch.randint(len(self.slices), (count,), generator=generator)
        return self.batch_of([self.slices[int(n)] for n in which], strength, generator)

    def batch_of(self, chosen: Iterable[Slice], strength: float, generator: torch.Generator) -> Batch:
        """One changed image of each of these slices."""
        parts = [self._one(one, strength, generator) for one in chosen]
        image, labels, sides = (torch.stack(part) for part in zip(*(p[:3] for p in parts), strict=True))
        known = torch.stack([one.known for *_, one in parts])
        plane = torch.tensor([one.plane for *_, one in parts])
        return Batch(self._channels(image, strength, generator), labels, sides, known, plane)

    def _one(
        self, one: Slice, strength: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Slice]:
        place = self._places(one, strength, generator)
        mirrored = self.expert.symmetric and one.plane != SAGITTAL and bool(chance(1, 0.5, generator))
        if mirrored:
            place = place.flip(1)
        image = _sampled(one.image - one.fill, place, "bilinear") + one.fill
        labels = _sampled(one.labels.float(), place, "nearest").long()
        sides = _sampled(one.sides.float(), place, "nearest").long()
        if mirrored:
            sides = torch.where(sides > 0, LEFT + RIGHT - sides, 0)
        return image, labels, sides, one

    def _places(self, one: Slice, strength: float, generator: torch.Generator) -> Tensor:
        """(S, S, 2) where each pixel of the new image lies in the slice, x and y from -1 to 1."""
        angle = normal(1, generator=generator) * strength * TURN_DEGREES / 2 * torch.pi / 180
        stretch = torch.exp(uniform(2, -STRETCH, STRETCH, generator) * strength)
        index = torch.arange(self.size).float() - (self.size - 1) / 2
        y, x = torch.meshgrid(index, index, indexing="ij")
        cosine, sine = angle.cos(), angle.sin()
        points = torch.stack([stretch[0] * (cosine * x - sine * y), stretch[1] * (sine * x + cosine * y)], -1)
        bend = smooth_field(1, 2, 6, self.size, generator)[0].permute(1, 2, 0)
        points = points + bend * uniform(1, 0, BEND_MM * strength, generator) / self.expert.pixel_mm
        size = torch.tensor([one.image.shape[1], one.image.shape[0]]).float()
        spare = ((size - self.size) / 2).clamp(min=0) + SHIFT_MM * strength / self.expert.pixel_mm
        shift = (torch.rand(2, generator=generator) * 2 - 1) * spare
        # Pixel p of n, from the middle, is at 2 p / n for grid_sample without aligned corners.
        return (points + shift) * 2 / size

    def _channels(self, image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        if self.expert.modality == "CT":
            noise = uniform(len(image), 0, NOISE_HU * strength, generator).view(-1, 1, 1)
            noisy = image + normal(*image.shape, generator=generator) * noise
            return inputs.scale(blurred(noisy, uniform(len(image), 0.1, 0.8, generator)), "CT")
        plain = inputs.scale_mr(image)[:, 0] - inputs.DARK
        channels = inputs.scale_mr(mr_artefacts(plain, 0.6 * strength, generator))
        return mr_gamma(channels, inputs.DARK, generator)


def _sampled(values: Tensor, place: Tensor, mode: str) -> Tensor:
    """(S, S) values of an (h, w) map at places; 0 outside."""
    return functional.grid_sample(
        values[None, None], place[None], mode=mode, padding_mode="zeros", align_corners=False
    )[0, 0]
