"""The grounding network: image and structure to mask, presence and side; image and prompts to mask.

Imported only inside functions, since it needs torch. Letters in shapes: B images, K structures,
P prompts, h and w the image size in model pixels (multiples of 32).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PROMPT_CHANNELS = 10


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a GroundingNetwork.

    structures: vocabulary ids of the K structures. image_channels: grey-value channels of the input.
    widths: trunk channels at 1/4, 1/8, 1/16 and 1/32 of the resolution. coarse_features and
    fine_features: pixel features made at half and at full resolution. query_width: length of a
    structure query. prompt_width: channels of the prompt decoder. detail_features: channels that see
    the image at half the resolution and refine the coarse features.
    """

    structures: tuple[str, ...]
    image_channels: int = 1
    widths: tuple[int, int, int, int] = (48, 96, 192, 256)
    coarse_features: int = 24
    fine_features: int = 8
    query_width: int = 192
    query_blocks: int = 2
    prompt_width: int = 48
    detail_features: int = 24


class ImageFeatures(NamedTuple):
    """What one image gives, kept so that further questions and prompts are cheap.

    trunk: (B, widths[0], h/4, w/4). context: (B, widths[2], h/16, w/16).
    coarse: (B, coarse_features, h/2, w/2). fine: (B, fine_features, h, w), or every second pixel.
    places: (B, 2, h/16, w/16), right and down of the body's centre in 100 mm.
    """

    trunk: Tensor
    context: Tensor
    coarse: Tensor
    fine: Tensor
    places: Tensor


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, rows, columns) to the same shape."""
        change: Tensor = self.second(functional.silu(self.first(functional.silu(self.norm(x)))))
        return x + change


class Trunk(nn.Module):
    """A U-Net that starts at a quarter of the resolution (pixel-unshuffle), down to 1/32."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv2d(16 * config.image_channels + 5, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.down = nn.ModuleList(
            nn.Conv2d(narrow, wide, 2, 2) for narrow, wide in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for narrow, wide in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])

    def forward(self, image: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, channels, h, w) and place (B, 5, h/4, w/4) to features at 1/4 and 1/16."""
        unshuffled = functional.pixel_unshuffle(image, 4)
        x = self.stem(torch.cat([unshuffled, place], 1).contiguous(memory_format=torch.channels_last))
        levels = [self.encoder[0](x)]
        for down, block in zip(self.down, list(self.encoder)[1:], strict=True):
            levels.append(block(down(levels[-1])))
        x, context = levels[-1], levels[-1]
        for level in (2, 1, 0):
            raised = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.decoder[level](raised + levels[level])
            context = x if level == 2 else context
        return x, context


class Refinement(nn.Module):
    """Sharpens the coarse features with what the image shows at half the resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        coarse, detail = config.coarse_features, config.detail_features
        self.look = nn.Conv2d(4 * config.image_channels, detail, 3, padding=1)
        self.mix = nn.Conv2d(coarse + detail, coarse + detail, 3, padding=1)
        self.leave = nn.Conv2d(coarse + detail, coarse, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, coarse: Tensor, image: Tensor) -> Tensor:
        """Coarse (B, coarse_features, h/2, w/2) and image (B, channels, h, w) to refined coarse."""
        detail = functional.silu(self.look(functional.pixel_unshuffle(image, 2)))
        mixed = functional.silu(self.mix(torch.cat([coarse, detail.to(coarse.dtype)], 1)))
        change: Tensor = self.leave(mixed)
        return coarse + change


class QueryBlock(nn.Module):
    """Each structure query looks at the image tokens; queries do not see each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 6, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Query (B, K, width), tokens (B, N, width) to (B, K, width)."""
        keys = self.norm_tokens(tokens)
        seen, _ = self.attention(self.norm_query(query), keys, keys, need_weights=False)
        query = query + seen
        change: Tensor = self.feed_forward(query)
        return query + change


