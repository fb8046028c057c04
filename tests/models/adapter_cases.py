"""Adapter folders made in a moment, as runs make them: of the embedded model, and of a tiny Qwen2.5-VL."""

import contextlib
import hashlib
import json
import warnings

from napari_medreason.models.adapter_card import AdapterCard, write_adapter_card
from napari_medreason.models.embedded.experts import load_experts
from napari_medreason.models.weights import weight_files, weights_sha256

FIGURES = {"before": 0.31, "after": 0.52, "gain": 0.21, "interval": [0.1, 0.3], "regions": 9, "patients": 3}


def embedded_adapter(folder, *, name="Our lesions", expert_id="body_ct", shift=0.5, before_after=None):
    """A tuned expert in place of one of the embedded model: every structure is seen less, or more."""
    from safetensors.torch import load_file, save

    experts = load_experts()
    expert = next(one for one in experts if one.id == expert_id)
    tensors = load_file(expert.file)
    tensors["bias"] = tensors["bias"] - shift
    packed = save(tensors)
    folder.mkdir(parents=True)
    (folder / expert.file.name).write_bytes(packed)
    table = json.loads((expert.folder / f"{expert_id}.json").read_text(encoding="utf-8"))
    table["sha256"] = hashlib.sha256(packed).hexdigest()
    (folder / f"{expert_id}.json").write_text(json.dumps(table), encoding="utf-8")
    card = AdapterCard(
        name,
        "embedded-expert",
        "embedded",
        base_weights_sha256=weights_sha256(one.file for one in experts),
        recipe="embedded",
        records={"train": 24, "test": 9},
        patients={"train": 4, "test": 3},
        before_after={"named": FIGURES} if before_after is None else before_after,
        extra={"expert": expert_id, "expert_sha256": expert.sha256},
    )
    write_adapter_card(folder, card)
    return folder


def peft_adapter(
    folder, base, *, name="Tuned reasoner", weights_id="folder:tiny-qwen", with_card=True, bias="none"
):
    """A LoRA adapter as PEFT saves it, with weights large enough to change every answer.

    bias: "all" or "lora_only" for one that also changes biases of the base.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2_5_VLForConditionalGeneration

    network = Qwen2_5_VLForConditionalGeneration.from_pretrained(base)
    with ignored_by_peft():
        targets = ["q_proj", "v_proj", "down_proj"]
        tuned = get_peft_model(network, LoraConfig(r=4, target_modules=targets, bias=bias))
    torch.manual_seed(0)
    for parameter, weights in tuned.named_parameters():
        if "lora_B" in parameter:
            torch.nn.init.normal_(weights, std=2.0)
        elif weights.requires_grad and parameter.endswith(".bias"):
            torch.nn.init.ones_(weights)
    tuned.save_pretrained(folder)
    if with_card:
        sha256 = weights_sha256(weight_files(base))
        write_adapter_card(
            folder,
            AdapterCard(
                name,
                "peft",
                weights_id,
                base_weights_sha256=sha256,
                recipe="grpo",
                before_after={"box": FIGURES},
            ),
        )
    return folder


@contextlib.contextmanager
def ignored_by_peft():
    """PEFT asks transformers for a property that is on its way out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield
