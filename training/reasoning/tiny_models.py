"""A Qwen2.5-VL of a few hundred thousand weights, made from its configuration, for proofs and tests on a CPU.

Its words are learnt from a few sentences; each whole number up to 999 is one token, so that a place is few
decisions. As in the real models an image token stands for 28 pixels along each side, so 84 pixels give 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

_CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ROLES = ("user\n", "assistant\n", "\n")
PATCH = 14
"""Pixels of an image patch along each side; two by two make an image token."""


def save_tiny_reasoner(
    folder: Path,
    sentences: Sequence[str],
    *,
    seed: int = 0,
    numbers: int = 84,
    width: int = 96,
    layers: int = 3,
) -> None:
    """Write an untrained model with its processor into a folder.

    sentences: of which every word should be known. numbers: so many whole numbers, from 0, are one token.
    """
    tokenizer = _tokenizer([*sentences, *_ROLES], numbers)
    torch.manual_seed(seed)
    network = Qwen2_5_VLForConditionalGeneration(_config(tokenizer, width, layers))
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    pictures = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=840 * 840, patch_size=PATCH)
    make_processor: Any = Qwen2_5_VLProcessor
    processor = make_processor(
        image_processor=pictures,
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH),
        chat_template=_CHAT,
    )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def _tokenizer(sentences: Sequence[str], numbers: int) -> Any:
    """The letters and words of the sentences, and numbers; other letters are left out of a text.

    A vocabulary of every byte would have hundreds of words that are never right, and an early sample is
    full of them.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,3}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=list(_CONTROL),
        show_progress=False,
    )
    core.train_from_iterator([*list(sentences) * 20, *map(str, range(numbers))], trainer)
    make_tokenizer: Any = PreTrainedTokenizerFast
    return make_tokenizer(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_CONTROL[1:]),
    )


def _config(tokenizer: Any, width: int, layers: int) -> Any:
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in _CONTROL}
    heads = 4
    third = width // heads // 8
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [width // heads // 2 - 2 * third, third, third],
        },
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": width,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "window_size": 8 * PATCH,
        "fullatt_block_indexes": [0, 1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
