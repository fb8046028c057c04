"""PRS-Med at toy size with random weights, saved as the released code saves it, the adapter by PEFT."""

import shutil
import warnings

import torch
from safetensors.torch import load_file, save_file

from napari_medreason.models.prs_med.decoder import MaskDecoder, class_head

from .tiny_llava import write_clip, write_llava
from .tiny_vit_reference import random_reference

RANK, ALPHA = 4, 8
SIZE = 64
"""Side of the square of these tests; the networks take any multiple of 16."""
_TOWER = "model.vision_tower.vision_tower."


class _Holder(torch.nn.Module):
    """Puts a module under the name `vision_tower`, as LLaVA has it."""

    def __init__(self, module):
        super().__init__()
        self.vision_tower = module


def adapted_llava(clip, mistral):
    """LLaVA's tree of modules with a LoRA on every attention of text and image, all of it random."""
    from peft import LoraConfig, get_peft_model

    mistral.model.vision_tower = _Holder(clip)
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=["q_proj", "v_proj", "k_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT asks an old attribute
        wrapped = get_peft_model(mistral, config).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_" in name:
                value.normal_(std=0.3)
    return wrapped


def write_adapter(wrapped, folder):
    """As saved with PEFT 0.11 and transformers 4, where the tower's modules were called `vision_model`."""
    wrapped.save_pretrained(folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    renamed = {
        name if f"{_TOWER}vision_model." in name else name.replace(_TOWER, f"{_TOWER}vision_model."): value
        for name, value in tensors.items()
    }
    save_file(renamed, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def image_encoder_tensors(reference):
    """image_encoder.pth: every weight twice, and parts of SAM that nothing uses."""
    own = {f"image_encoder.{name}": value for name, value in reference.state_dict().items()}
    unused = {"sam.prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256)}
    return {**own, **{f"sam.{name}": value for name, value in own.items()}, **unused}


def write_prs_med(place, *, version="v5", out_bias=0.0):
    """Folders `base`, `clip` and `llm_seg_3`; returns (CLIP, projector, adapted LLaVA, encoder, decoder)."""
    _, projector, mistral = write_llava(place / "base")
    clip = write_clip(place / "clip")
    wrapped = adapted_llava(clip, mistral)
    folder = place / "llm_seg_3"
    write_adapter(wrapped, folder / "lora_adapter")
    (folder / "tokenizer").mkdir()
    shutil.copy(place / "base" / "tokenizer.model", folder / "tokenizer")
    encoder = random_reference(3)
    torch.save(image_encoder_tensors(encoder), folder / "image_encoder.pth")
    torch.manual_seed(4)
    decoder = MaskDecoder(version, hidden_size=32).eval()
    torch.nn.init.constant_(decoder.out_dec.bias, out_bias)
    torch.save(decoder.state_dict(), folder / "mask_decoder.pth")
    torch.save(class_head().state_dict(), folder / "cls.pth")
    return clip, projector, wrapped, encoder, decoder
