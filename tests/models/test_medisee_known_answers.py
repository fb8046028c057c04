"""MediSee's heads and token positions against known answers of the released code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.models.medisee.conversation import candidate_places, explanation
from napari_medreason.models.medisee.heads import BoxHead, MediSeeHeads, Router, corners
from napari_medreason.models.medisee.network import scaled_boxes
from napari_medreason.models.medisee.pictures import box_in_plane, box_shares, isotropic_picture

from . import tiny_medisee


def known(name):
    root = os.environ.get("MEDREASON_TEST_DATA")
    file = Path(root or "none").parent / "reference" / "cases" / name
    if not file.is_file():
        pytest.skip(
            "the known answers lie beside the folder named by MEDREASON_TEST_DATA, and it isn't there"
        )
    return json.loads(file.read_text())


def filled(module, scale):
    """The k-th parameter becomes scale * sin(0.37 i + k) over its flat index i."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            values = scale * np.sin(0.37 * np.arange(parameter.numel()) + number)
            parameter.copy_(torch.from_numpy(values.astype(np.float32)).reshape(parameter.shape))
    return module.eval()


def test_routers_weigh_as_released():
    for case in known("medisee_losses.json")["router_small"]:
        router = filled(Router(case["input_dim"], case["hidden"]), 0.05)
        bbox, seg = torch.tensor(case["embed1_bbox"]), torch.tensor(case["embed2_seg"])
        with torch.no_grad():
            np.testing.assert_allclose(router.weights(bbox, seg), case["weights"], atol=1e-4)
            np.testing.assert_allclose(router(bbox, seg), case["out"], atol=1e-4)


def test_a_router_of_full_size_has_the_released_names_and_answers():
    case = known("medisee_losses.json")["router_full"]
    router = filled(Router(4096), 0.02)
    assert {name: list(value.shape) for name, value in router.state_dict().items()} == case["state_dict"]
    index = np.arange(2 * 4096, dtype=np.float64).reshape(2, 4096)
    bbox = torch.from_numpy(np.cos(0.01 * index).astype(np.float32))
    seg = torch.from_numpy(np.sin(0.013 * index).astype(np.float32))
    with torch.no_grad():
        out = router(bbox, seg)
    np.testing.assert_allclose(out[:, :8], case["out_first8"], atol=1e-4)
    np.testing.assert_allclose(out.mean(dim=1), case["out_mean"], atol=1e-4)


def test_the_box_head_answers_as_released():
    cases = known("medisee_losses.json")
    for case in cases["bbox_mlp_small"]:
        size, hidden, _, _ = case["dims"]
        with torch.no_grad():
            found = filled(BoxHead(size, hidden), 0.7)(torch.tensor(case["x"]))
        np.testing.assert_allclose(found, case["out"], atol=1e-4)
    for case in cases["box"]:
        found = corners(torch.tensor(case["pred_cxcywh"]))
        np.testing.assert_allclose(found, case["pred_xyxy"], atol=1e-5)


def test_an_untrained_box_head_points_at_the_middle_half():
    head = BoxHead(4096)
    case = known("medisee_losses.json")["bbox_head_init"]
    assert {name: list(value.shape) for name, value in head.state_dict().items()} == case["state_dict"]
    assert head(torch.randn(2, 4096)).tolist() == case["out_at_init"] == [[0.5] * 4] * 2


def test_states_are_taken_where_the_released_code_takes_them():
    cases = known("prompts_and_tokens.json")
    candidates = [cases["special"][word] for word in ("[SEG]", "[BBOX]")]
    for case in cases["medisee"]:
        ids, image = case["input_ids"], case["image_index"]
        places = candidate_places(ids, candidates, start=image)
        assert places == (case["seg_token_index"], case["bbox_token_index"])
        predicting = [place + 576 - 1 - 1 for place in places]
        assert predicting == [
            case["hidden_state_index_used_for_seg"],
            case["hidden_state_index_used_for_bbox"],
        ]


# Without the known answers


def square_plane(shape, spacing):
    """An empty axial plane; spacing is (row, column) in mm."""
    volume = Volume(np.zeros((1, *shape), np.float32), np.diag([spacing[1], spacing[0], 1.0, 1.0]))
    return cut(volume, "axial", 0, Window(0, 1))


def test_a_router_weighs_by_sigmoids_over_their_sum_first_the_box():
    router = Router(1, 1)
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.zero_()
        router.gate[2].bias.copy_(torch.tensor([0.0, np.log(3.0)]))  # sigmoids 1/2 and 3/4
        found = router(torch.tensor([[10.0]]), torch.tensor([[20.0]]))
        np.testing.assert_allclose(found, [[0.4 * 10 + 0.6 * 20]], rtol=1e-6)
        router.gate[2].bias.copy_(torch.tensor([-200.0, -200.0]))  # the released division is 0 by 0 here
        np.testing.assert_allclose(router(torch.tensor([[10.0]]), torch.tensor([[20.0]])), [[15.0]])


def test_gradients_reach_all_heads():
    heads = MediSeeHeads(8, 4, router_hidden=5, box_hidden=6)
    seg, bbox = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    torch.nn.init.normal_(heads.bbox_decoder.layers[-1].weight)
    proposal = heads(seg, bbox)
    (corners(proposal.boxes).sum() + proposal.text.sum() + proposal.fused_seg.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in heads.parameters())
    assert seg.grad.any()
    assert bbox.grad.any()


def test_heads_of_full_size_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        heads = MediSeeHeads(4096)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in heads.named_children()}
    projection = 4096 * 4096 + 4096 + 4096 * 256 + 256
    assert count == {
        "router_seg": 8_391_682,
        "router_box": 8_391_682,
        "bbox_decoder": 2_362_372,
        "text_hidden_fcs": projection,
    }


