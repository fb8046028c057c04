"""LLaVA-Med at toy size with random weights, saved in LLaVA's own layout, and a stock CLIP folder."""

import json
import struct

NEWLINE = "<0x0A>"
CORPUS = (
    "[INST] Where is the liver in this image? Please answer with a segmentation mask and a location box, "
    "and explain why. [/INST] The kidney filters blood and lies near the spine. which organ ### User: "
    "### Assistant: As a doctor, and you are seeing the image, the tumor is in the top left of the image. "
    "Sure it is "
)
CONTROLS = (("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3))


def sentencepiece_model(pieces, *, kind=2):
    """A sentencepiece model file of (text, score, type) pieces; kind 2 is BPE, 1 unigram."""

    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    def varint(value):
        low = value & 0x7F
        return bytes([low | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([low])

    body = b"".join(
        field(
            1,
            field(1, text.encode())
            + varint(2 << 3 | 5)
            + struct.pack("<f", score)
            + varint(3 << 3)
            + varint(type_),
        )
        for text, score, type_ in pieces
    )
    return body + field(2, varint(3 << 3) + varint(kind))


def byte_pieces():
    return [(f"<0x{value:02X}>", 0.0, 6) for value in range(256)]


def words_pieces(words):
    """Pieces that make each of these words one token, and every letter one at least.

    The blank "▁" begins words and is merged first, so that "▁is" wins over "is".
    """
    prefixes = {word[:end] for word in words for end in range(2, len(word) + 1)}
    merges = sorted(prefixes, key=lambda text: (not text.startswith("▁"), len(text), text))
    letters = sorted({letter for word in words for letter in word})
    ranked = [*merges, *letters]
    return [(text, -float(rank), 1) for rank, text in enumerate(ranked)]


def tiny_pieces():
    words = {f"▁{word.strip('.,?:')}" for word in CORPUS.split()} | {*".,?:[]/", "#"}
    return [*CONTROLS, *byte_pieces(), *words_pieces(words)]


def clip_config(image_size=56):
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=14,
        projection_dim=16,
    )


LLAVA_SETTINGS = {
    "model_type": "llava_mistral",
    "architectures": ["LlavaMistralForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "image_aspect_ratio": "pad",
}


def mistral_config(words):
    from transformers import MistralConfig

    keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    return MistralConfig(
        **{key: LLAVA_SETTINGS[key] for key in keys},
        vocab_size=words,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        sliding_window=None,
    )


def tiny_parts(words, image_size=56, seed=0):
    """CLIP tower, projector and Mistral as modules of their own, for a splice by hand."""
    import torch
    from transformers import CLIPVisionModel, MistralForCausalLM

    torch.manual_seed(seed)
    clip = CLIPVisionModel(clip_config(image_size)).eval()
    projector = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))
    mistral = MistralForCausalLM(mistral_config(words)).eval()
    return clip, projector, mistral


def original_tensors(clip, projector, mistral):
    """The parts' weights by the names of LLaVA's own checkpoints."""
    tower = {name.removeprefix("vision_model."): value for name, value in clip.state_dict().items()}
    named = {
        **mistral.state_dict(),
        **{f"model.mm_projector.{name}": value for name, value in projector.state_dict().items()},
        **{f"model.vision_tower.vision_tower.vision_model.{name}": value for name, value in tower.items()},
    }
    return {name: value.detach().clone().contiguous() for name, value in named.items()}


def write_sharded(folder, tensors, *, shards=2, binary=False):
    """Weight files with an index, as transformers 4 wrote them."""
    import torch
    from safetensors.torch import save_file

    stem, ending = ("pytorch_model", "bin") if binary else ("model", "safetensors")
    names = sorted(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"{stem}-{number + 1:05d}-of-{shards:05d}.{ending}"
        part = {name: tensors[name] for name in names[number::shards]}
        weight_map |= dict.fromkeys(part, file)
        if binary:
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def write_tokenizer(folder, pieces=None):
    """tokenizer.model with these (text, score, type) pieces; returns their number."""
    pieces = tiny_pieces() if pieces is None else pieces
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    return len(pieces)


def write_llava(folder, *, binary=False, image_size=56, pieces=None, seed=0):
    """A LLaVA-Med folder in LLaVA's own layout; returns its parts (CLIP, projector, Mistral).

    The tower that the checkpoint holds differs from the stock one, as in the released weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = write_tokenizer(folder, pieces)
    clip, projector, mistral = tiny_parts(words, image_size, seed)
    tensors = original_tensors(clip, projector, mistral)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = mistral.model.rotary_emb.inv_freq.clone()
    write_sharded(folder, tensors, binary=binary)
    (folder / "config.json").write_text(json.dumps({**LLAVA_SETTINGS, "vocab_size": words}))
    return clip, projector, mistral


def write_clip(folder, *, image_size=56, seed=7):
    """A whole CLIP in a folder, text half included, as the hub has it; returns its vision tower."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**text, "vocab_size": 50},
        vision_config=clip_config(image_size).to_dict(),
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    return model.vision_model
