"""SAM 2 checkpoints as released (SAM 2, SAM 2.1, MedSAM2), in the classes of transformers.

Imported only inside functions, since it needs torch and transformers. Sizes are read off the tensors; what
tensors don't tell (attention windows, heads) comes from the four published encoders, told apart by the number
of their blocks. The number of pixels is the caller's choice: no tensor depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VideoConfig, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, load_strictly, renamed
from napari_medreason.models.loading import enough_memory
from napari_medreason.models.segmenters.released import released_tensors
from napari_medreason.models.segmenters.sam2_tracking import Tracker

_TRUNK = "image_encoder.trunk"
_ENDS = ("proj_in", "layers.0", "proj_out")


@dataclass(frozen=True)
class _Encoder:
    """What the tensors of a published image encoder don't tell."""

    first_heads: int
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]


_ENCODERS: dict[tuple[int, ...], _Encoder] = {
    (1, 2, 7, 2): _Encoder(1, (8, 4, 14, 7), (5, 7, 9)),
    (1, 2, 11, 2): _Encoder(1, (8, 4, 14, 7), (7, 10, 13)),
    (2, 3, 16, 3): _Encoder(2, (8, 4, 14, 7), (12, 16, 20)),
    (2, 6, 36, 4): _Encoder(2, (8, 4, 16, 8), (23, 33, 43)),
}
"""Tiny, small, base-plus and large, by their blocks per stage."""


