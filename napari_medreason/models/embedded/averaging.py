"""What a network sees on images, averaged with the mirrored image where the body part is symmetric.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.network import GroundingNetwork, ImageFeatures

SAGITTAL = 2


class Maps(NamedTuple):
    """What is seen on B images.

    features: never averaged. logits: (B, K, h, w) of masks. presence: (B, K) logits.
    sides: (B, 2, h/4, w/4) logits of the patient's left and right.
    """

    features: ImageFeatures
    logits: Tensor
    presence: Tensor
    sides: Tensor


def network_maps(
    network: GroundingNetwork, channels: Tensor, plane: Tensor, pixel_mm: float, *, symmetric: bool
) -> Maps:
    """Maps of images (B, C, h, w) on planes (B,) 0 axial, 1 coronal, 2 sagittal.

    symmetric: left and right of the body part are alike, as in the head; then axial and coronal
    images are also seen mirrored, and both views are averaged.
    """
    maps = _once(network, channels, plane, pixel_mm)
    if not symmetric or bool((plane == SAGITTAL).all()):
        return maps
    mirrored = _once(network, channels.flip(-1), plane, pixel_mm)
    both = (plane != SAGITTAL)[:, None]
    return Maps(
        maps.features,
        torch.where(both[..., None, None], (maps.logits + mirrored.logits.flip(-1)) / 2, maps.logits),
        torch.where(both, (maps.presence + mirrored.presence) / 2, maps.presence),
        torch.where(both[..., None, None], (maps.sides + mirrored.sides.flip(1, 3)) / 2, maps.sides),
    )


def _once(network: GroundingNetwork, channels: Tensor, plane: Tensor, pixel_mm: float) -> Maps:
    features = network.features(channels, inputs.place_maps(channels, plane, pixel_mm))
    logits, presence = network.structures(features)
    return Maps(features, logits, presence, network.sides(features))