class PromptDecoder(nn.Module):
    """Trunk features and drawn prompts to the mask of one object, whatever its name."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, self.features = config.prompt_width, config.coarse_features + config.fine_features
        self.enter = nn.Conv2d(config.widths[0] + PROMPT_CHANNELS, width, 3, padding=1)
        self.near = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.far = nn.Conv2d(width, width, 3, padding=4, dilation=4)
        self.leave = nn.Conv2d(width, 4, 1)
        self.similar = nn.Sequential(
            nn.Linear(config.widths[0] + width, 2 * width), nn.GELU(), nn.Linear(2 * width, self.features + 1)
        )
        self.quality = nn.Linear(2 * width, 1)

    def forward(self, trunk: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Trunk (P, widths[0], h/4, w/4) and prompts (P, PROMPT_CHANNELS, h/4, w/4).

        Returns logits (P, 1, h/2, w/2), weights over the pixel features (P, features + 1) and the
        expected quality as a logit (P,).
        """
        x = functional.silu(self.enter(torch.cat([trunk, prompts.to(trunk.dtype)], 1)))
        x = x + functional.silu(self.near(x))
        x = x + functional.silu(self.far(x))
        inside = prompt_region(prompts).to(x.dtype)
        area = inside.sum((2, 3)).clamp(min=1e-3)
        mean_trunk = (trunk * inside).sum((2, 3)) / area
        mean_x = (x * inside).sum((2, 3)) / area
        weights = self.similar(torch.cat([mean_trunk, mean_x], 1))
        quality = self.quality(torch.cat([mean_x, x.mean((2, 3))], 1))
        return functional.pixel_shuffle(self.leave(x), 2), weights, quality[:, 0]


def prompt_region(prompts: Tensor) -> Tensor:
    """Where the object probably is: points before mask before box; (P, 1, h/4, w/4), sum above 0."""
    box, inside_points, outside_points = prompts[:, 0:1], prompts[:, 1:2], prompts[:, 2:3]
    mask = prompts[:, 3:7].mean(1, keepdim=True)
    return (4 * inside_points + mask + 0.2 * box) * (1 - outside_points).clamp(min=0) + 1e-5


