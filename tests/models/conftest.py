"""Real architectures at toy size, made from their configurations and saved to disk."""

import os

import numpy as np
import pytest

from napari_medreason.core.answer_text import format_answer
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window

os.environ.setdefault("HF_HUB_OFFLINE", "1")

CONTROL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SQUARE = 112
SHORT_PROMPT = "<image>\nQuestion: {question}\n"


@pytest.fixture
def make_plane():
    """An axial plane with a bright box (x0, y0, x1, y1) on dark ground; spacing is (row, column) in mm."""

    def make(box, *, shape=(40, 60), spacing=(1.0, 1.0)):
        voxels = np.zeros((3, *shape), np.float32)
        x0, y0, x1, y1 = box
        voxels[:, y0:y1, x0:x1] = 100
        volume = Volume(voxels, np.diag([spacing[1], spacing[0], 2.0, 1.0]), modality="MR")
        return cut(volume, "axial", 1, Window(0, 100))

    return make


def tiny_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    corpus = [
        '<think>It is bright. It lies on the</think><answer>{"bbox": [1], "points_1": [1], "points_2": [1]}'
        "</answer> user\n assistant\n left. right. Question: Where is the bright box?"
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=CONTROL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(corpus * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=CONTROL_TOKENS[1:],
    )


def tiny_qwen():
    """A Qwen2.5-VL of about 0.2 million random weights, and its processor."""
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
    )
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    tokenizer = tiny_tokenizer()
    ids = dict(zip(CONTROL_TOKENS, tokenizer.convert_tokens_to_ids(CONTROL_TOKENS), strict=True))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    # A setting that published models carry, which greedy decoding must override without a warning.
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.7
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=84 * 84),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    return model, processor


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory):
    """An untrained tiny Qwen2.5-VL on disk."""
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen"
    for part in tiny_qwen():
        part.save_pretrained(folder)
    return folder


LEFT_BOX, RIGHT_BOX = (10, 40, 40, 80), (70, 40, 100, 80)
BOX_QUESTION = "Where is the bright box?"


def box_answer(box, side):
    x0, y0, x1, y1 = box
    middle = (y0 + y1) // 2
    return format_answer(
        f"It is bright. It lies on the {side}.",
        (x0, y0, x1 - 1, y1 - 1),
        ((x0 + 10, middle), (x0 + 20, middle)),
    )


@pytest.fixture(scope="session")
def trained_qwen_folder(tmp_path_factory):
    """A tiny Qwen2.5-VL that has learnt to answer BOX_QUESTION for LEFT_BOX and RIGHT_BOX."""
    import torch

    model, processor = tiny_qwen()
    prompts, answers, pictures = [], [], []
    for box, side in ((LEFT_BOX, "left"), (RIGHT_BOX, "right")):
        text = SHORT_PROMPT.removeprefix("<image>").replace("{question}", BOX_QUESTION)
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
        prompts.append(processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))
        answers.append(box_answer(box, side) + "<|im_end|>")
        picture = np.zeros((SQUARE, SQUARE, 3), np.uint8)
        picture[box[1] : box[3], box[0] : box[2]] = 255
        pictures.append(picture)
    options = {"images": pictures, "do_resize": False, "padding": True, "return_tensors": "pt"}
    prompt_length = processor(text=prompts, **options)["input_ids"].shape[1]
    batch = processor(text=[p + a for p, a in zip(prompts, answers, strict=True)], **options)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, :prompt_length] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(400):
        optimizer.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        if loss.item() < 0.015:
            break
    folder = tmp_path_factory.mktemp("models") / "trained-qwen"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


SAM2_SIZE = 128


def tiny_sam2():
    """A SAM 2 of about 0.1 million random weights for squares of 128 pixels, and its processor."""
    import torch
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2Processor,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    size = SAM2_SIZE
    backbone = Sam2HieraDetConfig(
        image_size=[size, size],
        hidden_size=8,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[size // 4] * 2, [size // 8] * 2, [size // 16] * 2],
        fpn_hidden_size=32,
    )
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(image_size=size, hidden_size=32, mask_input_channels=4),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
        ),
    )
    torch.manual_seed(3)
    model = Sam2Model(config)
    image_processor = Sam2ImageProcessor(
        size={"height": size, "width": size}, mask_size={"height": size // 4, "width": size // 4}
    )
    return model, Sam2Processor(image_processor=image_processor, target_size=size)


@pytest.fixture(scope="session")
def sam2_folder(tmp_path_factory):
    """An untrained tiny SAM 2 on disk."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sam2"
    for part in tiny_sam2():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def trained_sam2_folder(tmp_path_factory):
    """A tiny SAM 2 that has learnt to outline one bright box."""
    import torch
    from torch.nn import functional

    model, processor = tiny_sam2()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    random = np.random.default_rng(0)
    model.train()
    for _ in range(80):
        pictures = np.zeros((4, SAM2_SIZE, SAM2_SIZE, 3), np.uint8)
        corners = np.empty((4, 2, 2), int)
        for picture, corner in zip(pictures, corners, strict=True):
            corner[0] = random.integers(0, 80, 2)
            corner[1] = corner[0] + random.integers(16, 48, 2)
            picture[corner[0, 1] : corner[1, 1], corner[0, 0] : corner[1, 0]] = 255
        last_pixels = corners - np.array([[0, 0], [1, 1]])
        inputs = processor(
            images=list(pictures), input_boxes=last_pixels.reshape(4, 1, 4).tolist(), return_tensors="pt"
        )
        inputs.pop("original_sizes")
        logits = model(**inputs).pred_masks[:, 0]
        target = torch.from_numpy(pictures[..., 0] / np.float32(255))[:, None]
        target = functional.interpolate(target, logits.shape[-2:], mode="area").expand_as(logits)
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, target).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("models") / "trained-sam2"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
