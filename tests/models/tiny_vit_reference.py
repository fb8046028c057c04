"""TinyViT written from its paper (Wu et al., ECCV 2022), with the layer names of TinySAM's checkpoint.

The independent check of the encoder that the product takes from timm: plain loops over windows, the
table of attention biases from its definition.
"""

import torch
from torch import nn
from torch.nn import functional

DIMS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)


class ConvNorm(nn.Sequential):
    def __init__(self, channels, out, kernel=1, stride=1, groups=1):
        super().__init__()
        self.add_module("c", nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out))


class MobileBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv3 = ConvNorm(dim, 4 * dim), ConvNorm(4 * dim, dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)

    def forward(self, x):
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(self.conv3(inner) + x)


class Merging(nn.Module):
    def __init__(self, dim, out, stride):
        super().__init__()
        self.conv1, self.conv3 = ConvNorm(dim, out), ConvNorm(out, out)
        self.conv2 = ConvNorm(out, out, 3, stride, groups=out)

    def forward(self, x):
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Within one window; the bias of a pair of places depends on how far they are apart."""

    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self, tokens):
        size = tokens.shape[-1] // self.heads
        parts = self.qkv(self.norm(tokens)).unflatten(-1, (self.heads, 3 * size)).transpose(1, 2)
        query, key, value = parts.split(size, -1)
        weights = query @ key.transpose(-2, -1) / size**0.5 + self.biases()
        return self.proj((weights.softmax(-1) @ value).transpose(1, 2).flatten(2))

    def biases(self):
        numbers, places = {}, [(y, x) for y in range(self.window) for x in range(self.window)]
        table = [
            [numbers.setdefault((abs(a - c), abs(b - d)), len(numbers)) for c, d in places] for a, b in places
        ]
        return self.attention_biases[:, torch.tensor(table)]


class MultilayerPerceptron(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, tokens):
        return self.fc2(functional.gelu(self.fc1(self.norm(tokens))))


class Block(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.attn, self.mlp = Attention(dim, heads, window), MultilayerPerceptron(dim)
        self.local_conv, self.window = ConvNorm(dim, dim, 3, groups=dim), window

    def forward(self, x):
        x = x + self.in_windows(x)
        x = self.local_conv(x)
        return x + self.mlp(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)

    def in_windows(self, x):
        rows, columns = x.shape[2:]
        step = self.window
        padded = functional.pad(x, (0, -columns % step, 0, -rows % step))
        result = torch.zeros_like(padded)
        for top in range(0, padded.shape[2], step):
            for left in range(0, padded.shape[3], step):
                part = padded[:, :, top : top + step, left : left + step]
                seen = self.attn(part.flatten(2).transpose(1, 2))
                result[:, :, top : top + step, left : left + step] = seen.transpose(1, 2).reshape(part.shape)
        return result[:, :, :rows, :columns]


class Stage(nn.Module):
    def __init__(self, number):
        super().__init__()
        dim, last = DIMS[number], number == len(DIMS) - 1
        make = (
            (lambda: MobileBlock(dim)) if number == 0 else lambda: Block(dim, HEADS[number], WINDOWS[number])
        )
        self.blocks = nn.ModuleList(make() for _ in range(DEPTHS[number]))
        # TinySAM, as MobileSAM before it, keeps the size where its last stage begins.
        self.downsample = None if last else Merging(dim, DIMS[number + 1], 1 if number == 2 else 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, 32, 3, 2), nn.GELU(), ConvNorm(32, 64, 3, 2))


class ChannelNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-6).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class TinySamReference(nn.Module):
    """The encoder of TinySAM with its unused classifier."""

    def __init__(self):
        super().__init__()
        self.patch_embed = Embedding()
        self.layers = nn.ModuleList(Stage(number) for number in range(4))
        self.norm_head, self.head = nn.LayerNorm(320), nn.Linear(320, 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            ChannelNorm(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            ChannelNorm(256),
        )

    def forward(self, picture):
        x = self.patch_embed.seq(picture)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)


def random_reference(seed=0):
    """Random weights and statistics that are far from their initial values."""
    torch.manual_seed(seed)
    model = TinySamReference()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("attention_biases"):
                value.normal_()
            elif value.ndim == 1:
                value.add_(0.2 * torch.randn_like(value))
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(std=0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2)
    return model.eval()
