"""MediSee end to end on a plane, at toy size, from the layout of its released checkpoint."""

import gc
import os
import weakref

import numpy as np
import pytest

from napari_medreason.core.question import Question
from napari_medreason.errors import (
    CancelledError,
    ModelUnavailableError,
    NotEnoughMemoryError,
    WeightsError,
)
from napari_medreason.models.base import GroundingModel
from napari_medreason.models.fit import FreeMemory
from napari_medreason.models.medisee import load_medisee
from napari_medreason.models.medisee.model import BESIDE_BYTES

from . import tiny_llava, tiny_medisee

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of the checkpoint, of LLaVA-Med and of CLIP, and the SAM and heads that were saved."""
    root = tmp_path_factory.mktemp("medisee")
    parts = tiny_medisee.write_medisee(root / "medisee")
    tiny_llava.write_llava(root / "llava-med")
    tiny_llava.write_clip(root / "clip")
    return root, parts


def load(root, weights="medisee", **options):
    options = {"device": "cpu", "precision": "fp32", "max_new_tokens": 8, **options}
    weights = weights if isinstance(weights, os.PathLike) else root / weights
    return load_medisee(weights=weights, base=root / "llava-med", vision_tower=root / "clip", **options)


@pytest.fixture(scope="module")
def medisee(folders):
    return load(folders[0])


def ask(
    model, asked, text="Which organ filters blood?", *, on_text=lambda text: None, cancelled=lambda: False
):
    question = asked if isinstance(asked, Question) else Question(text, asked)
    return model.ask(question, on_text=on_text, cancelled=cancelled)


@pytest.fixture
def plane(make_plane):
    return make_plane((10, 10, 30, 30))


def says(model, monkeypatch, words):
    """Lets the text part write these words."""
    llava = model._network.llava
    before = "[INST] where? [/INST]"
    ids = llava.token_ids(before + words)[len(llava.token_ids(before)) :]

    def generate(*_, on_text, **__):
        on_text(words)
        return ids

    monkeypatch.setattr(llava, "generate", generate)


def box_drawn(answer):
    note = next(note for note in answer.provenance.notes if note.startswith("proposed box"))
    return tuple(float(value) for value in note.partition("[")[2].rstrip("]").split(","))


def test_an_answer_has_mask_box_points_and_says_what_the_system_cannot(medisee, plane):
    assert isinstance(medisee, GroundingModel)
    answer = ask(medisee, plane)
    assert answer.provenance.model == "medisee"
    assert len(answer.provenance.weights_sha256) == 64
    assert any("can't tell that a structure is not there" in note for note in answer.provenance.notes)
    if answer.status == "found":
        rows, columns = np.nonzero(answer.mask)
        assert answer.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert all(answer.mask[int(y), int(x)] for x, y in answer.points)
    else:
        assert answer.status == "unknown"
        assert answer.answer.startswith("No mask could be drawn")


def test_own_words_are_shown_without_the_candidates(medisee, plane, monkeypatch):
    says(medisee, monkeypatch, " Sure, it is [SEG] and [BBOX]. the kidney filters blood.")
    heard = []
    answer = ask(medisee, plane, on_text=heard.append)
    assert "".join(heard) == " Sure, it is mask and box. the kidney filters blood."
    assert not any("canned" in note for note in answer.provenance.notes)
    assert not answer.provenance.templated
    if answer.status == "found":
        assert answer.answer == "The kidney filters blood."


def test_a_missing_candidate_is_read_from_the_canned_answer_and_told(medisee, plane, monkeypatch):
    says(medisee, monkeypatch, " It is [SEG]. the liver")
    partly = ask(medisee, plane)
    says(medisee, monkeypatch, " the liver")
    without = ask(medisee, plane)
    assert any("lacks [BBOX]," in note for note in partly.provenance.notes)
    assert any("lacks [SEG] and [BBOX]," in note for note in without.provenance.notes)
    assert box_drawn(partly) == box_drawn(without)


def test_the_canned_answer_alone_gives_what_the_same_words_would(folders, medisee, plane, monkeypatch):
    says(medisee, monkeypatch, " [SEG] and [BBOX].")
    written = ask(medisee, plane)
    silent = load(folders[0], explain=False)
    heard = []
    canned = ask(silent, plane, on_text=heard.append)
    assert heard == []
    assert canned.provenance.templated
    assert box_drawn(canned) == box_drawn(written)
    assert canned.status == written.status
    assert canned.mask is None or (canned.mask == written.mask).all()
    assert any("canned answer was put in" in note for note in canned.provenance.notes)


TURN = (
    "<image>\nwhich organ filters blood? "
    "Please answer with a segmentation mask and a location box, and explain why."
)


def proposal_by_hand(llava, heads, pixels):
    """Corners as shares of the picture, and the text prompt, from the states before the candidates."""
    import torch

    ids, words = llava.token_ids(f"[INST] {TURN} [/INST] [SEG] and [BBOX]."), len(tiny_llava.tiny_pieces())
    states = llava.states(*llava.embed(ids, pixels))[0]
    seg, bbox = (states[ids.index(token) + 15 - 1][None] for token in (words, words + 1))
    both = torch.cat([bbox, seg], dim=-1)
    gates = [torch.sigmoid(router.gate(both)) for router in (heads.router_seg, heads.router_box)]
    fused = [(gate[:, :1] * bbox + gate[:, 1:] * seg) / gate.sum() for gate in gates]
    cx, cy, w, h = heads.bbox_decoder(fused[1])[0].tolist()
    return (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), heads.text_hidden_fcs[0](fused[0])


def logits_by_hand(sam, picture, box, text, resized):
    """With the modules of segment-anything: resize, pad, box and text as prompts, cut, resize back."""
    import torch
    from PIL import Image
    from torch.nn.functional import interpolate

    rows, columns = resized
    small = np.array(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR), np.float32)
    image = torch.zeros(1, 3, 64, 64)
    image[0, :, :rows, :columns] = (torch.from_numpy(small).permute(2, 0, 1) - sam.pixel_mean) / sam.pixel_std
    sparse, dense = sam.prompt_encoder(points=None, boxes=torch.tensor([box]), masks=None)
    low, _ = sam.mask_decoder(
        image_embeddings=sam.image_encoder(image),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=torch.cat([sparse, text[:, None]], dim=1),
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    large = interpolate(low, (64, 64), mode="bilinear", align_corners=False)[..., :rows, :columns]
    return interpolate(large, picture.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize(("faithful", "scale"), [(True, (64, 64)), (False, (64, 43))])
def test_mask_and_box_equal_those_computed_by_hand(folders, plane, faithful, scale):
    """Every step again with the modules that were saved; 60 x 40 pixels take 64 x 43 of SAM's 64 x 64."""
    import torch

    from napari_medreason.models.medisee.network import Hints

    root, (sam, heads) = folders
    network = (model := load(root, explain=False, faithful=faithful))._network
    grey = np.rint(np.clip(plane.image, 0, 100) * 2.55).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    pixels = network.llava.pixels(picture, "centre_crop" if faithful else "pad")
    with torch.no_grad():
        shares, text = proposal_by_hand(network.llava, heads, pixels)
        expected = logits_by_hand(sam, picture, np.multiply(shares, 2 * scale).tolist(), text, (43, 64))
    proposal = network.propose(network.canned(TURN), pixels)
    assert abs(network.draw(proposal, network.embed(picture), Hints()) - expected).max() < 1e-4
    answer = ask(model, plane)
    assert (answer.status == "found") == bool((expected > 0).any())
    mask = np.zeros_like(expected, bool) if answer.mask is None else answer.mask
    assert not (mask != (expected > 0))[abs(expected) > 1e-3].any()
    pixels = np.multiply(shares, (60, 40, 60, 40)) + np.array((0, 0, 1, 1))
    cut = np.clip(pixels, 0, (60, 40, 60, 40))
    assert box_drawn(answer) == pytest.approx(cut, abs=0.051)


