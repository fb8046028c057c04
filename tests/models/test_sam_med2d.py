"""SAM-Med2D: SAM's network with adapters, against SAM's own blocks and the adapter's formula written out."""

import importlib.util

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import WeightsError
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters.released import model_type_of
from napari_medreason.models.segmenters.sam import SamSegmenter

from .tiny_sam import blobs, tiny_sam

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None,
    reason="the package segment-anything is not installed",
)
SIZE, CHANNELS = 256, 32


def adapter_weights(generator):
    """Names and shapes of one adapter in the released checkpoint."""
    hidden = CHANNELS // 4
    shapes = {
        "norm.weight": (CHANNELS,),
        "norm.bias": (CHANNELS,),
        "channel.0.weight": (hidden, CHANNELS),
        "channel.2.weight": (CHANNELS, hidden),
        "spatial.0.weight": (CHANNELS, CHANNELS, 3, 3),
        "spatial.2.weight": (CHANNELS, CHANNELS, 4, 4),
    }
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def adapted(features, weights):
    """(1, rows, columns, channels) through one adapter, by its formula."""
    mean = features.mean(dim=(1, 2))[0]
    gate = torch.sigmoid(weights["channel.2.weight"] @ torch.relu(weights["channel.0.weight"] @ mean))
    gated = (features * gate).permute(0, 3, 1, 2)
    smaller = torch.relu(functional.conv2d(gated, weights["spatial.0.weight"], stride=2, padding=1))
    larger = torch.relu(
        functional.conv_transpose2d(smaller, weights["spatial.2.weight"], stride=2, padding=1)
    )
    both = features + larger.permute(0, 2, 3, 1)
    middle = both.mean(dim=-1, keepdim=True)
    spread = ((both - middle) ** 2).mean(dim=-1, keepdim=True)
    return (both - middle) / torch.sqrt(spread + 1e-5) * weights["norm.weight"] + weights["norm.bias"]


class WithAdapter(torch.nn.Module):
    def __init__(self, plain, weights):
        super().__init__()
        self.plain = plain
        self.weights = weights

    def forward(self, features):
        return self.plain(features) + adapted(features, self.weights)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A network of the `segment-anything` package with adapters, and its checkpoint as it is released."""
    network = tiny_sam(SIZE, channels=CHANNELS)
    weights = {f"{name}": tensor for name, tensor in network.state_dict().items()}
    generator = torch.Generator().manual_seed(5)
    for number, block in enumerate(network.image_encoder.blocks):
        adapter = adapter_weights(generator)
        weights |= {f"image_encoder.blocks.{number}.Adapter.{name}": one for name, one in adapter.items()}
        block.mlp = WithAdapter(block.mlp, adapter)
    file = tmp_path_factory.mktemp("released") / "sam-med2d_b.pth"
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    torch.save({"model": weights, "optimizer": optimizer}, file)
    return network, file


def plane_of(picture):
    return cut(Volume(picture[None], np.eye(4), modality="CT"), "axial", 0, Window(0, 100))


@pytest.mark.parametrize("kind", ["box", "points", "both"])
def test_masks_are_those_of_sam_with_the_formula_of_the_adapter(released, kind):
    from segment_anything import SamPredictor

    network, file = released
    plane = plane_of(blobs((SIZE, SIZE)))
    ours, theirs = {}, {}
    if kind != "points":
        ours["box"], theirs["box"] = (30.0, 40.0, 170.0, 200.0), np.array([30.0, 40.0, 169.0, 199.0])
    if kind != "box":
        ours["points"] = [(100.0, 120.0)]
        theirs |= {"point_coords": np.array([[100.0, 120.0]]), "point_labels": np.array([1])}
    segmenter = models.create_segmenter("sam-med2d", folder=file, device="cpu")
    masks = segmenter.segment(segmenter.embed(plane), **ours)
    predictor = SamPredictor(network)
    predictor.set_image(letterboxed_picture(plane, SIZE)[0])
    logits, scores, _ = predictor.predict(multimask_output=True, return_logits=True, **theirs)
    assert np.abs(logits).mean() > 0.5
    np.testing.assert_allclose(masks.logits, logits[np.argsort(-scores, kind="stable")], atol=1e-4)


def test_the_adapters_matter(released, tmp_path):
    network, file = released
    plain = {name: tensor for name, tensor in network.state_dict().items() if ".weights" not in name}
    plain = {name.replace(".mlp.plain.", ".mlp."): tensor for name, tensor in plain.items()}
    torch.save(plain, tmp_path / "sam_vit_b.pth")
    plane = plane_of(blobs((SIZE, SIZE)))
    with_adapters, without = (
        one.segment(one.embed(plane), box=(30, 40, 170, 200)).logits
        for one in (SamSegmenter(file, device="cpu"), SamSegmenter(tmp_path / "sam_vit_b.pth", device="cpu"))
    )
    assert np.abs(with_adapters - without).mean() > 0.1


def test_it_is_told_from_sam_by_its_adapters(released):
    assert model_type_of(released[1]) == "sam_med2d"
    assert model_type_of(released[1].parent) == "sam_med2d"


def test_a_missing_adapter_weight_is_named(released, tmp_path):
    from napari_medreason.models.checkpoints import read_tensors

    weights = read_tensors(released[1], section="model")
    del weights["image_encoder.blocks.2.Adapter.spatial.2.weight"]
    torch.save({"model": weights}, tmp_path / "sam-med2d_b.pth")
    with pytest.raises(
        WeightsError, match=r"lacks 1 weight \(.*layers\.2\.mlp\.adapter\.spatial\.2\.weight\)"
    ):
        SamSegmenter(tmp_path / "sam-med2d_b.pth", device="cpu")