class GroundingNetwork(nn.Module):
    """Masks for named structures and for prompts, from one pass over the image."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, count = config.widths[0], len(config.structures)
        features = config.coarse_features + config.fine_features
        self.trunk = Trunk(config)
        self.coarse = nn.Sequential(
            nn.Conv2d(width, 96, 3, padding=1), nn.SiLU(), nn.Conv2d(96, 4 * config.coarse_features, 1)
        )
        self.refine = Refinement(config)
        self.fine = nn.Conv2d(config.image_channels, config.fine_features, 3, padding=1)
        self.side = nn.Conv2d(width, 2, 1)
        self.query = nn.Parameter(torch.randn(count, config.query_width) * 0.5)
        self.tokens = nn.Linear(config.widths[2], config.query_width)
        self.blocks = nn.ModuleList(QueryBlock(config.query_width) for _ in range(config.query_blocks))
        self.weights = nn.Parameter(torch.randn(count, features) * 0.2)
        self.bias = nn.Parameter(torch.full((count,), -2.0))
        change = nn.Linear(config.query_width, features + 1)
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        self.adapt = nn.Sequential(nn.LayerNorm(config.query_width), change)
        self.presence = nn.Sequential(nn.LayerNorm(config.query_width), nn.Linear(config.query_width, 1))
        self.prompt = PromptDecoder(config)

    def features(self, image: Tensor, place: Tensor, offset: tuple[int, int] | None = None) -> ImageFeatures:
        """Image (B, channels, h, w), place (B, 5, h/4, w/4) from `inputs.place_maps`.

        offset: row and column 0 or 1; then fine features are made on every second pixel only.
        """
        trunk, context = self.trunk(image, place)
        coarse = self.refine(functional.pixel_shuffle(self.coarse(trunk), 2), image)
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        if offset is None:
            fine = functional.conv2d(padded, self.fine.weight, self.fine.bias)
        else:
            shifted = padded[..., offset[0] :, offset[1] :]
            fine = functional.conv2d(shifted, self.fine.weight, self.fine.bias, stride=2)
            fine = fine[..., : image.shape[-2] // 2, : image.shape[-1] // 2]
        places = functional.avg_pool2d(place[:, :2], 4)
        return ImageFeatures(trunk, context, coarse, functional.silu(fine), places)

    def queries(self, features: ImageFeatures) -> Tensor:
        """(B, K, query_width): every structure's query after looking at the image."""
        context = features.context
        tokens = self.tokens(context.flatten(2).transpose(1, 2))
        places = body_places(features.places, tokens.shape[-1]).to(tokens)
        query = self.query.to(tokens.dtype).expand(context.shape[0], -1, -1)
        for block in self.blocks:
            query = block(query, tokens + places)
        return query

    def structures(
        self, features: ImageFeatures, offset: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (B, K, h, w) against a background of 0, and presence logits (B, K)."""
        query = self.queries(features)
        change = self.adapt(query)
        weights = self.weights + change[..., :-1]
        bias = self.bias + change[..., -1]
        return weighted_pixels(features, weights, bias, offset), self.presence(query)[..., 0].float()

    def sides(self, features: ImageFeatures) -> Tensor:
        """Side logits (B, 2, h/4, w/4): the patient's left, the patient's right."""
        sides: Tensor = self.side(features.trunk)
        return sides

    def prompted(
        self, features: ImageFeatures, prompts: Tensor, offset: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (P, 1, h, w) and quality logits (P,); as many images as prompts, or one."""
        trunk = features.trunk.expand(prompts.shape[0], -1, -1, -1)
        logits, weights, quality = self.prompt(trunk, prompts)
        similar = weighted_pixels(features, weights[:, None, :-1], weights[:, None, -1], offset)
        return doubled(logits, offset) + similar, quality.float()


def weighted_pixels(
    features: ImageFeatures, weights: Tensor, bias: Tensor, offset: tuple[int, int] | None
) -> Tensor:
    """Pixel features times weights (B, K, features) plus bias (B, K): (B, K, rows, columns)."""
    split = features.coarse.shape[1]
    weights = weights.to(features.coarse.dtype)
    coarse = torch.einsum("bkc,bchw->bkhw", weights[..., :split], _expanded(features.coarse, weights))
    fine = torch.einsum("bkc,bchw->bkhw", weights[..., split:], _expanded(features.fine, weights))
    return doubled(coarse, offset) + fine + bias[..., None, None].to(coarse.dtype)


def _expanded(features: Tensor, weights: Tensor) -> Tensor:
    return features.expand(weights.shape[0], -1, -1, -1)


def doubled(x: Tensor, offset: tuple[int, int] | None) -> Tensor:
    """Twice the size, bilinear; with an offset only every second row and column of that.

    The two agree: a doubled pixel is three quarters of its parent and a quarter of the parent's
    neighbour on its own side.
    """
    if offset is None:
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    row, column = 2 * offset[0], 2 * offset[1]
    rows = 0.75 * padded[..., 1:-1, :] + 0.25 * padded[..., row : row + x.shape[-2], :]
    return 0.75 * rows[..., 1:-1] + 0.25 * rows[..., column : column + x.shape[-1]]


def body_places(places: Tensor, width: int) -> Tensor:
    """(B, rows * columns, width) sine and cosine codes of places (B, 2, rows, columns) in 100 mm."""
    frequency = 2 ** torch.linspace(0, 4, width // 4, device=places.device) * math.pi
    angle = (places.flatten(2) / 6 + 0.5)[..., None] * frequency
    return torch.cat([angle[:, 1].sin(), angle[:, 1].cos(), angle[:, 0].sin(), angle[:, 0].cos()], -1)
