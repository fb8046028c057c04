"""Networks of the SAM family at toy width, in their authors' classes, saved as their authors save them."""

import numpy as np
import torch


def fill_empty(module, seed=3):
    """Random numbers for weights that begin at zero, which would hide mistakes in a mapping."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(0, 0.02, generator=generator)
    return module.eval()


def tiny_sam2(size, *, video=False, width=128, first=8):
    """The `sam2` package's network with the blocks of the tiny encoder and hardly any channels."""
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.transformer import RoPEAttention
    from sam2.modeling.sam2_base import SAM2Base
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    torch.manual_seed(0)
    memory = 64
    encoder = ImageEncoder(
        trunk=Hiera(
            embed_dim=first,
            num_heads=1,
            stages=(1, 2, 7, 2),
            global_att_blocks=(5, 7, 9),
            window_pos_embed_bkg_spatial_size=(7, 7),
        ),
        neck=FpnNeck(
            position_encoding=PositionEmbeddingSine(num_pos_feats=width, normalize=True),
            d_model=width,
            backbone_channel_list=[8 * first, 4 * first, 2 * first, first],
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        ),
        scalp=1,
    )
    attention = {"rope_theta": 10000.0, "feat_sizes": [size // 16] * 2, "embedding_dim": width}
    attention |= {"num_heads": 1, "downsample_rate": 1, "dropout": 0.1}
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=48,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**attention),
        d_model=width,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(**attention, rope_k_repeat=True, kv_in_dim=memory),
    )
    memories = MemoryEncoder(
        in_dim=width,
        out_dim=memory,
        position_encoding=PositionEmbeddingSine(num_pos_feats=memory, normalize=True),
        mask_downsampler=MaskDownSampler(embed_dim=width, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(dim=width, kernel_size=7, padding=3, use_dwconv=True), num_layers=2),
    )
    options = {
        "image_encoder": encoder,
        "memory_attention": MemoryAttention(d_model=width, pos_enc_at_input=True, layer=layer, num_layers=2),
        "memory_encoder": memories,
        "image_size": size,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
        **SAM21,
    }
    if video:
        options |= {"binarize_mask_from_pts_for_mem_enc": True}
    network = fill_empty((SAM2VideoPredictor if video else SAM2Base)(**options))
    with torch.no_grad():
        # As large as those of a trained network, so that a small difference shows.
        for head in network.sam_mask_decoder.output_hypernetworks_mlps:
            head.layers[2].weight *= 60
        network.sam_mask_decoder.pred_obj_score_head.layers[2].bias.fill_(2.0)
    return network


SAM21 = {
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "no_obj_embed_spatial": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "add_tpos_enc_to_obj_ptrs": True,
    "proj_tpos_enc_in_obj_ptrs": True,
    "use_signed_tpos_enc_to_obj_ptrs": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "use_mlp_for_obj_ptr_proj": True,
}
"""Settings of the published SAM 2.1 configurations."""


def tiny_sam(size=256, *, channels=32, width=32):
    """The `segment-anything` package's network with four blocks and hardly any channels."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    grid = (size // 16, size // 16)
    network = Sam(
        image_encoder=ImageEncoderViT(
            depth=4,
            embed_dim=channels,
            img_size=size,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=4,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=[1, 3],
            window_size=14,
            out_chans=width,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=width, image_embedding_size=grid, input_image_size=(size, size), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=48, num_heads=8),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=24,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    fill_empty(network)
    with torch.no_grad():
        for head in network.mask_decoder.output_hypernetworks_mlps:
            head.layers[2].weight *= 60
    return network


def blobs(shape, seed=0, count=12):
    """A picture (rows, columns) float32, 0 to 100, of smooth blobs."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    picture = np.zeros(shape)
    for _ in range(count):
        y, x = random.uniform(0, shape[0]), random.uniform(0, shape[1])
        wide = random.uniform(0.04, 0.15) * max(shape)
        picture += random.uniform(0.2, 1) * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * wide**2))
    return (100 * np.clip(picture / picture.max(), 0, 1)).astype(np.float32)
