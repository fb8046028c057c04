"""Gemma 3 and InternVL at toy size, random weights, made from their configurations."""

SENTENCES = [
    '<think>It is bright. It lies on the</think><answer>{"bbox": [1], "points_1": [1], "points_2": [1]}'
    "</answer> user\n assistant\n left. right. Question: Where is the bright box?"
]
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "head_dim": 16,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def tokenizer_of(special, *, eos, pad, **names):
    """A byte-level tokenizer that writes digits one by one, as those of the real models do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(SENTENCES * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=eos, pad_token=pad, extra_special_tokens=names, **_bos(special)
    )


def _bos(special):
    return {"bos_token": "<bos>"} if "<bos>" in special else {}


def _template(image):
    return (
        "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + image
        + "{% else %}{{ c['text'] | trim }}{% endif %}{% endfor %}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )


def tiny_gemma3():
    """A Gemma 3 whose first layer attends to the last 32 tokens only, less than a picture and a prompt."""
    import torch
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    special = ["<pad>", "<eos>", "<bos>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    names = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokenizer = tokenizer_of(special, eos="<eos>", pad="<pad>", **names)
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"],
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
        vision_config={**VISION, "image_size": 112, "patch_size": 14},
        mm_tokens_per_image=16,
        image_token_index=ids("<image_soft_token>"),
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
    )
    torch.manual_seed(0)
    pictures = Gemma3ImageProcessor(size={"height": 112, "width": 112}, do_pan_and_scan=False)
    processor = Gemma3Processor(
        pictures, tokenizer, image_seq_length=16, chat_template=_template("<start_of_image>")
    )
    return Gemma3ForConditionalGeneration(config), processor


def tiny_internvl():
    """An InternVL that cuts a picture into tiles."""
    import torch
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVisionConfig,
        Qwen2Config,
    )
    from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor

    special = ["<|endoftext|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tokenizer_of(special, eos="<|im_end|>", pad="<|endoftext|>", **names)
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**VISION, image_size=[56, 56], patch_size=[14, 14]),
        text_config=Qwen2Config(vocab_size=len(tokenizer), **text, pad_token_id=0, eos_token_id=1),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    torch.manual_seed(0)
    pictures = GotOcr2ImageProcessor(
        size={"height": 56, "width": 56}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = InternVLProcessor(
        pictures,
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=_template("<IMG_CONTEXT>\n"),
    )
    return InternVLForConditionalGeneration(config), processor