def _unnumbered(pattern: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Rules that make `pattern`.layers.0, .1, … into named layers."""
    return [(rf"({pattern})\.layers\.{number}\.", rf"\g<1>.{name}.") for number, name in enumerate(names)]


_DOWNSAMPLER = "memory_encoder.mask_downsampler"
_RULES = [
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.", "vision_encoder.neck."),
    (r"(neck\.convs\.\d+)\.conv\.", r"\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    *_unnumbered(r"backbone\.blocks\.\d+\.mlp", ("proj_in", "proj_out")),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    *[
        (rf"mask_downscaling\.{number}\.", f"mask_embed.{name}.")
        for number, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3"))
    ],
    (r"^sam_mask_decoder\.", "mask_decoder."),
    *_unnumbered(r"mask_decoder\.transformer\.layers\.\d+\.mlp", ("proj_in", "proj_out")),
    *_unnumbered("iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\\.\\d+", _ENDS),
    *[
        (rf"output_upscaling\.{number}\.", f"{name}.")
        for number, name in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2"))
    ],
    (r"^no_mem_embed", "no_memory_embedding"),
    (r"^no_mem_pos_enc", "no_memory_positional_encoding"),
    (r"^no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    (r"^no_obj_ptr", "no_object_pointer"),
    (r"^maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"^obj_ptr_proj", "object_pointer_proj"),
    *_unnumbered("object_pointer_proj", _ENDS),
    (r"memory_encoder\.pix_feat_proj", "memory_encoder.feature_projection"),
    (r"memory_encoder\.out_proj", "memory_encoder.projection"),
    (r"memory_encoder\.fuser", "memory_encoder.memory_fuser"),
    *[
        (rf"{_DOWNSAMPLER}\.encoder\.{3 * layer + part}\.", f"{_DOWNSAMPLER}.layers.{layer}.{name}.")
        for layer in range(4)
        for part, name in ((0, "conv"), (1, "layer_norm"))
    ],
    (rf"{_DOWNSAMPLER}\.encoder\.12\.", f"{_DOWNSAMPLER}.final_conv."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\w*)\.", r".layer_norm\1."),
]
_POINTS = "prompt_encoder.point_embeddings"
_TRACKING = (
    "memory_",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "object_pointer_proj",
    "occlusion_spatial_embedding_parameter",
    "temporal_positional_encoding_projection_layer",
    "mask_downsample.",
)
"""Beginnings of names that only a model for whole volumes has."""


def converted(tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors of a released checkpoint under the names of transformers' Sam2VideoModel.

    WeightsError when the point prompts, which become one table there, are not all there.
    """
    new = renamed(tensors, _RULES)
    names = [f"{_POINTS}.{number}.weight" for number in range(4)]
    place = "prompt_encoder.shared_embedding.positional_embedding"
    lacking = [name for name in (*names, place) if name not in new]
    if lacking:
        raise WeightsError(f"the checkpoint lacks {lacking[0]}; give a SAM 2 checkpoint as it was released")
    new["prompt_encoder.point_embed.weight"] = torch.cat([new.pop(name) for name in names])
    new["shared_image_embedding.positional_embedding"] = new[place]
    return new


def image_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """Those of `converted` that Sam2Model takes, which knows single pictures only."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_TRACKING)}


def image_model(file: Path, size: int, *, device: torch.device) -> Sam2Model:
    """The network for single pictures of a released checkpoint; WeightsError when it does not fit."""
    released = released_tensors(file)
    config = configuration(released, size)
    parts = {name: getattr(config, f"{name}_config").to_dict() for name in ("prompt_encoder", "mask_decoder")}
    network = Sam2Model(
        Sam2Config(
            vision_config=config.vision_config,
            prompt_encoder_config=parts["prompt_encoder"],
            mask_decoder_config=parts["mask_decoder"],
        )
    )
    model: Sam2Model = _filled(network, image_tensors(converted(released)), file, device)
    return model


def tracking_model(file: Path, size: int, *, device: torch.device) -> Tracker:
    """The network for volumes of a released checkpoint; WeightsError when it does not fit."""
    released = released_tensors(file)
    tracker: Tracker = _filled(Tracker(configuration(released, size)), converted(released), file, device)
    return tracker


def _filled(model: Any, tensors: Tensors, file: Path, device: torch.device) -> Any:
    load_strictly(model, tensors, what=file.name)
    with enough_memory(file.name):
        return model.to(device).eval()


def configuration(tensors: Mapping[str, Tensor], size: int) -> Sam2VideoConfig:
    """Of the model that a released checkpoint holds, for squares of `size` pixels (a multiple of 32).

    tensors: under the released names. WeightsError when it is none of the four published encoders, or a
    tensor that tells a size is missing.
    """
    try:
        return _configuration(tensors, size)
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"the checkpoint lacks the weight {error.args[0]}; give a SAM 2 checkpoint as it was released"
        ) from error


def _configuration(tensors: Mapping[str, Tensor], size: int) -> Sam2VideoConfig:
    decoder = "sam_mask_decoder"
    width = tensors["no_mem_embed"].shape[-1]
    fuser = "memory_encoder.fuser.layers"
    return Sam2VideoConfig(
        vision_config=_vision(tensors, size),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(
            image_size=size,
            hidden_size=width,
            mask_input_channels=tensors["sam_prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=width,
            mlp_dim=tensors[f"{decoder}.transformer.layers.0.mlp.layers.0.weight"].shape[0],
            num_hidden_layers=_count(tensors, f"{decoder}.transformer.layers"),
            iou_head_hidden_dim=tensors[f"{decoder}.iou_prediction_head.layers.0.weight"].shape[0],
            num_multimask_outputs=tensors[f"{decoder}.mask_tokens.weight"].shape[0] - 1,
        ),
        image_size=size,
        num_maskmem=tensors["maskmem_tpos_enc"].shape[0],
        enable_occlusion_spatial_embedding="no_obj_embed_spatial" in tensors,
        enable_temporal_pos_encoding_for_object_pointers="obj_ptr_tpos_proj.weight" in tensors,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=_count(tensors, "memory_attention.layers"),
        memory_attention_feed_forward_hidden_size=tensors["memory_attention.layers.0.linear1.weight"].shape[
            0
        ],
        memory_attention_rope_feat_sizes=[size // 16, size // 16],
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=tensors["memory_encoder.out_proj.weight"].shape[0],
        mask_downsampler_embed_dim=tensors["memory_encoder.mask_downsampler.encoder.12.weight"].shape[0],
        memory_fuser_num_layers=_count(tensors, fuser),
        memory_fuser_embed_dim=tensors[f"{fuser}.0.pwconv1.weight"].shape[1],
        memory_fuser_intermediate_dim=tensors[f"{fuser}.0.pwconv1.weight"].shape[0],
    )


def _vision(tensors: Mapping[str, Tensor], size: int) -> Sam2VisionConfig:
    channels = [
        tensors[f"image_encoder.neck.convs.{level}.conv.weight"].shape[1]
        for level in range(_count(tensors, "image_encoder.neck.convs"))
    ]
    blocks = _blocks_per_stage(tensors)
    encoder = _ENCODERS.get(blocks)
    if encoder is None:
        raise WeightsError(
            f"the image encoder has {blocks} blocks, which is none of SAM 2's tiny, small, base-plus and "
            "large; give one of these, such as MedSAM2 or SAM 2.1"
        )
    backbone = Sam2HieraDetConfig(
        image_size=[size, size],
        hidden_size=channels[-1],
        num_attention_heads=encoder.first_heads,
        blocks_per_stage=list(blocks),
        embed_dim_per_stage=channels[::-1],
        num_attention_heads_per_stage=[encoder.first_heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(encoder.windows),
        global_attention_blocks=list(encoder.global_blocks),
        window_positional_embedding_background_size=list(tensors[f"{_TRUNK}.pos_embed"].shape[-2:]),
    )
    return Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=channels,
        backbone_feature_sizes=[[size // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=tensors["image_encoder.neck.convs.0.conv.weight"].shape[0],
    )


def _blocks_per_stage(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """A stage begins at a block that changes the number of channels, so it has a projection."""
    count = _count(tensors, f"{_TRUNK}.blocks")
    starts = [number for number in range(count) if f"{_TRUNK}.blocks.{number}.proj.weight" in tensors]
    borders = [0, *starts, count]
    return tuple(end - start for start, end in pairwise(borders))


def _count(tensors: Mapping[str, Any], beginning: str) -> int:
    """How many layers `beginning`.0, .1, … there are."""
    numbers = {
        name[len(beginning) + 1 :].split(".")[0] for name in tensors if name.startswith(f"{beginning}.")
    }
    return len(numbers)