def test_released_conventions_are_told_where_they_matter(folders, plane, make_plane):
    told = "conventions of the released weights"
    square = make_plane((10, 10, 30, 30), shape=(48, 48))
    faithful, sound = load(folders[0], explain=False), load(folders[0], explain=False, faithful=False)
    assert any(told in note for note in ask(faithful, plane).provenance.notes)
    assert not any(told in note for note in ask(faithful, square).provenance.notes)
    assert not any(told in note for note in ask(sound, plane).provenance.notes)
    assert box_drawn(ask(faithful, square)) == box_drawn(ask(sound, square))


def test_rows_of_another_height_are_seen_undistorted(folders, make_plane):
    """A plane with 2 mm rows is the same picture as one with 1 mm rows of twice the number."""
    model = load(folders[0], explain=False)
    flat = make_plane((16, 12, 40, 16), shape=(30, 60), spacing=(2.0, 1.0))
    pictured = ask(model, flat)
    x0, y0, x1, y1 = box_drawn(pictured)
    assert 0 <= x0 < x1 <= 60
    assert 0 <= y0 < y1 <= 30
    assert pictured.mask is None or pictured.mask.shape == (30, 60)


def test_a_drawn_box_takes_the_place_of_the_proposed_one(medisee, plane):
    drawn = ask(medisee, Question("Where?", plane, box=(5.0, 5.0, 20.0, 25.0)))
    other = ask(medisee, Question("Where?", plane, box=(30.0, 10.0, 55.0, 35.0)))
    both = ask(medisee, Question("Where?", plane, box=(30.0, 10.0, 55.0, 35.0), points=((40.0, 20.0),)))
    for answer in (drawn, other, both):
        assert any("that the user drew" in note for note in answer.provenance.notes)
    assert ask(medisee, Question("Where?", plane, points=((40.0, 20.0),))).status in ("found", "unknown")


