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
from transformers import SamModel

from napari_medreason.models.checkpoints import Tensors, load_strictly
from napari_medreason.models.segmenters.sam import PIXEL_MEAN, PIXEL_STD
from napari_medreason.models.segmenters.sam_released import configuration, converted


@dataclass(frozen=True, eq=False)
class SamPicture:
    """A picture's image embedding, and its (rows, columns) before and after resizing."""

    embedding: Tensor
    shape: tuple[int, int]
    resized: tuple[int, int]


def load_sam(tensors: Tensors, *, what: str) -> Any:
    """A SamModel in 32-bit from tensors by SAM's own names; WeightsError names what does not fit."""
    model = SamModel(configuration(tensors))
    load_strictly(model, {name: part.float() for name, part in converted(tensors).items()}, what=what)
    return model.eval()  # type: ignore[no-untyped-call]


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
    normalised = (values - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
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
