"""How large a network in a folder or file is, from config.json and the headers of its weight files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medreason.errors import WeightsError
from napari_medreason.models.fit import PartSize
from napari_medreason.models.weights import safetensors_header

PROMPT = 2048
"""Tokens read at once: up to 900 of the picture, and the prompt."""
TOKENS = 8192
"""Tokens whose keys and values are held: a prompt, 1024 of an answer, and the heads of four planes kept."""
PICTURE = 840
"""Side in pixels of the picture planned for, when the configuration names none."""
_VISION = re.compile(r"vis(ion|ual)")
_TEXT_LAYER = re.compile(r"(^|\.)layers\.\d+\.(self_attn|mlp)\.([a-z_]+)\.weight$")
_WORDS = re.compile(r"(^|\.)embed_tokens\.weight$")
"""Table of words; mask decoders have layers of the same names as text models, but no such table."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _TextLayers:
    """weights: of attention and feed-forward. pairs: width of keys and values, all layers together."""

    weights: int = 0
    pairs: int = 0
    hidden: int = 0
    inner: int = 0


def part_size(path: Path, *, name: str = "") -> PartSize:
    """The size of the network in a model folder or a single weight file; no weights are read.

    name: how the user knows it; the folder's or file's name by default. WeightsError when a header or
    config.json can't be read.
    """
    config = _config(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if files and all(file.suffix == ".safetensors" for file in files):
        shapes = {key: shape for file in files for key, shape in tensor_shapes(file).items()}
        layers, number = _layers_in(shapes), sum(math.prod(shape) for shape in shapes.values())
    else:
        layers, number = _layers_by(_text(config)), _stored(path, files, config)
    return PartSize(
        name or path.stem,
        quantisable=min(layers.weights, number),
        kept=max(0, number - layers.weights),
        cache=2 * layers.pairs * TOKENS,
        activations=_activation_bytes(config, layers),
        usual="bf16" if layers.weights else "fp32",
    )


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header alone; WeightsError when it is damaged."""
    try:
        header = safetensors_header(file)[1]
        return {key: tuple(map(int, value["shape"])) for key, value in header.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file.name} has no readable safetensors header; please install the weights again"
        ) from error


def _layers_in(shapes: Shapes) -> _TextLayers:
    """The text layers among the tensors of weight files."""
    if not any(_WORDS.search(key) for key in shapes):
        return _TextLayers()
    found = [
        (match.group(3), shape)
        for key, shape in shapes.items()
        if len(shape) == 2 and not _VISION.search(key) and (match := _TEXT_LAYER.search(key))
    ]
    return _TextLayers(
        weights=sum(math.prod(shape) for _, shape in found),
        pairs=sum(shape[0] for name, shape in found if name in ("k_proj", "v_proj")),
        hidden=max((shape[1] for name, shape in found if name == "q_proj"), default=0),
        inner=max((shape[0] for name, shape in found if name == "up_proj"), default=0),
    )


def _layers_by(text: Mapping[str, Any]) -> _TextLayers:
    """The text layers that a configuration describes (Llama, Mistral, Qwen: gated feed-forward)."""
    count, heads = _number(text, "num_hidden_layers"), _number(text, "num_attention_heads", otherwise=1)
    hidden, inner = _number(text, "hidden_size"), _number(text, "intermediate_size")
    width = _number(text, "head_dim", otherwise=hidden // heads)
    pairs = 2 * width * _number(text, "num_key_value_heads", otherwise=heads)
    weights = hidden * (2 * heads * width + pairs) + 3 * hidden * inner
    if not _number(text, "vocab_size"):
        return _TextLayers()
    return _TextLayers(count * weights, count * pairs, hidden, inner)


def _stored(path: Path, files: list[Path], config: Mapping[str, Any]) -> int:
    """Number of weights in files without a readable header, by their size."""
    old = files or [file for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern)]
    width = 2 if str(config.get("torch_dtype", config.get("dtype"))) in ("float16", "bfloat16") else 4
    try:
        return sum(file.stat().st_size for file in old) // width
    except OSError as error:
        raise WeightsError(f"{path.name} can't be read ({error.strerror}); check the path") from error


def _config(path: Path) -> dict[str, Any]:
    """The configuration of a folder; empty for a single file or a folder without one."""
    file = path / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"config.json in {path.name} can't be read as JSON; please install the weights again"
        ) from error
    return config if isinstance(config, dict) else {}


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the text layers, which older configurations hold at the top."""
    for key in ("text_config", "llm_config"):
        if isinstance(config.get(key), dict):
            return config[key]  # type: ignore[no-any-return]
    return config


def _number(config: Mapping[str, Any], *keys: str, otherwise: int = 0) -> int:
    """The first of these settings that is there as a number; of a pair such as [14, 14] the first."""
    for key in keys:
        value = config.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, (int, float)) and value > 0:
            return int(value)
    return otherwise


def _activation_bytes(config: Mapping[str, Any], layers: _TextLayers) -> int:
    """An estimate, in 16 bits, of the values between the layers where they are most."""
    vision = config.get("vision_config")
    vision = vision if isinstance(vision, dict) else {}
    if not layers.weights:
        return _segmenter_activations(vision)
    side = PICTURE // _number(vision, "patch_size", otherwise=14)
    width = _number(vision, "hidden_size", "embed_dim", otherwise=1280)
    inner = _number(vision, "intermediate_size", otherwise=4 * width)
    return 2 * max(side**2 * _per_token(width, inner), PROMPT * _per_token(layers.hidden, layers.inner))


def _per_token(hidden: int, inner: int) -> int:
    """Values alive at once for a token: input, normed, query, key, value, output; thrice the inner layer."""
    return 6 * hidden + 3 * inner


def _segmenter_activations(vision: Mapping[str, Any]) -> int:
    """SAM keeps two attention maps over all patches of 16; SAM 2 its finest stage, patches of 4."""
    backbone = vision.get("backbone_config")
    if isinstance(backbone, dict):
        tokens = (_number(backbone, "image_size", otherwise=1024) // 4) ** 2
        return 24 * tokens * _number(backbone, "hidden_size", otherwise=96) * 2
    patch = _number(vision, "patch_size", otherwise=16)
    patches = (_number(vision, "image_size", otherwise=1024) // patch) ** 2
    return 2 * _number(vision, "num_attention_heads", otherwise=12) * patches**2 * 2
