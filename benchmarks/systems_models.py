"""A vision-language model and a SAM 2 of random weights on disk, full-size or small, of the real classes.

Random weights need the same time and memory as trained ones. The tokenizer is made in place; it has few
words, so texts are longer in tokens than with the published one.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

CONTROLS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "full": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128_000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "small": {
        "vocab_size": 1100,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    },
}
VISION = {
    "full": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "small": {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [3],
    },
}
"""Full: the published configuration of Qwen2.5-VL-7B."""


def save_systems(folder: Path, size: str, device: str) -> tuple[Path, Path]:
    """Both networks in `folder`, made on `device`; (reasoner, segmenter)."""
    reasoner, segmenter = folder / f"{size}-qwen", folder / f"{size}-sam2"
    processor, ids = _processor()
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT[size],
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={**VISION[size], "patch_size": 14, "spatial_merge_size": 2, "window_size": 112},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    _save(Qwen2_5_VLForConditionalGeneration, config, processor, reasoner, device)
    _save(Sam2Model, _sam2_config(size), _sam2_processor(size), segmenter, device)
    return reasoner, segmenter


def _save(network_class, config, processor, folder: Path, device: str) -> None:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if network_class is not Sam2Model else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            network = network_class(config)
    finally:
        torch.set_default_dtype(before)
    network.to(dtype).save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor() -> tuple[Qwen2_5_VLProcessor, dict[str, int]]:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=CONTROLS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = "Where is the organ that filters the blood? <think> </think><answer>bbox points_1 points_2 image"
    core.train_from_iterator([words] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=CONTROLS[1:],
    )
    images = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=1024 * 1024)
    processor = Qwen2_5_VLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    )
    return processor, dict(zip(CONTROLS, tokenizer.convert_tokens_to_ids(CONTROLS), strict=True))


def _sam2_config(size: str) -> Sam2Config:
    """Full: the tiny Hiera of SAM 2.1 at the 512 pixels of MedSAM2."""
    pixels = 512 if size == "full" else 256
    backbone = {"image_size": [pixels, pixels]}
    more = {}
    if size == "small":
        backbone |= {
            "hidden_size": 16,
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [8, 4, 4, 4],
            "global_attention_blocks": [3],
        }
        more = {"backbone_channel_list": [128, 64, 32, 16]}
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(**backbone),
        backbone_feature_sizes=[[pixels // step] * 2 for step in (4, 8, 16)],
        **more,
    )
    return Sam2Config(vision_config=vision, prompt_encoder_config=Sam2PromptEncoderConfig(image_size=pixels))


def _sam2_processor(size: str) -> Sam2Processor:
    pixels = 512 if size == "full" else 256
    images = Sam2ImageProcessor(
        size={"height": pixels, "width": pixels}, mask_size={"height": pixels // 4, "width": pixels // 4}
    )
    return Sam2Processor(image_processor=images, target_size=pixels)
