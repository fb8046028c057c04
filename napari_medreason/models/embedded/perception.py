"""What the embedded model sees on a plane; kept for recent planes, shared by all who ask."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_medreason.core.plane import AXES, Plane
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import QuestionError
from napari_medreason.models.embedded.adapter import tuned_experts
from napari_medreason.models.embedded.experts import (
    FOLDER,
    Expert,
    combined_hash,
    load_experts,
    load_network,
)
from napari_medreason.models.embedded.fitness import Fitness, fitness

if TYPE_CHECKING:
    from napari_medreason.models.embedded.network import GroundingNetwork, ImageFeatures

KEPT_PLANES = 16
"""Planes and their mirror images."""
LARGEST_SIDE = 1024
"""Model pixels; a plane that needs more has a pixel size that can't be right."""
UNCALIBRATED_SIDE = 192
"""Model pixels of a picture without pixel size, along its longer side."""
_SIZE_MULTIPLE = 32


@dataclass(frozen=True, eq=False)
class Perception:
    """One plane as one expert sees it.

    frame: the model's pixel grid. features: kept for prompts. logits: (K, rows, columns) mask logits
    against a background of 0; presence: (K,) logits; areas: (K,) pixels of each structure; sides:
    (2, rows, columns) logits of the patient's left and right; all in model pixels. fitness: whether the
    plane looks like what the expert was made for.
    """

    expert: Expert
    frame: ModelFrame
    features: ImageFeatures
    logits: NDArray[np.float32]
    presence: NDArray[np.float32]
    areas: NDArray[np.int64]
    sides: NDArray[np.float32]
    fitness: Fitness


class Perceiver:
    """Loads experts when they are first needed and remembers the planes seen last."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.experts = self._own = load_experts(folder)
        self.weights_sha256 = combined_hash(self.experts)
        self._networks: dict[str, GroundingNetwork] = {}
        self._seen: OrderedDict[bytes, Perception] = OrderedDict()

    def put_on(self, adapter: Path) -> None:
        """Look with a tuned expert; WeightsError when it does not fit, and nothing is changed then."""
        experts = tuned_experts(adapter, self._own)
        networks = {expert.sha256: load_network(expert) for expert in experts if expert not in self._own}
        self._use(experts, networks)

    def take_off(self) -> None:
        """Look with the experts that came with the model again."""
        self._use(self._own, {})

    def _use(self, experts: tuple[Expert, ...], networks: dict[str, GroundingNetwork]) -> None:
        """Exchange the experts; the model's own networks stay loaded, so that taking off loads nothing."""
        weights_sha256 = combined_hash(experts)
        own = {expert.sha256 for expert in self._own}
        kept = {sha256: network for sha256, network in self._networks.items() if sha256 in own}
        self.experts, self.weights_sha256, self._networks = experts, weights_sha256, kept | networks
        self._seen.clear()

    def expert_for(self, plane: Plane) -> Expert | None:
        """The expert that reads this kind of image; None for other modalities and for pictures."""
        if not plane.calibrated:
            return None
        return next((expert for expert in self.experts if expert.modality == plane.modality), None)

    def perceive(self, plane: Plane, expert: Expert | None = None, *, averaged: bool = True) -> Perception:
        """What `expert` (else the plane's own, else the MR one) sees on the plane; cached.

        averaged: a symmetric body part is also seen mirrored, and both views are averaged.
        """
        chosen = self._chosen(plane, expert)
        symmetric = averaged and chosen.symmetric
        key = _key(plane, chosen) + bytes([symmetric])
        if key not in self._seen:
            self._seen[key] = _perceive(plane, chosen, self.network(chosen), symmetric=symmetric)
        self._seen.move_to_end(key)
        while len(self._seen) > KEPT_PLANES:
            self._seen.popitem(last=False)
        return self._seen[key]

    def _chosen(self, plane: Plane, expert: Expert | None) -> Expert:
        return expert or self.expert_for(plane) or self.experts[0]

    def network(self, expert: Expert) -> GroundingNetwork:
        """The expert's network, loaded once; WeightsError when its weights are damaged."""
        if expert.sha256 not in self._networks:
            self._networks[expert.sha256] = load_network(expert)
        return self._networks[expert.sha256]

    def prepare(self, plane: Plane) -> None:
        """Load all that `perceive` will need for this plane, so that loading isn't counted as reasoning."""
        self.network(self._chosen(plane, None))
        scipy.ndimage  # noqa: B018  # loads at first use, which takes half a second

    def close(self) -> None:
        """Give memory back."""
        self._networks.clear()
        self._seen.clear()


