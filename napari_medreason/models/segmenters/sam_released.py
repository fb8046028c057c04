"""SAM checkpoints as released (SAM, MedSAM, SAM-Med2D), in the classes of transformers.

Imported only inside functions, since it needs torch and transformers. All sizes are read off the tensors,
the number of pixels too: the position table has one entry for every patch of 16 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, load_strictly, renamed
from napari_medreason.models.loading import enough_memory
from napari_medreason.models.segmenters.released import released_tensors

_ENDS = ("proj_in", "layers.0", "proj_out")
_RULES = [
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"(layers\.\d+\.)norm(\d)\.", r"\1layer_norm\2."),
    (r"(vision_encoder\.layers\.\d+\.)Adapter\.", r"\1mlp.adapter."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    *[
        (rf"neck\.{number}\.", f"neck.{name}.")
        for number, name in enumerate(("conv1", "layer_norm1", "conv2", "layer_norm2"))
    ],
    *[
        (rf"mask_downscaling\.{number}\.", f"mask_embed.{name}.")
        for number, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3"))
    ],
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    *[
        (rf"output_upscaling\.{number}\.", f"{name}.")
        for number, name in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2"))
    ],
    *[
        (rf"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.{number}\.", rf"\1.{name}.")
        for number, name in enumerate(_ENDS)
    ],
    (r"norm_final_attn", "layer_norm_final_attn"),
]
_ADAPTER = "image_encoder.blocks.0.Adapter.norm.weight"
_WITH_ADAPTER = [(r"(vision_encoder\.layers\.\d+\.mlp\.)(lin\d)\.", r"\1plain.\2.")]


_OWN_EPSILON = 1e-5
"""Of SAM's mask decoder; transformers takes 1e-6 unless a configuration says otherwise."""


class Adapter(nn.Module):
    """SAM-Med2D's adapter (SAM-Med2D, section 3.2): channel attention, then a convolution down and up again.

    The sum with its input is normalised. Tensors are (pictures, rows, columns, channels).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The adapted features, in the same shape."""
        weighted = features * self.channel(features.mean(dim=(1, 2)))[:, None, None]
        spatial = self.spatial(weighted.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        adapted: Tensor = self.norm(features + spatial)
        return adapted


class PlainAndAdapter(nn.Module):
    """Takes the place of a block's two linear layers and adds the adapter, which reads the same input."""

    def __init__(self, plain: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.plain = plain
        self.adapter = adapter

    def forward(self, features: Tensor) -> Tensor:
        """The sum of both."""
        both: Tensor = self.plain(features) + self.adapter(features)
        return both


def network(file: Path, *, device: torch.device) -> SamModel:
    """The network of a released checkpoint; WeightsError when it does not fit."""
    released = released_tensors(file)
    adapted = _ADAPTER in released
    model: Any = SamModel(configuration(released))
    if adapted:
        hidden = released["image_encoder.blocks.0.Adapter.channel.0.weight"].shape[0]
        for layer in model.vision_encoder.layers:
            layer.mlp = PlainAndAdapter(layer.mlp, Adapter(layer.layer_norm1.weight.shape[0], hidden))
    load_strictly(model, converted(released, adapted=adapted), what=file.name)
    with enough_memory(file.name):
        filled: SamModel = model.to(device).eval()
    return filled


def with_own_norms(model: SamModel) -> SamModel:
    """A model in transformers' layout with the norms of its mask decoder as they were trained."""
    for module in model.mask_decoder.transformer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = _OWN_EPSILON
    return model


def converted(tensors: Mapping[str, Tensor], *, adapted: bool = False) -> Tensors:
    """The tensors of a released checkpoint under the names of transformers' SamModel."""
    rules = [*_RULES, *(_WITH_ADAPTER if adapted else [])]
    new = renamed(tensors, rules, dropped=[r"^pixel_(mean|std)$"])
    place = "prompt_encoder.shared_embedding.positional_embedding"
    if place in new:
        new["shared_image_embedding.positional_embedding"] = new[place]
    return new


def configuration(tensors: Mapping[str, Tensor]) -> SamConfig:
    """Of the model that a released checkpoint holds; WeightsError when a tensor that tells a size is missing.

    tensors: under the released names.
    """
    try:
        return _configuration(tensors)
    except KeyError as error:
        raise WeightsError(
            f"the checkpoint lacks the weight {error.args[0]}; give a SAM checkpoint as it was released"
        ) from error


def _configuration(tensors: Mapping[str, Tensor]) -> SamConfig:
    decoder = "mask_decoder"
    width = tensors["image_encoder.neck.0.weight"].shape[0]
    patch = tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
    size = tensors["image_encoder.pos_embed"].shape[1] * patch
    parts: dict[str, Any] = {
        "vision_config": _vision(tensors, size=size, patch=patch, width=width),
        "prompt_encoder_config": SamPromptEncoderConfig(
            hidden_size=width,
            image_size=size,
            patch_size=patch,
            mask_input_channels=tensors["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        "mask_decoder_config": SamMaskDecoderConfig(
            hidden_size=width,
            mlp_dim=tensors[f"{decoder}.transformer.layers.0.mlp.lin1.weight"].shape[0],
            iou_head_hidden_dim=tensors[f"{decoder}.iou_prediction_head.layers.0.weight"].shape[0],
            num_multimask_outputs=tensors[f"{decoder}.mask_tokens.weight"].shape[0] - 1,
            layer_norm_eps=_OWN_EPSILON,
        ),
    }
    return SamConfig(**parts)


def _vision(tensors: Mapping[str, Tensor], *, size: int, patch: int, width: int) -> SamVisionConfig:
    """The image encoder; a block looks everywhere where its position table spans the whole picture."""
    block = "image_encoder.blocks"
    depth = len({name.split(".")[2] for name in tensors if name.startswith(f"{block}.")})
    spans = [(tensors[f"{block}.{number}.attn.rel_pos_h"].shape[0] + 1) // 2 for number in range(depth)]
    channels = tensors["image_encoder.pos_embed"].shape[-1]
    windows = [span for span in spans if span != size // patch]
    return SamVisionConfig(
        hidden_size=channels,
        output_channels=width,
        num_hidden_layers=depth,
        num_attention_heads=channels // tensors[f"{block}.0.attn.rel_pos_h"].shape[1],
        image_size=size,
        patch_size=patch,
        window_size=windows[0] if windows else 0,
        global_attn_indexes=[number for number, span in enumerate(spans) if span == size // patch],
        num_pos_feats=width // 2,
        mlp_dim=tensors[f"{block}.0.mlp.lin1.weight"].shape[0],
    )