def test_a_second_question_on_a_plane_looks_at_no_image_again(medisee, plane, make_plane):
    looked = []
    network = medisee._network
    parts = network.llava.model.model.vision_tower, network.sam.vision_encoder
    hooks = [part.register_forward_hook(lambda *_: looked.append(1)) for part in parts]
    ask(medisee, make_plane((3, 3, 9, 9)))
    assert len(looked) == 2
    ask(medisee, make_plane((3, 3, 9, 9)), "Where is the spine?")
    assert len(looked) == 2
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("calls", [1, 3, 6])
def test_cancel_is_heard_at_every_stage(medisee, plane, calls):
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) >= calls

    with pytest.raises(CancelledError):
        ask(medisee, plane, cancelled=cancelled)
    assert len(asked) <= calls + 2


def test_cancel_is_heard_between_the_layers_of_both_networks(folders, plane, monkeypatch):
    monkeypatch.setattr("napari_medreason.models.reasoners.listening.CANCEL_SECONDS", 0.0)
    model, reached = load(folders[0], explain=False), []
    network = model._network
    parts = {"words": network.llava.model.model.language_model, "image": network.sam.vision_encoder}
    for name, part in parts.items():
        part.layers[0].register_forward_hook(lambda *_, name=name: reached.append(name))
    for name in parts:
        reached.clear()
        with pytest.raises(CancelledError):
            ask(model, plane, cancelled=lambda name=name: name in reached)
        assert reached[-1] == name
    assert ask(model, plane).status in ("found", "unknown")


def test_close_gives_the_networks_back(folders, plane):
    model = load(folders[0])
    ask(model, plane)
    networks = [weakref.ref(part) for part in (model._network.llava.model, model._network.sam)]
    model.close()
    gc.collect()
    assert not any(network() for network in networks)


@pytest.mark.parametrize("spelling", ["old", "merged"])
def test_all_spellings_of_the_checkpoint_give_the_same_answer(folders, plane, tmp_path, spelling):
    root, _ = folders
    tiny_medisee.write_medisee(tmp_path / "other", spelling=spelling, files=1)
    first, second = (
        load(root, explain=False),
        load(root, tmp_path / "other" / "pytorch_model-1.bin", explain=False),
    )
    answers = [ask(model, plane) for model in (first, second)]
    assert box_drawn(answers[0]) == box_drawn(answers[1])
    weights = [
        model._network.llava.model.model.language_model.layers[1].self_attn.v_proj.weight
        for model in (first, second)
    ]
    assert abs(weights[0] - weights[1]).max() < 1e-6


def test_smaller_numbers_answer_too(folders, plane):
    model = load(folders[0], precision="4bit", max_new_tokens=2)
    assert "4bit" in type(model._network.llava.model.model.language_model.layers[0].mlp.up_proj).__name__
    assert ask(model, plane).status in ("found", "unknown")


def test_a_checkpoint_without_a_tower_takes_the_stock_one(folders, plane, tmp_path):
    def without_tower(named):
        for name in [name for name in named if ".vision_tower." in name]:
            del named[name]

    tiny_medisee.write_medisee(tmp_path / "other", changed=without_tower)
    assert ask(load(folders[0], tmp_path / "other", explain=False), plane).grid == plane.grid


