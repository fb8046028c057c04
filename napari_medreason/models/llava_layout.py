"""LLaVA-Med's folder in LLaVA's own layout, as weights of transformers' Llava classes.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
)

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, load_strictly, read_tensors, renamed
from napari_medreason.models.loading import Placement, quantisation_settings, with_step_down

Tower = Literal["stock", "checkpoint"]
"""Which CLIP weights see the image: those of a CLIP folder, or those that a checkpoint brings along."""

TOWER_PREFIX = "model.vision_tower.vision_tower."
_MODEL_TYPES = ("llava_mistral",)
_BUFFERS = (r"rotary_emb\.inv_freq$", r"embeddings\.position_ids$")
_RULES = (
    (r"^model\.vision_tower\.vision_tower\.(vision_model\.)?", "model.vision_tower."),
    (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(layers|embed_tokens|norm)\.", r"model.language_model.\1."),
)
_TOWER_RULES = (
    (
        r"^(vision_model\.)?(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)",
        f"{TOWER_PREFIX}vision_model.",
    ),
)
"""A tower that transformers 5 saved by itself has no `vision_model.` before its names."""
_WORD_ROWS = ("model.embed_tokens.weight", "lm_head.weight")
_NOT_QUANTISED = ["lm_head", "model.vision_tower", "model.multi_modal_projector"]
_SHARDS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, eq=False)
class LlavaWeights:
    """What makes one LLaVA-Med, read but not yet on a device.

    settings: LLaVA's config.json. tower: configuration of the CLIP vision tower. tensors: by LLaVA's own
    names, the tower's under TOWER_PREFIX; they may be mapped from their files. files: where they came from.
    """

    name: str
    settings: Mapping[str, Any]
    tower: CLIPVisionConfig
    tensors: Tensors
    files: tuple[Path, ...]

    def with_word_rows(self, count: int) -> LlavaWeights:
        """With rows for `count` more words, each the mean of the rows that are there."""
        longer = {name: _extended(self.tensors[name], count) for name in _WORD_ROWS if name in self.tensors}
        return replace(self, tensors={**self.tensors, **longer})

    @property
    def words(self) -> int:
        """Number of words that have an embedding; WeightsError without embeddings."""
        rows = self.tensors.get(_WORD_ROWS[0])
        if rows is None:
            raise WeightsError(
                f"{self.name} lacks {_WORD_ROWS[0]}; give the folder with all files of LLaVA-Med"
            )
        return int(rows.shape[0])


def read_llava(folder: Path, *, vision_tower: Path, tower: Tower = "stock") -> LlavaWeights:
    """LLaVA-Med's weights with a vision tower.

    vision_tower: folder of CLIP ViT-L/14-336. LLaVA-Med's own loader drops the tower that its checkpoint
    holds and takes the stock one, with which MediSee and PRS-Med were trained too; tower="checkpoint" takes
    the other. WeightsError for a folder of another kind, a missing or a damaged file.
    """
    settings = read_settings(folder)
    files = weight_shards(folder)
    tensors = _drop_buffers(_read_all(files))
    own_tower = {name: tensors.pop(name) for name in list(tensors) if name.startswith(TOWER_PREFIX)}
    tower_config = read_tower_config(vision_tower)
    if tower == "checkpoint":
        if not own_tower:
            raise WeightsError(f"{folder.name} holds no vision tower of its own; use the stock CLIP tower")
        return LlavaWeights(folder.name, settings, tower_config, {**tensors, **own_tower}, files)
    tower_files = weight_shards(vision_tower)
    stock = read_tower(tower_files, vision_tower.name)
    return LlavaWeights(folder.name, settings, tower_config, {**tensors, **stock}, (*files, *tower_files))


def read_settings(folder: Path) -> dict[str, Any]:
    """LLaVA's config.json; WeightsError unless it is a LLaVA-Med of version 1.5."""
    settings = _json_object(folder / "config.json")
    found = settings.get("model_type")
    if found not in _MODEL_TYPES:
        raise WeightsError(
            f"{folder.name} holds a model of type {found!r}; LLaVA-Med v1.5 in its original layout is "
            f"needed, which has the type {_MODEL_TYPES[0]!r}"
        )
    projector = settings.get("mm_projector_type", "mlp2x_gelu")
    if projector != "mlp2x_gelu":
        raise WeightsError(f"{folder.name} has the projector {projector!r}; accepted is 'mlp2x_gelu'")
    return settings


def read_tower_config(folder: Path) -> CLIPVisionConfig:
    """Configuration of the vision tower in a CLIP folder; WeightsError for another kind of model."""
    settings = _json_object(folder / "config.json")
    vision = settings.get("vision_config") if settings.get("model_type") == "clip" else settings
    if settings.get("model_type") not in ("clip", "clip_vision_model") or not isinstance(vision, dict):
        raise WeightsError(
            f"{folder.name} holds a model of type {settings.get('model_type')!r}; a CLIP vision tower is "
            "needed, such as clip-vit-large-patch14-336"
        )
    return CLIPVisionConfig(**{key: value for key, value in vision.items() if key != "model_type"})