def test_gradients_reach_box_and_text_through_the_mask_decoder():
    from napari_medreason.models.medisee.medsam import (
        box_prompts,
        decode,
        embed_picture,
        load_sam,
        masks_in_picture,
    )

    sam = load_sam(tiny_medisee.tiny_sam().state_dict(), what="SAM")
    image = embed_picture(sam, np.random.default_rng(1).integers(0, 255, (30, 64, 3), np.uint8))
    boxes = torch.tensor([[5.0, 5.0, 40.0, 20.0], [10.0, 2.0, 60.0, 28.0]], requires_grad=True)
    text = torch.randn(2, 32, requires_grad=True)
    logits = masks_in_picture(decode(sam, image, box_prompts(sam, boxes), text), image, 64)
    assert logits.shape == (2, 30, 64)
    logits.square().sum().backward()
    assert boxes.grad.any()
    assert text.grad.any()
    assert all(parameter.grad is None for parameter in sam.vision_encoder.parameters())


def test_boxes_of_pictures_that_are_not_square_are_scaled_by_their_own_sides():
    box = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    assert scaled_boxes(box, (512, 1024), 1024, faithful=False).tolist() == [[512, 256, 1024, 512]]
    assert scaled_boxes(box, (512, 1024), 1024, faithful=True).tolist() == [[512, 512, 1024, 1024]]
    assert scaled_boxes(box, (1024, 1024), 1024, faithful=False).tolist() == [[512, 512, 1024, 1024]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[SEG] and [BBOX].", ""),
        ("Sure, it is [SEG] and [BBOX]. the kidney filters blood", "The kidney filters blood"),
        ("It lies left. It is [SEG] and [BBOX]. It is bright.", "It lies left. It is bright."),
        ("", ""),
        ("[SEG] and [BBOX]. the\x1c liver\n\nis large", "The liver is large"),
    ],
)
def test_the_explanation_is_what_is_written_beside_the_candidates(text, words):
    assert explanation(text) == words


def test_only_candidates_after_the_question_count():
    ids = [1, 7, 8, -200, 5, 8, 7, 7, 2]
    assert candidate_places(ids, (7, 8), start=4) == (6, 5)
    assert candidate_places(ids, (7, 8), start=6) is None


def test_sizes_of_the_released_medsam_are_read_off_its_tensors():
    """SAM ViT-B of segment-anything, without memory: the published sizes, and a name for every tensor."""
    from segment_anything.build_sam import build_sam_vit_b
    from transformers import SamModel

    from napari_medreason.models.checkpoints import load_strictly
    from napari_medreason.models.segmenters.sam_released import configuration, converted

    with torch.device("meta"):
        tensors = build_sam_vit_b().state_dict()
        config = configuration(tensors)
        model = SamModel(config)
    vision = config.vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (768, 12, 12)
    assert (vision.image_size, vision.patch_size, vision.window_size) == (1024, 16, 14)
    assert vision.global_attn_indexes == [2, 5, 8, 11]
    assert config.mask_decoder_config.mlp_dim == 2048
    load_strictly(model, converted(tensors), what="SAM ViT-B")
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(93.7e6, rel=0.001)


def test_llava_med_at_full_size_has_the_published_numbers_of_weights():
    """Mistral-7B (7.24 billion with 32000 words) and CLIP ViT-L/14-336, without memory."""
    from transformers import CLIPVisionConfig, LlavaForConditionalGeneration

    from napari_medreason.models.llava_layout import LlavaWeights, llava_config

    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    tower = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    rows = {"model.embed_tokens.weight": torch.empty(32002, 4096, device="meta")}
    weights = LlavaWeights("LLaVA-Med", {**sizes, **heads}, tower, rows, ())
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(llava_config(weights))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.model.named_children()}
    assert count["language_model"] + 32002 * 4096 == 7_241_732_096 + 2 * 2 * 4096
    assert count["vision_tower"] == pytest.approx(303.5e6, rel=0.001)
    assert count["multi_modal_projector"] == 1024 * 4096 + 4096 + 4096 * 4096 + 4096


@given(
    st.tuples(st.integers(8, 80), st.integers(8, 80)),
    st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_a_box_comes_back_from_the_shares_of_the_picture(shape, spacing, numbers):
    plane = square_plane(shape, spacing)
    _, frame = isotropic_picture(plane)
    (x0, x1), (y0, y1) = sorted(numbers[:2]), sorted(numbers[2:])
    width, height = x1 * (shape[1] - 2) + 1, y1 * (shape[0] - 2) + 1
    box = (x0 * (shape[1] - 2), y0 * (shape[0] - 2), width + 0.5, height + 0.5)
    shares = box_shares(box, frame)
    assert shares[0] <= shares[2]
    assert shares[1] <= shares[3]
    found = box_in_plane(shares, frame)
    assert found is not None
    assert np.abs(np.subtract(found, box)).max() < 1.0 + 1e-6  # a box under one picture pixel grows to one


def test_a_box_beside_the_picture_is_none():
    _, frame = isotropic_picture(square_plane((20, 30), (1.0, 1.0)))
    assert box_in_plane((1.2, 0.1, 1.4, 0.3), frame) is None
    assert box_in_plane((0.0, 0.0, 29 / 30, 19 / 20), frame) == (0.0, 0.0, 30.0, 20.0)
    assert box_in_plane((-1.0, -1.0, 2.0, 2.0), frame) == (0.0, 0.0, 30.0, 20.0)
