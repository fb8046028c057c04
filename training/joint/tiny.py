"""PRS-Med and MediSee at toy size with random weights, in their released layouts; for proofs and tests."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, MistralConfig, MistralForCausalLM

from napari_medreason.errors import RunError
from napari_medreason.models.medisee.heads import MediSeeHeads
from napari_medreason.models.prs_med.decoder import MaskDecoder, Version
from napari_medreason.models.prs_med.encoder import TinySamEncoder

from .base import LANGUAGE_FOLDER, TOWER_FOLDER
from .tiny_encoder import shown_shapes

HIDDEN = 64
"""Width of the language model."""
PICTURE, PATCH = 56, 14
"""Side of the picture that CLIP sees, and of its patches."""
SMALL_PICTURE = 28
"""That of PRS-Med's base: its mask decoder looks at all words and patches alike to begin with, and the more
there are, the longer it takes to find the one that names the object."""
SAM_SIZE, SAM_PATCH, SAM_WIDTH = 64, 4, 32
_SAM_ENCODER_WIDTH = 96
_TOWER_WIDTH = 32
_CANDIDATES = 2
CORPUS = (
    "### User: As a doctor, and you are seeing the image, Assistant [INST] [/INST] where is the tumor? Where "
    "cyst stone which Which part of the image shows the What is the in this image? Please answer with a "
    "segmentation mask and a location box, and explain why. the tumor is at the top bottom left right "
    "near center of image. The tumor Sure, it is and It mask Mask and box: ."
)
_SETTINGS: dict[str, Any] = {
    "model_type": "llava_mistral",
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
}


def write_prs_med_base(folder: Path, seed: int, *, version: Version = "v5", encoder_steps: int = 0) -> Path:
    """A base of the recipe "prs-med"; gives the folder. encoder_steps: of TinySAM's encoder on the shapes."""
    torch.manual_seed(seed)
    _write_language(folder, picture=SMALL_PICTURE)
    epoch = folder / "llm_seg_1"
    (epoch / "lora_adapter").mkdir(parents=True)
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {
        f"{layer}.lora_A.weight": torch.zeros(1, HIDDEN),
        f"{layer}.lora_B.weight": torch.zeros(HIDDEN, 1),
    }
    save_file(pair, epoch / "lora_adapter" / "adapter_model.safetensors")
    _write_json(
        epoch / "lora_adapter" / "adapter_config.json", {"peft_type": "LORA", "lora_alpha": 1, "r": 1}
    )
    encoder = shown_shapes(TinySamEncoder(), seed, encoder_steps)
    _save(encoder, epoch / "image_encoder.pth", "image_encoder.")
    _save(MaskDecoder(version, hidden_size=HIDDEN), epoch / "mask_decoder.pth")
    return folder


def write_medisee_base(folder: Path, seed: int) -> Path:
    """A base of the recipe "medisee"; gives the folder. RunError without the package segment-anything."""
    torch.manual_seed(seed)
    language = _write_language(folder, extra_words=_CANDIDATES)
    heads = MediSeeHeads(HIDDEN, SAM_WIDTH, router_hidden=64, box_hidden=64)
    parts = {**language, **_named("model.visual_model.", _tiny_sam()), **_named("model.", heads)}
    save_file({name: value.contiguous() for name, value in parts.items()}, folder / "medisee.safetensors")
    return folder


def _write_language(folder: Path, *, extra_words: int = 0, picture: int = PICTURE) -> dict[str, Tensor]:
    """Folders of LLaVA-Med and CLIP; gives LLaVA-Med's tensors with rows for `extra_words` more words."""
    language, tower = folder / LANGUAGE_FOLDER, folder / TOWER_FOLDER
    language.mkdir(parents=True, exist_ok=True)
    words = _write_tokenizer(language)
    mistral = MistralForCausalLM(
        MistralConfig(
            **{key: value for key, value in _SETTINGS.items() if not key.startswith(("m", "r"))},
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            vocab_size=words + extra_words,
            initializer_range=0.1,
        )
    )
    projector = nn.Sequential(nn.Linear(_TOWER_WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN))
    tensors = {**mistral.state_dict(), **_named("model.mm_projector.", projector)}
    own = dict(tensors)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        own[name] = tensors[name][:words]
    save_file({name: value.contiguous() for name, value in own.items()}, language / "model.safetensors")
    _write_json(language / "config.json", {**_SETTINGS, "vocab_size": words})
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=_TOWER_WIDTH,
            intermediate_size=2 * _TOWER_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=picture,
            patch_size=PATCH,
        )
    ).save_pretrained(tower)
    return tensors


def _write_tokenizer(folder: Path) -> int:
    """A tokenizer of whole words; gives their number."""
    split = pre_tokenizers.Whitespace()
    found = {word for word, _ in split.pre_tokenize_str(CORPUS)}
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *sorted(found)])}
    tokenizer: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(vocabulary)


def _tiny_sam() -> nn.Module:
    """A SAM of the `segment-anything` package, scaled down."""
    try:
        from segment_anything.modeling import (
            ImageEncoderViT,
            MaskDecoder,
            PromptEncoder,
            Sam,
            TwoWayTransformer,
        )
    except ImportError as error:
        raise RunError(
            "this proof needs the package segment-anything; pip install segment-anything"
        ) from error
    sam: nn.Module = Sam(
        image_encoder=ImageEncoderViT(
            depth=2,
            embed_dim=_SAM_ENCODER_WIDTH,
            img_size=SAM_SIZE,
            patch_size=SAM_PATCH,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=4,
            use_rel_pos=True,
            global_attn_indexes=[1],
            window_size=4,
            out_chans=SAM_WIDTH,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=SAM_WIDTH,
            image_embedding_size=(SAM_SIZE // SAM_PATCH,) * 2,
            input_image_size=(SAM_SIZE,) * 2,
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=SAM_WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=SAM_WIDTH, mlp_dim=64, num_heads=8),
            iou_head_hidden_dim=SAM_WIDTH,
        ),
    )
    return sam


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value.detach().clone() for name, value in module.state_dict().items()}


def _save(module: nn.Module, file: Path, prefix: str = "") -> None:
    save_file({name: value.contiguous() for name, value in _named(prefix, module).items()}, file)


def _write_json(file: Path, table: dict[str, Any]) -> None:
    file.write_text(json.dumps(table) + "\n", encoding="utf-8")