def read_tower(files: tuple[Path, ...], name: str) -> Tensors:
    """The vision tower of CLIP by LLaVA's names; CLIP's text half is left out."""
    seen = renamed(_read_all(files), _TOWER_RULES, dropped=_BUFFERS)
    tower = {key: tensor for key, tensor in seen.items() if key.startswith(TOWER_PREFIX)}
    if not tower:
        raise WeightsError(
            f"{name} holds no CLIP vision tower; give the folder of clip-vit-large-patch14-336"
        )
    return tower


def weight_shards(folder: Path) -> tuple[Path, ...]:
    """The folder's weight files, safetensors before .bin; WeightsError when one that is listed is missing."""
    if not folder.is_dir():
        raise WeightsError(
            f"{folder.name or folder!s} is not a folder; give the folder that holds config.json"
        )
    for pattern in _SHARDS:
        there = tuple(sorted(folder.glob(pattern)))
        indices = sorted(folder.glob(f"{pattern}.index.json"))
        listed = set(_json_object(indices[0]).get("weight_map", {}).values()) if indices else set()
        lacking = sorted(listed - {file.name for file in there})
        if lacking:
            raise WeightsError(
                f"{lacking[0]} is missing from {folder.name} ({len(lacking)} of {len(listed)} weight files); "
                "please install the weights again"
            )
        if there:
            return tuple(file for file in there if not listed or file.name in listed)
    raise WeightsError(
        f"{folder.name} holds no weight files; {' or '.join(_SHARDS)} are read, "
        "please install the weights again"
    )


def build_llava(weights: LlavaWeights, placement: Placement) -> Any:
    """The network on its device, in evaluation mode.

    Text layers alone are quantised. WeightsError names weights that are missing, unexpected or of another
    shape; NotEnoughMemoryError when it does not fit, one precision smaller neither.
    """
    config = llava_config(weights)
    with torch.device("meta"):
        skeleton = LlavaForConditionalGeneration(config)
    tensors = renamed(weights.tensors, _RULES)
    load_strictly(skeleton, tensors, what=weights.name)
    del skeleton
    return with_step_down(lambda place: _placed(tensors, config, place), placement, what=weights.name)


def llava_config(weights: LlavaWeights) -> LlavaConfig:
    """Configuration of transformers' Llava for these weights; the image token is never used as a word."""
    settings = {key: weights.settings[key] for key in _MISTRAL_KEYS if key in weights.settings}
    text = MistralConfig(
        **settings,
        vocab_size=weights.words,
        rope_parameters={"rope_type": "default", "rope_theta": weights.settings.get("rope_theta", 1e6)},
        sliding_window=weights.settings.get("sliding_window"),
        pad_token_id=0,
    )
    return LlavaConfig(
        vision_config=weights.tower,
        text_config=text,
        # Images are spliced in by place, so no word may stand for them.
        image_token_index=-1,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="default",
        vision_feature_layer=weights.settings.get("mm_vision_select_layer", -2),
        tie_word_embeddings=False,
    )


_MISTRAL_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
)


def _placed(tensors: Tensors, config: LlavaConfig, placement: Placement) -> Any:
    options: dict[str, Any] = {"dtype": placement.dtype, "attn_implementation": "sdpa"}
    if placement.device.type != "cpu" or placement.quantisation:
        options["device_map"] = {"": placement.device}
    if placement.quantisation:
        options["quantization_config"] = quantisation_settings(placement, _NOT_QUANTISED)
    model = LlavaForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=dict(tensors), local_files_only=True, **options
    )
    model.generation_config.bos_token_id, model.generation_config.eos_token_id = 1, 2
    model.generation_config.pad_token_id = 0
    return model.eval()  # type: ignore[no-untyped-call]


def _read_all(files: tuple[Path, ...]) -> Tensors:
    tensors: Tensors = {}
    for file in files:
        tensors |= read_tensors(file)
    return tensors


def _drop_buffers(tensors: Tensors) -> Tensors:
    return renamed(tensors, (), dropped=_BUFFERS)


def _extended(rows: torch.Tensor, count: int) -> torch.Tensor:
    mean = rows.float().mean(dim=0, keepdim=True).to(rows.dtype)
    return torch.cat([rows, mean.expand(count, -1)])


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{file.parent.name} has no readable {file.name}; give the folder that holds it and the "
            "weight files"
        ) from error
    raise WeightsError(
        f"{file.name} in {file.parent.name} is no JSON object; please install the weights again"
    )
