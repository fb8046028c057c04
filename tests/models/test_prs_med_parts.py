"""Image encoder and mask decoders of PRS-Med against independent computations and the released results."""

import json
from math import prod

import pytest
import torch
from torch.nn import functional

from napari_medreason.errors import WeightsError
from napari_medreason.models.prs_med.decoder import MaskDecoder, class_head, load_decoder, version_of
from napari_medreason.models.prs_med.encoder import TinySamEncoder, load_encoder

from .tiny_vit_reference import random_reference


@pytest.fixture(scope="module")
def reference():
    return random_reference()


def released(reference):
    """Names as TinySAM's checkpoint has them, with something of its other parts."""
    tensors = {f"image_encoder.{name}": value for name, value in reference.state_dict().items()}
    return {**tensors, "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256)}


@torch.no_grad()
def test_encoder_equals_tinysam(reference, tmp_path):
    torch.save(released(reference), tmp_path / "tinysam_42.3.pth")
    picture = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(1))
    expected = reference(picture)
    found = load_encoder(tmp_path / "tinysam_42.3.pth")(picture)
    assert found.shape == (2, 256, 8, 6)
    assert torch.allclose(found, expected, atol=1e-4)


@torch.no_grad()
def test_the_second_copy_in_a_released_folder_is_left_out(reference, tmp_path):
    own = released(reference)
    twice = {**own, **{f"sam.{name}": torch.zeros_like(value) for name, value in own.items()}}
    torch.save(twice, tmp_path / "image_encoder.pth")
    picture = torch.zeros(1, 3, 64, 64)
    assert torch.allclose(
        load_encoder(tmp_path / "image_encoder.pth")(picture), reference(picture), atol=1e-4
    )


def test_parameters_of_the_encoder_are_those_of_tinysam(reference):
    assert sum(value.numel() for value in reference.parameters()) == 6_065_532
    assert sum(value.numel() for value in TinySamEncoder().parameters()) == 6_065_532 - 321_640


