"""Images of the shipped generator that are shown while tuning, and others to see whether all is kept.

The phantoms are made on about the network's own pixels, which takes two seconds of one core each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.models.embedded.experts import Expert

from .batches import Batch, VolumeSource
from .embedded_sources import VALIDATION_PHANTOMS
from .phantoms import Phantom, body_ct, head_mr
from .sources import phantom_volume
from .train_embedded import seeded
from .volumes import LabelledVolume

TRAINING_PHANTOMS = (1, 2, 3, 4, 5, 6)
HELD_OUT_BATCHES, HELD_OUT_SEED = 4, 77


class Replay:
    """Phantoms of the expert's body part."""

    def __init__(self, expert: Expert, structures: Sequence[str], size: int) -> None:
        self.expert, self.structures, self.size = expert, tuple(structures), size
        self._source = self._made(TRAINING_PHANTOMS)
        self._held_out = tuple(self._batches(self._made(VALIDATION_PHANTOMS[:2])))

    def batch(self, count: int, strength: float, generator: torch.Generator) -> Batch:
        """Images with all their labels."""
        return self._source.batch(count, strength, generator)

    def held_out(self) -> tuple[Batch, ...]:
        """The same images each time, of phantoms that are never trained on."""
        return self._held_out

    def _made(self, seeds: Iterable[int]) -> VolumeSource:
        volumes = [self._volume(_phantom(self.expert, seed)) for seed in seeds]
        return VolumeSource(volumes, self.expert.modality, self.size, self.expert.pixel_mm)

    def _volume(self, phantom: Phantom) -> LabelledVolume:
        """Findings that are to be learnt are surely not in a phantom; anatomy may be there without label."""
        absent = [name for name in self.structures if vocabulary()[name].is_finding]
        known = [name for name in self.structures if name in phantom.structures]
        return phantom_volume(phantom, self.structures, known=[*known, *absent], weight=1.0)

    def _batches(self, source: VolumeSource) -> Iterable[Batch]:
        for number in range(HELD_OUT_BATCHES):
            yield source.batch(4, 0.7, seeded(HELD_OUT_SEED, number))


def _phantom(expert: Expert, seed: int) -> Phantom:
    if expert.modality == "CT":
        return body_ct(seed, spacing_mm=(5.0, 3.0, 3.0), pixels=128)
    return head_mr(seed, contrast="random", spacing_mm=(1.5, 1.5, 1.5), shape=(128, 154, 128))
