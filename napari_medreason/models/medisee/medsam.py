"""The SAM ViT-B inside MediSee, through transformers, with a text vector as a further prompt.

Pictures are resized so that the longer side has 1024 pixels, normalised with SAM's own mean and deviation,
and padded with zeros at the bottom and right (not MedSAM's square min-max picture). The functions are
differentiable but for the image encoder, which stays frozen in training. Needs torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, load_strictly, renamed

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SHARED = "shared_image_embedding.positional_embedding"
_MLPS = r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)"
_RULES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^((?:vision_encoder|mask_decoder\.transformer)\.layers\.\d+\.)norm(\d)", r"\1layer_norm\2"),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"norm_final_attn", "layer_norm_final_attn"),
    (rf"{_MLPS}\.layers\.0\.", r"\1.proj_in."),
    (rf"{_MLPS}\.layers\.1\.", r"\1.layers.0."),
    (rf"{_MLPS}\.layers\.2\.", r"\1.proj_out."),
)
"""From SAM's own names to those of transformers."""


@dataclass(frozen=True, eq=False)
class SamPicture:
    """A picture's image embedding, and its (rows, columns) before and after resizing."""

    embedding: Tensor
    shape: tuple[int, int]
    resized: tuple[int, int]


def load_sam(tensors: Tensors, *, what: str) -> Any:
    """A SamModel in 32-bit from tensors by SAM's own names; WeightsError names what does not fit."""
    if "image_encoder.pos_embed" not in tensors:
        raise WeightsError(f"{what} holds no SAM image encoder; give the checkpoint as it was released")
    model = SamModel(sam_config(tensors))
    load_strictly(model, {name: part.float() for name, part in named_tensors(tensors).items()}, what=what)
    return model.eval()  # type: ignore[no-untyped-call]


def named_tensors(tensors: Tensors) -> Tensors:
    """The tensors by transformers' names; the positional embedding has two, which are tied there."""
    named = renamed(tensors, _RULES, dropped=(r"^pixel_(mean|std)$",))
    shared = named.get("prompt_encoder.shared_embedding.positional_embedding")
    return named if shared is None else {**named, _SHARED: shared}


def sam_config(tensors: Tensors) -> SamConfig:
    """Sizes of a SAM, read off its tensors; heads of the mask decoder are SAM's eight."""
    positions, patch = tensors["image_encoder.pos_embed"], tensors["image_encoder.patch_embed.proj.weight"]
    spans = _spans(tensors)
    side, width = positions.shape[1], positions.shape[3]
    head = tensors["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    prompt = tensors["prompt_encoder.no_mask_embed.weight"].shape[1]
    size = side * patch.shape[-1]
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=tensors["image_encoder.neck.0.weight"].shape[0],
        num_hidden_layers=len(spans),
        num_attention_heads=width // head,
        image_size=size,
        patch_size=patch.shape[-1],
        mlp_dim=tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
        global_attn_indexes=[number for number, span in enumerate(spans) if span == side],
        window_size=min(spans),
        num_pos_feats=prompt // 2,
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=prompt,
        mlp_dim=tensors["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    )
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=prompt, image_size=size, patch_size=patch.shape[-1]
        ),
        mask_decoder_config=decoder,
    )


def resized_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """(rows, columns) of a picture whose longer side is resized to `size` pixels, as SAM rounds."""
    scale = size / max(shape)
    return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def embed_picture(sam: Any, picture: NDArray[np.uint8]) -> SamPicture:
    """The image embedding of a (rows, columns, 3) uint8 RGB picture."""
    size = int(sam.config.vision_config.image_size)
    shape = picture.shape[0], picture.shape[1]
    resized = resized_shape(shape, size)
    small = Image.fromarray(picture).resize(resized[::-1], Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float32)
    normalised = (values - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    pixels = np.zeros((3, size, size), np.float32)
    pixels[:, : resized[0], : resized[1]] = normalised.transpose(2, 0, 1)
    return SamPicture(sam.get_image_embeddings(torch.from_numpy(pixels)[None].to(sam.device)), shape, resized)


def decode(sam: Any, image: SamPicture, prompts: Tensor, text: Tensor) -> Tensor:
    """(n, 256, 256) mask logits of n queries about one picture.

    prompts: (n, tokens, channels) of `box_prompts` or `point_prompts`. text: (n, channels), which becomes the
    last prompt token. One mask for each, SAM's first mask token.
    """
    sparse = torch.cat([prompts, text[:, None]], dim=1)
    empty = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    masks, _ = sam.mask_decoder(
        image_embeddings=image.embedding,
        image_positional_embeddings=sam.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse[None],
        dense_prompt_embeddings=empty.expand_as(image.embedding),
        multimask_output=False,
    )
    return masks[0, :, 0]  # type: ignore[no-any-return]


def box_prompts(sam: Any, boxes: Tensor) -> Tensor:
    """(n, 2, channels) prompt tokens of (n, 4) corners in pixels of the resized picture."""
    return sam.prompt_encoder(None, None, boxes[None], None)[0][0]  # type: ignore[no-any-return]


def point_prompts(sam: Any, points: Tensor, boxes: Tensor | None) -> Tensor:
    """(n, tokens, channels) prompt tokens of (n, m, 2) points inside the object, with boxes or without."""
    labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
    box = None if boxes is None else boxes[None]
    return sam.prompt_encoder(points[None], labels[None], box, None)[0][0]  # type: ignore[no-any-return]


def masks_in_picture(logits: Tensor, image: SamPicture, size: int) -> Tensor:
    """(n, rows, columns) logits in the picture's pixels: up to `size`, padding cut off, back to its shape."""
    large = functional.interpolate(logits[:, None], (size, size), mode="bilinear", align_corners=False)
    cut = large[..., : image.resized[0], : image.resized[1]]
    return functional.interpolate(cut, image.shape, mode="bilinear", align_corners=False)[:, 0]


def _spans(tensors: Tensors) -> list[int]:
    """How many patches each block's attention spans along a side: a window, or all."""
    spans: list[int] = []
    while (name := f"image_encoder.blocks.{len(spans)}.attn.rel_pos_h") in tensors:
        spans.append((tensors[name].shape[0] + 1) // 2)
    return spans
