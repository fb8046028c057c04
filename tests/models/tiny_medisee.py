"""MediSee at toy size with random weights, saved as its released checkpoint is."""

from functools import partial

from . import tiny_llava

SAM_SIZE = 64
CANDIDATES = 2


def tiny_sam(seed=5):
    """A SAM of the `segment-anything` package, scaled down."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(seed)
    channels = 32
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=3,
            embed_dim=32,
            img_size=SAM_SIZE,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=4,
            use_rel_pos=True,
            global_attn_indexes=[2],
            window_size=2,
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(SAM_SIZE // 16,) * 2,
            input_image_size=(SAM_SIZE,) * 2,
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=64, num_heads=8),
            iou_head_hidden_dim=channels,
        ),
    ).eval()
    for parameter in sam.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return sam


def tiny_heads(seed=6):
    import torch

    from napari_medreason.models.medisee.heads import MediSeeHeads

    torch.manual_seed(seed)
    heads = MediSeeHeads(32, 32, router_hidden=16, box_hidden=16)
    for parameter in heads.bbox_decoder.layers[2].parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return heads


def released_tensors(sam, heads, *, seed=8, words=None):
    """All weights by plain LLaVA names, with the LoRA pairs apart: (tensors, pairs)."""
    import torch

    words = (words or len(tiny_llava.tiny_pieces())) + CANDIDATES
    tensors = tiny_llava.original_tensors(*tiny_llava.tiny_parts(words, seed=seed))
    tensors |= {f"model.visual_model.{name}": value.clone() for name, value in sam.state_dict().items()}
    tensors |= {f"model.{name}": value.clone() for name, value in heads.state_dict().items()}
    pairs = {}
    for number in range(2):
        for projection, rows in (("q_proj", 32), ("v_proj", 16)):
            layer = f"model.layers.{number}.self_attn.{projection}"
            pairs[layer] = torch.randn(2, 32) * 0.1, torch.randn(rows, 2) * 0.1
    return tensors, pairs


def spelled(tensors, pairs, spelling):
    """The names that PEFT gives: "old" (0.4), "new" with `base_layer`, or "merged" without any LoRA."""
    if spelling == "merged":
        merged = dict(tensors)
        for layer, (down, up) in pairs.items():
            merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + up @ down * (16 / 2)
        return merged
    named = {}
    for name, value in tensors.items():
        layer = name.removesuffix(".weight")
        wrapped = f"{layer}.base_layer.weight" if spelling == "new" and layer in pairs else name
        named[f"base_model.model.{wrapped}"] = value
    for layer, (down, up) in pairs.items():
        named[f"base_model.model.{layer}.lora_A.default.weight"] = down
        named[f"base_model.model.{layer}.lora_B.default.weight"] = up
    return named


def write_medisee(folder, *, spelling="new", files=2, changed=None):
    """pytorch_model-*.bin files, of named tensors after `changed`; returns the modules that were saved."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    sam, heads = tiny_sam(), tiny_heads()
    named = spelled(*released_tensors(sam, heads), spelling)
    if changed is not None:
        changed(named)
    names = sorted(named)
    for number in range(files):
        part = {name: named[name].contiguous() for name in names[number::files]}
        torch.save(part, folder / f"pytorch_model-{number + 1}.bin")
    return sam, heads
