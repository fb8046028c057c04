"""Image encoder of PRS-Med: that of TinySAM, a TinyViT whose last merging keeps the size, and SAM's neck.

Imported only inside functions, since it needs torch and timm.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import load_strictly, read_tensors, renamed

FEATURES = 256
STRIDE = 16
"""Pixels of the picture per feature, in both directions."""
_WIDTH = 320
_LAST_STAGE = 3
_PREFIX = "image_encoder."
_UNUSED = (r"^norm_head\.", r"^head\.", r"attention_bias_idxs$")
"""The classifier of TinyViT, and a table of indices that timm makes anew."""
_TO_TIMM = (
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.0\.downsample\.", "stages.1.downsample."),
    (r"^layers\.1\.downsample\.", "stages.2.downsample."),
    (r"^layers\.2\.downsample\.", "stages.3.downsample."),
    (r"^layers\.", "stages."),
    (r"\.c\.weight$", ".conv.weight"),
    (r"^(patch_embed|stages)\.", r"backbone.\1."),
)
"""From TinySAM's names to timm's, in which a stage begins with the merging that ends the one before."""


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, rows, columns)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor) -> Tensor:
        """Same shape as `values`."""
        moved = nn.functional.layer_norm(
            values.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6
        )
        return moved.movedim(-1, 1)


class TinySamEncoder(nn.Module):
    """Pictures (B, 3, rows, columns) to features (B, 256, rows / 16, columns / 16)."""

    def __init__(self) -> None:
        super().__init__()
        backbone: Any = timm.create_model("tiny_vit_5m_224", num_classes=0, drop_path_rate=0.0)
        backbone.head = nn.Identity()
        backbone.stages[_LAST_STAGE].downsample.conv2.conv.stride = (1, 1)
        self.backbone = backbone
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTH, FEATURES, 1, bias=False),
            ChannelNorm(FEATURES),
            nn.Conv2d(FEATURES, FEATURES, 3, padding=1, bias=False),
            ChannelNorm(FEATURES),
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Features of normalised RGB pictures, whose sizes are multiples of 16."""
        return cast(Tensor, self.neck(self.backbone.forward_features(picture)))


def load_encoder(file: Path) -> TinySamEncoder:
    """The encoder from TinySAM's checkpoint, or from `image_encoder.pth` of a released PRS-Med folder.

    Prompt encoder and mask decoder of SAM, and the second copy in the released folder, are left out.
    WeightsError when a weight of the encoder is missing or has another shape.
    """
    encoder = TinySamEncoder()
    load_strictly(encoder, encoder_tensors(read_tensors(file), file.name), what=file.name)
    return encoder.eval()


def encoder_tensors(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The encoder's tensors under this module's names; WeightsError when there are none."""
    own = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
    if not own:
        raise WeightsError(
            f"{what} holds no image encoder of TinySAM (names that begin with {_PREFIX}); give "
            "tinysam_42.3.pth or image_encoder.pth of a PRS-Med folder"
        )
    return renamed(own, _TO_TIMM, dropped=_UNUSED)
