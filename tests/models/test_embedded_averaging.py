"""Averaging with the mirrored image: symmetric by construction, and only where that is true of the body."""

import pytest
import torch

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.averaging import network_maps
from napari_medreason.models.embedded.network import GroundingNetwork, NetworkConfig


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(4)
    sizes = NetworkConfig(("thalamus", "putamen"))
    made = GroundingNetwork(sizes).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def channels():
    torch.manual_seed(5)
    return inputs.scale_mr(torch.rand(3, 64, 64))


def _maps(network, channels, *, symmetric):
    with torch.inference_mode():
        return network_maps(network, channels, torch.tensor([0, 1, 2]), 1.5, symmetric=symmetric)


def test_a_mirrored_head_gives_mirrored_maps_with_the_sides_swapped(network, channels):
    maps = _maps(network, channels, symmetric=True)
    mirrored = _maps(network, channels.flip(-1), symmetric=True)
    for n in (0, 1):
        torch.testing.assert_close(mirrored.logits[n].flip(-1), maps.logits[n], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(mirrored.presence[n], maps.presence[n], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(mirrored.sides[n].flip(0, 2), maps.sides[n], rtol=1e-3, atol=1e-4)


def test_sagittal_images_and_other_body_parts_are_seen_once(network, channels):
    once, averaged = (_maps(network, channels, symmetric=value) for value in (False, True))
    torch.testing.assert_close(averaged.logits[2], once.logits[2])
    assert not torch.allclose(averaged.logits[0], once.logits[0])
