"""Mask decoders of PRS-Med: image features look at the words' hidden states and become one mask.

Imported only inside functions, since it needs torch. The released code has two that read the same words
differently, told apart by their weights (`version_of`); "paper" is the head that the paper describes, with
transposed convolutions, for which no weights were released. Names of the layers are the released ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

from torch import Tensor, nn

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import load_strictly, read_tensors

Version = Literal["v5", "v6", "paper"]
WIDTH = 256
UPSAMPLING = 16
"""Mask pixels per image feature, in both directions."""
_PROMPT_WIDTH = 512
_FIRST_WEIGHT = "prompt_projection.0.weight"
_PAPER_CHANNELS = (256, 128, 64, 32, 16)
PICTURE_KINDS = (
    "brain MR",
    "breast ultrasound",
    "lung CT",
    "lung X-ray",
    "dermoscopy",
    "endoscopy of polyps",
)
"""Order of the classes of the side head, which is used in training only."""


class MaskDecoder(nn.Module):
    """Image features and hidden states of words to the logits of one mask.

    version: "v5" normalises both inputs and adds the image features back after the attention; "v6" does
    neither; "paper" is "v5" with transposed convolutions. hidden_size: of the language model.
    """

    def __init__(self, version: Version = "v5", hidden_size: int = 4096) -> None:
        super().__init__()
        self.version, self.hidden_size = version, hidden_size
        self.prompt_projection = nn.Sequential(
            nn.Linear(hidden_size, _PROMPT_WIDTH),
            nn.LayerNorm(_PROMPT_WIDTH),
            nn.ReLU(),
            nn.Linear(_PROMPT_WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.ReLU(),
        )
        self.attn = nn.MultiheadAttention(WIDTH, 8, batch_first=True)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.ffn = _FeedForward()
        self.encoder_layer = nn.TransformerEncoderLayer(WIDTH, 16, dim_feedforward=512, batch_first=True)
        if version == "paper":
            self.upsampling = _transposed_head()
        else:
            self.mask_generation = nn.Sequential(
                _Block(WIDTH, WIDTH), _Block(WIDTH, WIDTH // 2), _Block(WIDTH // 2, WIDTH // 4)
            )
            self.out_dec = nn.Conv2d(WIDTH // 4, 1, 1)
        if version != "v6":
            self.image_norm = nn.LayerNorm(WIDTH)
            self.prompt_norm = nn.LayerNorm(WIDTH)
        self._initialise()

    def forward(self, image: Tensor, words: Tensor, padding: Tensor | None = None) -> Tensor:
        """Logits (B, 1, 16 x rows, 16 x columns).

        image: (B, 256, rows, columns). words: (B, T, hidden_size) hidden states, images and all. padding:
        (B, T) bool, True where a sequence was filled up; those are not looked at. The decoder's own
        precision is used, 32 bits as released.
        """
        own = self.norm1.weight.dtype
        image, words = image.to(own), words.to(own)
        fused = self._fused(image, words, padding) + image
        if self.version == "paper":
            return cast(Tensor, self.upsampling(fused))
        coarse = self.out_dec(self.mask_generation(fused))
        return nn.functional.interpolate(coarse, scale_factor=UPSAMPLING, mode="bilinear", align_corners=True)

    def _fused(self, image: Tensor, words: Tensor, padding: Tensor | None) -> Tensor:
        tokens, prompt = image.flatten(2).transpose(1, 2), self.prompt_projection(words)
        if self.version != "v6":
            tokens, prompt = self.image_norm(tokens), self.prompt_norm(prompt)
        seen, _ = self.attn(tokens, prompt, prompt, key_padding_mask=padding, need_weights=False)
        if self.version != "v6":
            seen = seen + tokens
        found: Tensor = self.ffn(self.encoder_layer(self.norm1(seen)))
        return found.transpose(1, 2).reshape(image.shape)

    def _initialise(self) -> None:
        """Xavier for what mixes features, zeros for biases, as the paper-era code; the rest as PyTorch."""
        for name, value in self.named_parameters():
            mixes = name.split(".")[0] in ("prompt_projection", "attn", "encoder_layer", "ffn")
            if mixes and value.ndim > 1:
                nn.init.xavier_uniform_(value)
            elif mixes and name.endswith("bias"):
                nn.init.zeros_(value)


class _FeedForward(nn.Module):
    """Two linear layers with a shortcut around the first, then a normalisation.

    `norm1` is in the released weights, but nothing goes through it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, WIDTH)
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH).requires_grad_(False)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.fc1(values).relu() + values
        return cast(Tensor, self.norm(self.fc2(inner).relu()))


class _Block(nn.Module):
    """Convolutions with instance normalisation.

    The padding of the 1 x 1 convolution makes a border of its bias alone; the last one takes it away again.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, out_channels, 1, padding=1)
        self.bn2 = nn.InstanceNorm2d(out_channels, affine=True)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 3)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(values)).relu() + values
        return cast(Tensor, self.conv3(self.bn2(self.conv2(inner))))


class _Residual(nn.Module):
    """Two convolutions, and a third one around which there is a shortcut; each normalised and rectified."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second, self.around = (
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
            for _ in range(3)
        )

    def forward(self, values: Tensor) -> Tensor:
        inner = self.second(self.first(values))
        return cast(Tensor, inner + self.around(inner))


def _transposed_head() -> nn.Sequential:
    """Four times twice the size and half the channels, from 256 to 16, then one channel."""
    stages: list[nn.Module] = []
    for channels, fewer in pairwise(_PAPER_CHANNELS):
        stages += [_Residual(channels), nn.BatchNorm2d(channels), nn.ReLU()]
        stages.append(nn.ConvTranspose2d(channels, fewer, 4, stride=2, padding=1))
    return nn.Sequential(*stages, nn.Conv2d(_PAPER_CHANNELS[-1], 1, 3, padding=1))


def class_head() -> nn.Sequential:
    """Image features to the logits of PICTURE_KINDS; names as in the released `cls.pth`."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, len(PICTURE_KINDS)))


def version_of(tensors: Mapping[str, Tensor]) -> Version:
    """Which decoder these weights are for; an early "v5" has the layers, and is read, as "v6"."""
    if any(name.startswith("upsampling.") for name in tensors):
        return "paper"
    return "v5" if "image_norm.weight" in tensors else "v6"


def load_decoder(file: Path) -> MaskDecoder:
    """The decoder from `mask_decoder.pth`; WeightsError when it holds anything else."""
    tensors = read_tensors(file)
    first = tensors.get(_FIRST_WEIGHT)
    if first is None or first.ndim != 2:
        raise WeightsError(
            f"{file.name} holds no mask decoder of PRS-Med ({_FIRST_WEIGHT} is missing); give "
            "mask_decoder.pth of a PRS-Med folder"
        )
    decoder = MaskDecoder(version_of(tensors), hidden_size=first.shape[1])
    load_strictly(decoder, tensors, what=file.name)
    return decoder.eval()