def _key(plane: Plane, expert: Expert) -> bytes:
    digest = blake2b(np.ascontiguousarray(plane.image).tobytes(), digest_size=16)
    digest.update(repr((plane.grid.axis, plane.grid.shape, plane.grid.spacing)).encode())
    digest.update(repr((plane.calibrated, expert.id)).encode())
    return digest.digest()


def model_frame(plane: Plane, expert: Expert) -> ModelFrame:
    """The expert's pixel grid over a plane; QuestionError when the plane would be absurdly large."""
    rows, columns = plane.grid.shape
    spacing, pixel_mm = plane.grid.spacing, expert.pixel_mm
    if not plane.calibrated:
        spacing, pixel_mm = (1.0, 1.0), max(rows, columns) / UNCALIBRATED_SIDE
    if max(rows * spacing[0], columns * spacing[1]) > LARGEST_SIDE * pixel_mm:
        raise QuestionError(
            f"this slice measures {rows * spacing[0]:.0f} x {columns * spacing[1]:.0f} mm; at most "
            f"{LARGEST_SIDE * pixel_mm:.0f} mm are accepted, please check the pixel size of the study"
        )
    return ModelFrame.with_pixel_size((rows, columns), spacing, pixel_mm, _SIZE_MULTIPLE)


def _perceive(plane: Plane, expert: Expert, network: GroundingNetwork, *, symmetric: bool) -> Perception:
    import torch

    from napari_medreason.models.embedded import inputs
    from napari_medreason.models.embedded.averaging import network_maps

    frame = model_frame(plane, expert)
    image = frame.image_to_model(plane.image, fill_value(plane, expert))
    with torch.inference_mode():
        channels = inputs.scale(torch.from_numpy(image)[None], expert.modality)
        axis = torch.tensor([AXES.index(plane.grid.axis)])
        maps = network_maps(network, channels, axis, expert.pixel_mm, symmetric=symmetric)
        sides = torch.nn.functional.interpolate(
            maps.sides, scale_factor=4.0, mode="bilinear", align_corners=False
        )
    logits = maps.logits[0].numpy()
    return Perception(
        expert,
        frame,
        maps.features,
        logits,
        maps.presence[0].numpy(),
        areas(logits, [name in expert.overlaid for name in expert.structures]),
        sides[0].numpy(),
        fitness(plane),
    )


def areas(logits: NDArray[np.float32], overlaid: Sequence[bool] = ()) -> NDArray[np.int64]:
    """(K,) pixels in which a structure beats the background (0) and all others; logits (K, rows, columns).

    overlaid: of each structure whether it lies over the others; such a one takes no pixel from them.
    """
    counts = _won(logits)
    if any(overlaid):
        below = ~np.asarray(overlaid)
        counts[below] = _won(logits[below])
    return counts


def _won(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    best = np.where(logits.max(axis=0) > 0, logits.argmax(axis=0), len(logits))
    return np.bincount(best.ravel(), minlength=len(logits) + 1)[:-1]


def fill_value(plane: Plane, expert: Expert) -> float:
    """Grey value of what lies outside the plane and of pixels that are not finite: air."""
    if expert.modality == "CT" and plane.calibrated:
        return -1024.0
    finite = plane.image[np.isfinite(plane.image)]
    return float(np.percentile(finite, 0.5)) if finite.size else 0.0