# What can be wrong


def without(*parts):
    def change(named):
        for name in [name for name in named if any(part in name for part in parts)]:
            del named[name]

    return change


def not_a_number(part):
    def change(named):
        name = next(name for name in named if part in name)
        named[name][..., 0] = float("nan")

    return change


def surplus(named):
    import torch

    named["base_model.model.model.surplus.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            without("router_", "bbox_decoder", "text_hidden"),
            "no MediSee checkpoint: it has neither routers nor",
        ),
        (without("visual_model"), "no MediSee checkpoint: it has routers and heads and no MedSAM"),
        (
            without("layers.1.mlp.up_proj"),
            r"lacks 1 weight \(model.language_model.layers.1.mlp.up_proj.weight\)",
        ),
        (without("router_box.gate.2.bias"), r"heads in other .*lacks 1 weight \(router_box.gate.2.bias\)"),
        (without("mask_decoder.iou_token"), r"MedSAM in other .*lacks 1 weight \(mask_decoder.iou_token"),
        (without("q_proj.lora_B"), "LoRA of model.layers.0.self_attn.q_proj of other is incomplete"),
        (surplus, r"unexpected 1 weight \(model.surplus.weight\)"),
        (
            not_a_number("router_seg.gate.0.weight"),
            "router_seg.gate.0.weight in other holds values that are not",
        ),
    ],
)
def test_another_checkpoint_is_refused_by_name(folders, tmp_path, changed, complaint):
    tiny_medisee.write_medisee(tmp_path / "other", changed=changed)
    with pytest.raises(WeightsError, match=complaint):
        load(folders[0], tmp_path / "other")


def test_nothing_stays_loaded_after_a_fault(folders, tmp_path):
    from transformers import LlavaForConditionalGeneration, SamModel

    def living():
        gc.collect()
        return sum(type(one) in (SamModel, LlavaForConditionalGeneration) for one in gc.get_objects())

    tiny_medisee.write_medisee(tmp_path / "other", changed=without("layers.1.mlp.up_proj"))
    before = living()
    with pytest.raises(WeightsError):
        load(folders[0], tmp_path / "other")
    assert living() == before


def test_device_and_precision_are_planned_where_none_is_named(folders, plane):
    from napari_medreason.models.fit import Host, loading_for

    plans = []
    with loading_for(Host(planned=plans.append)):
        model = load(folders[0], device=None, precision=None, explain=False)
    assert len(plans) == 1
    assert plans[0].fits
    assert plans[0].needed > BESIDE_BYTES
    assert ask(model, plane).status in ("found", "unknown")


def test_what_does_not_fit_is_told_before_the_checkpoint_is_read(folders, monkeypatch):
    from napari_medreason.models import placing
    from napari_medreason.models.medisee import checkpoint

    room = FreeMemory("cpu", BESIDE_BYTES, BESIDE_BYTES)
    monkeypatch.setattr(placing, "free_memory", lambda *_, **__: room)
    monkeypatch.setattr(checkpoint, "read_checkpoint", None)
    with pytest.raises(NotEnoughMemoryError, match="needs about"):
        load(folders[0], device=None, precision=None)


def test_weights_that_are_not_numbers_are_told_at_the_first_question(folders, plane, tmp_path):
    tiny_medisee.write_medisee(tmp_path / "other", changed=not_a_number("layers.0.mlp.up_proj"))
    model = load(folders[0], tmp_path / "other", explain=False)
    with pytest.raises(WeightsError, match="not numbers"):
        ask(model, plane)


def test_a_truncated_file_and_an_empty_folder_are_told(folders, tmp_path):
    tiny_medisee.write_medisee(tmp_path / "other")
    file = tmp_path / "other" / "pytorch_model-2.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"pytorch_model-2.bin holds .* cut off"):
        load(folders[0], tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="empty holds no weight files"):
        load(folders[0], tmp_path / "empty")


def test_plain_llava_med_is_no_medisee(folders):
    with pytest.raises(WeightsError, match="no MediSee checkpoint"):
        load(folders[0], "llava-med")


def test_a_prompt_file_needs_both_places(folders, tmp_path):
    (tmp_path / "prompt.txt").write_text("{question}")
    with pytest.raises(ModelUnavailableError, match="once each"):
        load(folders[0], prompt=tmp_path / "prompt.txt")