def test_encoder_names_what_is_missing(reference, tmp_path):
    tensors = released(reference)
    del tensors["image_encoder.layers.2.blocks.5.attn.proj.bias"]
    torch.save(tensors, tmp_path / "image_encoder.pth")
    with pytest.raises(
        WeightsError, match=r"lacks 1 weight \(backbone\.stages\.2\.blocks\.5\.attn\.proj\.bias\)"
    ):
        load_encoder(tmp_path / "image_encoder.pth")
    torch.save({"mask_decoder.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth holds no image encoder of TinySAM"):
        load_encoder(tmp_path / "other.pth")


def formula_filled(decoder):
    """The parameters of the known answers, in the order in which the layers are made."""
    for number, (name, value) in enumerate(decoder.named_parameters()):
        wave = (0.37 * torch.arange(value.numel(), dtype=torch.float64) + number).sin().reshape(value.shape)
        if value.ndim > 1:
            wave = wave / value[0].numel() ** 0.5
        else:
            wave = 1 + 0.1 * wave if name.endswith("weight") else 0.1 * wave
        value.data = wave.float()
    return decoder.eval()


def formula_inputs(prompt_length=7):
    def along(shape):
        return torch.arange(prod(shape), dtype=torch.float64).reshape(shape)

    image, words = (2, 256, 8, 8), (2, prompt_length, 4096)
    return (0.011 * along(image)).sin().float(), (0.017 * along(words)).cos().float()


@torch.no_grad()
def test_released_decoders_are_reproduced(real_data):
    """In 64 bits; these formula-filled weights turn the rounding of 32 bits into errors of about 0.003."""
    file = real_data.parent / "reference" / "cases" / "prsmed_model_and_eval.json"
    if not file.is_file():
        pytest.skip("known answers of the released code are not beside the real test images")
    for name, case in json.loads(file.read_text(encoding="utf-8"))["decoder"].items():
        decoder = formula_filled(MaskDecoder(name.removeprefix("mask_decoder_")))
        listed = [[name, list(value.shape)] for name, value in decoder.named_parameters()]
        assert listed == case["named_parameters"]
        logits = decoder.double()(*formula_inputs())
        assert list(logits.shape) == case["out_shape"]
        assert logits.mean((1, 2, 3)).tolist() == pytest.approx(case["out_mean"], abs=1e-4)
        assert logits.std((1, 2, 3)).tolist() == pytest.approx(case["out_std"], abs=1e-4)
        for sample in case["samples"]:
            assert logits[tuple(sample["idx"])].item() == pytest.approx(sample["value"], abs=2e-3)


def hand_computed(weights, image, words, version):
    """The decoder as plain arithmetic on its weights."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(name, query, key, heads):
        parts = zip(
            weights[f"{name}.in_proj_weight"].chunk(3), weights[f"{name}.in_proj_bias"].chunk(3), strict=True
        )
        q, k, v = (
            (x @ weight.T + bias).unflatten(-1, (heads, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((query, key, key), parts, strict=True)
        )
        mixed = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
        return linear(f"{name}.out_proj", mixed.transpose(1, 2).flatten(2))

    def instance_norm(name, x):
        centred = x - x.mean((2, 3), keepdim=True)
        scaled = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    def convolution(name, x, padding):
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    tokens = image.flatten(2).transpose(1, 2)
    prompt = norm("prompt_projection.1", linear("prompt_projection.0", words)).relu()
    prompt = norm("prompt_projection.4", linear("prompt_projection.3", prompt)).relu()
    if version == "v5":
        tokens, prompt = norm("image_norm", tokens), norm("prompt_norm", prompt)
    seen = attention("attn", tokens, prompt, 8) + (tokens if version == "v5" else 0)
    seen = norm("norm1", seen)
    seen = norm("encoder_layer.norm1", seen + attention("encoder_layer.self_attn", seen, seen, 16))
    inner = linear("encoder_layer.linear2", linear("encoder_layer.linear1", seen).relu())
    seen = norm("encoder_layer.norm2", seen + inner)
    seen = norm("ffn.norm", linear("ffn.fc2", linear("ffn.fc1", seen).relu() + seen).relu())
    x = seen.transpose(1, 2).reshape(image.shape) + image
    for block in ("mask_generation.0", "mask_generation.1", "mask_generation.2"):
        x = instance_norm(f"{block}.bn1", convolution(f"{block}.conv1", x, 1)).relu() + x
        x = instance_norm(f"{block}.bn2", convolution(f"{block}.conv2", x, 1))
        x = convolution(f"{block}.conv3", x, 0)
    return convolution("out_dec", x, 0)


@pytest.mark.parametrize(("version", "count"), [("v5", 5_366_465), ("v6", 5_365_441)])
@torch.no_grad()
def test_decoders_equal_plain_arithmetic(version, count):
    torch.manual_seed(0)
    decoder = formula_filled(MaskDecoder(version)).double()
    assert sum(value.numel() for value in decoder.parameters()) == count
    image, words = torch.randn(2, 256, 4, 6).double(), torch.randn(2, 5, 4096).double()
    logits = decoder(image, words)
    coarse = hand_computed(decoder.state_dict(), image, words, version)
    assert logits.shape == (2, 1, 64, 96)
    middle = functional.interpolate(coarse, size=(64, 96), mode="bilinear", align_corners=True)
    assert torch.allclose(logits, middle, atol=1e-8)


@pytest.mark.parametrize("version", ["v5", "v6", "paper"])
@torch.no_grad()
def test_padding_does_not_change_the_mask(version):
    torch.manual_seed(0)
    decoder = MaskDecoder(version, hidden_size=32).eval()
    image, words = torch.randn(1, 256, 4, 4), torch.randn(1, 6, 32)
    longer = torch.cat([words, torch.zeros(1, 5, 32)], 1)
    padding = torch.arange(11)[None] >= 6
    plain = decoder(image, words)
    assert torch.allclose(decoder(image, longer, padding), plain, atol=1e-6)
    assert not torch.allclose(decoder(image, longer), plain, atol=1e-5)


@pytest.mark.parametrize("version", ["v5", "v6", "paper"])
def test_saved_decoders_come_back_and_every_weight_learns(version, tmp_path):
    torch.manual_seed(0)
    decoder = MaskDecoder(version, hidden_size=32)
    torch.save(decoder.state_dict(), tmp_path / "mask_decoder.pth")
    again = load_decoder(tmp_path / "mask_decoder.pth")
    assert again.version == version_of(decoder.state_dict()) == version
    image, words = torch.randn(2, 256, 4, 4), torch.randn(2, 3, 32, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(again(image, words), decoder.eval()(image, words))
    decoder.train()(image, words).square().mean().backward()
    still = [name for name, value in decoder.named_parameters() if value.requires_grad and value.grad is None]
    assert still == []
    assert words.grad is not None
    assert words.grad.abs().sum() > 0


def test_paper_decoder_doubles_the_size_four_times():
    decoder = MaskDecoder("paper", hidden_size=16)
    steps = [layer for layer in decoder.upsampling if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert [step.out_channels for step in steps] == [128, 64, 32, 16]
    assert decoder(torch.zeros(1, 256, 2, 3), torch.zeros(1, 4, 16)).shape == (1, 1, 32, 48)


def test_decoder_of_another_system_is_refused(tmp_path):
    torch.save({"conv_in.weight": torch.zeros(2, 2)}, tmp_path / "mask_decoder.pth")
    with pytest.raises(WeightsError, match="holds no mask decoder of PRS-Med"):
        load_decoder(tmp_path / "mask_decoder.pth")
    tensors = MaskDecoder("v5", hidden_size=16).state_dict()
    torch.save({**tensors, "extra.weight": torch.zeros(1)}, tmp_path / "mask_decoder.pth")
    with pytest.raises(WeightsError, match=r"unexpected weight \(extra\.weight\)|unexpected 1 weight"):
        load_decoder(tmp_path / "mask_decoder.pth")


def test_class_head_is_the_released_one():
    head = class_head()
    assert sum(value.numel() for value in head.parameters()) == 1_542
    assert list(head.state_dict()) == ["2.weight", "2.bias"]
    assert head(torch.zeros(3, 256, 4, 4)).shape == (3, 6)
