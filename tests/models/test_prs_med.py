"""PRS-Med from its released folder: weights, words, masks, and what is told of both."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import CancelledError, WeightsError
from napari_medreason.models.fit import RESERVE, Host, loading_for
from napari_medreason.models.llava_layout import read_llava
from napari_medreason.models.medisee.pictures import isotropic_picture
from napari_medreason.models.prs_med import PrsMed, load_prs_med
from napari_medreason.models.prs_med.decoder import MaskDecoder
from napari_medreason.models.prs_med.folder import find_folder, with_adapter
from napari_medreason.models.prs_med.network import PICTURE_BYTES, PrsMedNetwork, load_network
from napari_medreason.models.prs_med.pictures import encoder_input
from napari_medreason.models.prs_med.positions import position_check
from napari_medreason.models.prs_med.prompts import (
    RELEASED,
    WITH_ANSWER,
    AnswerStream,
    prompts_for,
    tidy,
    training_text,
)

from .tiny_prs_med import SIZE, write_prs_med


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The folders, and the modules whose weights are in them."""
    place = tmp_path_factory.mktemp("prs-med")
    return place, write_prs_med(place)


@pytest.fixture(scope="module")
def network(released):
    place = released[0]
    return load_network(
        find_folder(place / "llm_seg_3"), base=place / "base", vision_tower=place / "clip", device="cpu"
    )


def test_the_plan_counts_what_looks_at_the_picture(released):
    plans, place = [], released[0]
    with loading_for(Host(planned=plans.append)):
        load_network(find_folder(place / "llm_seg_3"), base=place / "base", vision_tower=place / "clip")
    assert len(plans) == 1
    assert plans[0].needed > PICTURE_BYTES + RESERVE["cpu"]


@pytest.fixture(scope="module")
def base_tensors(released):
    """LLaVA-Med's weights with the stock tower, as they are before the adapter."""
    return read_llava(released[0] / "base", vision_tower=released[0] / "clip").tensors


@pytest.fixture
def copied(released, tmp_path):
    """A copy of the PRS-Med folder that a test may damage; base and tower are those of `released`."""
    return shutil.copytree(released[0] / "llm_seg_3", tmp_path / "llm_seg_3")


def load(released, weights=None):
    place = released[0]
    return load_prs_med(
        weights=weights or place / "llm_seg_3",
        base=place / "base",
        vision_tower=place / "clip",
        device="cpu",
        size=SIZE,
        max_new_tokens=12,
    )


def model_of(network, **options):
    return PrsMed(network, size=SIZE, max_new_tokens=12, **options)


def with_bias(network, bias):
    """The same network, whose mask logits are all higher by nearly `bias`."""
    decoder = deepcopy(network.decoder)
    torch.nn.init.constant_(decoder.out_dec.bias, bias)
    return replace(network, decoder=decoder)


def plane_of(image, spacing=(1.0, 1.0)):
    volume = Volume(
        image[None].astype(np.float32), np.diag([spacing[1], spacing[0], 2.0, 1.0]), modality="MR"
    )
    return cut(volume, "axial", 0, Window(0, 100))


@pytest.fixture
def plane():
    image = np.random.default_rng(0).uniform(0, 100, (40, 60))
    return plane_of(image)


def ask(model, plane, text="Where is the tumor?", on_text=lambda text: None, cancelled=lambda: False):
    return model.ask(Question(text, plane), on_text=on_text, cancelled=cancelled)


@torch.no_grad()
def test_hidden_states_are_those_of_peft_on_the_bare_base(released, network):
    """The splice by hand: words, features of the adapted tower, words, through the adapted text model."""
    clip, projector, wrapped, *_ = released[1]
    language = network.language
    ids = language.token_ids(RELEASED.for_mask("Where is the tumor?"))
    pixels = language.pixels(np.random.default_rng(1).integers(0, 255, (50, 30, 3), np.uint8))
    mistral = wrapped.base_model.model
    seen = projector(clip(pixels, output_hidden_states=True).hidden_states[-2][:, 1:])
    words = mistral.model.embed_tokens(torch.tensor([[max(id_, 0) for id_ in ids]]))
    at = ids.index(-200)
    embeds = torch.cat([words[:, :at], seen, words[:, at + 1 :]], dim=1)
    expected = mistral.model(inputs_embeds=embeds).last_hidden_state
    assert torch.allclose(network.states(ids, pixels), expected, atol=1e-4)
    assert torch.allclose(language.hidden_states(ids, pixels)[None], expected, atol=1e-4)
    with wrapped.disable_adapter():
        bare = projector(clip(pixels, output_hidden_states=True).hidden_states[-2][:, 1:])
        without = mistral.model(inputs_embeds=torch.cat([words[:, :at], bare, words[:, at + 1 :]], dim=1))
    assert not torch.allclose(without.last_hidden_state, expected, atol=1e-2)


@torch.no_grad()
def test_the_mask_is_what_the_released_parts_give(released, network, plane):
    """A wide plane: the square that the encoder sees is stretched, and the mask is stretched back."""
    *_, encoder, decoder = released[1]
    answer = ask(model_of(network), plane)
    language = network.language
    picture, _ = isotropic_picture(plane)
    states = language.hidden_states(
        language.token_ids(RELEASED.for_mask("Where is the tumor?")), language.pixels(picture)
    )
    logits = decoder(encoder(encoder_input(picture, SIZE)), states[None])
    back = torch.nn.functional.interpolate(logits, (40, 60), mode="bilinear", align_corners=False)
    expected = (back[0, 0] > 0).numpy()
    assert 0 < expected.sum() < expected.size
    assert answer.status == "found"
    assert (answer.mask != expected).mean() < 0.002  # where the logit is 0 but for rounding
    y, x = np.nonzero(answer.mask)
    assert answer.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    assert all(answer.mask[int(py), int(px)] for px, py in answer.points)
    assert answer.confidence is None
    assert any("can't tell that a structure is not there" in note for note in answer.provenance.notes)


@pytest.mark.parametrize(
    ("version", "from_answer", "text"),
    [
        ("v5", False, "<image>\n### User: As a doctor, and you are seeing the image, Where is it?\n"),
        ("v5", True, "<image>\n### User: Where is it? \n### Assistant: \nTop left."),
        ("v6", False, "<image> \nWhere is it?"),
        ("paper", False, "<image>\n### User: As a doctor, and you are seeing the image, Where is it?\n"),
    ],
)
@torch.no_grad()
def test_each_decoder_reads_the_text_that_it_was_trained_on(
    network, plane, monkeypatch, version, from_answer, text
):
    changed = replace(network, decoder=MaskDecoder(version, hidden_size=32).eval())
    model, read, logits = model_of(changed, mask_from_answer=from_answer), [], PrsMedNetwork.logits
    monkeypatch.setattr(model, "_write", lambda *_: "Top left.")
    monkeypatch.setattr(
        PrsMedNetwork,
        "logits",
        lambda self, features, states: read.append(states) or logits(self, features, states),
    )
    answer = ask(model, plane, "Where is it?")
    language, (picture, _) = network.language, isotropic_picture(plane)
    expected = language.hidden_states(language.token_ids(text), language.pixels(picture))
    assert torch.allclose(read[0], expected[None], atol=1e-5)
    assert f"decoder {version}" in answer.provenance.notes


def test_words_are_streamed_and_deterministic(released, network, plane):
    pieces = []
    first = ask(model_of(network), plane, on_text=pieces.append)
    assert "".join(pieces) == first.reasoning
    again = load(released, released[0])
    assert ask(again, plane).reasoning == first.reasoning
    assert again.weights_sha256 == network.weights_sha256
    again.close()


def test_released_sampling_draws_words(network, plane):
    torch.manual_seed(0)
    answers = {ask(model_of(network, sampled=True), plane).reasoning for _ in range(4)}
    assert len(answers) > 1


def test_features_are_made_once_for_a_plane(network, plane, monkeypatch):
    model = model_of(network)
    calls, features = [], PrsMedNetwork.features
    monkeypatch.setattr(
        PrsMedNetwork, "features", lambda self, square: calls.append(1) or features(self, square)
    )
    first, second = ask(model, plane), ask(model, plane, "Where is the polyp?")
    assert calls == [1]
    assert first.mask is not second.mask
    ask(model, plane_of(np.ones((30, 30))))
    assert calls == [1, 1]


def test_coarse_rows_are_shown_undistorted_and_the_mask_comes_back(network):
    image = np.random.default_rng(0).uniform(0, 100, (20, 40))
    wide = plane_of(image, spacing=(2.0, 1.0))
    picture, _ = isotropic_picture(wide)
    assert picture.shape == (40, 40, 3)
    assert ask(model_of(network), wide).mask.shape == (20, 40)


@pytest.mark.parametrize("shape", [(1, 1), (2, 130)])
def test_small_and_narrow_planes_get_masks_of_their_own_shape(network, shape):
    answer = ask(model_of(with_bias(network, 1e3)), plane_of(np.ones(shape)))
    assert answer.mask.shape == shape
    assert answer.mask.all()


def test_no_mask_is_unknown_and_says_so(network, plane):
    answer = ask(model_of(with_bias(network, -1e3)), plane)
    assert (answer.status, answer.mask, answer.box, answer.points) == ("unknown", None, None, None)
    assert answer.answer.startswith("The model drew no mask, which says nothing about")


def test_faithful_masks_are_stretched_so_that_there_always_is_one(network, plane):
    low = with_bias(network, -8.0)
    assert ask(model_of(low), plane).status == "unknown"
    answer = ask(model_of(low, faithful=True), plane)
    assert answer.status == "found"
    assert 0 < answer.mask.sum() < answer.mask.size
    assert any("stretched" in note for note in answer.provenance.notes)


def test_a_mask_over_everything_is_compared_with_the_words(network, plane, monkeypatch):
    model = model_of(with_bias(network, 1e3))
    monkeypatch.setattr(model, "_write", lambda *_: "The tumor is at the center of the image.")
    answer = ask(model, plane)
    assert answer.mask.all()
    assert [check.passed for check in answer.checks] == [True]
    assert any(note.endswith("training data: center") for note in answer.provenance.notes)


def test_cancelled_between_tokens(network, plane):
    model = model_of(network)
    asked = iter([False] * 4)
    with pytest.raises(CancelledError):
        ask(model, plane, cancelled=lambda: next(asked, True))
    assert ask(model, plane).status == "found"


def test_hints_of_the_user_are_told_as_unused(network, plane):
    question = Question("Where?", plane, box=(1.0, 2.0, 9.0, 9.0))
    answer = model_of(network).ask(question, on_text=lambda text: None, cancelled=lambda: False)
    assert any("takes no box or points" in note for note in answer.provenance.notes)


def test_gradients_reach_every_part(network):
    ids = network.language.token_ids(RELEASED.for_mask("Where is the tumor?"))
    pixels = network.language.pixels(np.zeros((20, 20, 3), np.uint8))
    features = network.features(torch.randn(1, 3, SIZE, SIZE))
    network.logits(features, network.states(ids, pixels)).square().mean().backward()
    parts = {
        "text": network.language.model.model.language_model.layers[0].self_attn.q_proj.weight,
        "tower": network.language.model.model.multi_modal_projector.linear_1.weight,
        "encoder": network.encoder.backbone.patch_embed.conv1.conv.weight,
        "decoder": network.decoder.prompt_projection[0].weight,
    }
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts.values())
    for module in (network.language.model, network.encoder, network.decoder):
        module.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    "part", ["lora_adapter/adapter_config.json", "image_encoder.pth", "mask_decoder.pth"]
)
def test_missing_files_are_named(copied, part):
    (copied / part).unlink()
    with pytest.raises(WeightsError, match=part):
        find_folder(copied)


def test_the_last_of_several_epochs_is_taken(copied):
    shutil.copytree(copied, copied.parent / "llm_seg_13")
    (copied.parent / "notes").mkdir()
    assert find_folder(copied.parent).name == "llm_seg_13"
    assert find_folder(copied).name == "llm_seg_3"
    with pytest.raises(WeightsError, match="is no PRS-Med folder"):
        find_folder(copied.parent / "notes")


def test_what_a_question_says_is_not_taken_for_a_place_in_the_prompt():
    prompt = WITH_ANSWER.for_mask("Is {answer} or {question} seen?", "In the left lung.")
    assert "Is {answer} or {question} seen?" in prompt
    assert prompt.endswith("In the left lung.")


@pytest.mark.parametrize("name", ["llm_seg_13", "epoch_13"])
def test_an_epoch_that_is_not_whole_is_not_taken_for_the_last(copied, name):
    shutil.copytree(copied, copied.parent / name)
    assert find_folder(copied.parent).name == name
    (copied.parent / name / "lora_adapter" / "adapter_config.json").unlink()
    assert find_folder(copied.parent).name == "llm_seg_3"


def test_the_tokenizer_may_be_beside_the_adapter_or_be_that_of_the_base(copied):
    (copied / "tokenizer" / "tokenizer.model").rename(copied / "lora_adapter" / "tokenizer.model")
    assert find_folder(copied).tokenizer == copied / "lora_adapter"
    (copied / "lora_adapter" / "tokenizer.model").unlink()
    assert find_folder(copied).tokenizer is None


def change_adapter(folder, change):
    file = folder / "lora_adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


QUERY = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({f"{QUERY.replace('.1.', '.7.')}.lora_A.weight": torch.zeros(4, 32)}),
            r"changes 1 layers that LLaVA-Med does not have \(model\.layers\.7\.self_attn\.q_proj",
        ),
        (lambda t: t.pop(f"{QUERY}.lora_B.weight"), r"model\.layers\.1\.self_attn\.q_proj .*is incomplete"),
        (lambda t: t.update({f"{QUERY}.lora_B.weight": torch.zeros(8, 4)}), "another shape"),
        (lambda t: t.update({"score.weight": torch.zeros(2)}), r"no such pair \(score\.weight"),
        (lambda t: t[f"{QUERY}.lora_A.weight"].fill_(torch.nan), "not numbers"),
    ],
)
def test_an_adapter_that_is_not_used_up_is_refused(base_tensors, copied, change, message):
    change_adapter(copied, change)
    with pytest.raises(WeightsError, match=message):
        with_adapter(base_tensors, find_folder(copied))


@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("peft_type", "IA3"), ("lora_alpha", None)])
def test_adapters_of_another_kind_are_refused(base_tensors, copied, key, value):
    file = copied / "lora_adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(WeightsError, match=key if value else "no readable settings"):
        with_adapter(base_tensors, find_folder(copied))


def test_damaged_and_foreign_weights_are_refused(released, copied):
    (copied / "mask_decoder.pth").write_bytes((copied / "mask_decoder.pth").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"mask_decoder\.pth"):
        load(released, copied)
    with pytest.raises(WeightsError, match="is no PRS-Med folder"):
        load(released, released[0] / "base")
    with pytest.raises(WeightsError, match="not a folder"):
        load(released, released[0] / "nowhere")


def test_a_decoder_for_another_language_model_is_refused(released, copied):
    torch.save(MaskDecoder("v5", hidden_size=48).state_dict(), copied / "mask_decoder.pth")
    with pytest.raises(WeightsError, match=r"reads hidden states of 48 numbers, base has 32"):
        load(released, copied)


def test_values_that_are_no_numbers_end_in_one_line(network, plane):
    with pytest.raises(WeightsError, match=r"not numbers \(NaN\)"):
        ask(model_of(with_bias(network, float("nan"))), plane)


def test_the_released_lora_alone_is_no_adapter(network, copied):
    with pytest.raises(WeightsError, match=r"holds no adapter\.json"):
        model_of(network).load_adapter(copied)


def test_texts_are_the_released_ones(real_data):
    file = real_data.parent / "reference" / "cases" / "prompts_and_tokens.json"
    if not file.is_file():
        pytest.skip("known answers of the released code are not beside the real test images")
    for case in json.loads(file.read_text(encoding="utf-8"))["prsmed"]:
        question = case["question"]
        assert training_text(question, case["answer"]) == case["train_text"]
        assert prompts_for("v5").for_words(question) == case["inference_text"]
        assert prompts_for("v5").for_mask(question) == case["inference_text"]
        assert prompts_for("v6").for_mask(question) == case["unused_prompt_text"]


def test_the_mask_may_be_made_from_the_answer():
    prompts = prompts_for("v5", mask_from_answer=True)
    assert prompts.for_mask("Where?", "Top left.") == training_text("Where?", "Top left.")


GENERATED = "\n### Assistant: \nIt is at the\ntop left.\n### User: And the liver?\n### Assistant: No."


def test_answers_end_where_the_next_turn_begins():
    assert tidy(GENERATED) == "It is at the top left."
    assert tidy("At the\0 top\tleft.\x1b[31m") == "At the top left. [31m"
    told = []
    stream = AnswerStream(told.append)
    ends = []
    for letter in GENERATED:
        stream(letter)
        ends.append(stream.ended)
    assert stream.finish() == "".join(told) == "It is at the top left."
    assert GENERATED[: ends.index(True) + 1].endswith("### User:")
    assert "#" not in "".join(told)


def test_a_number_sign_in_an_answer_is_told():
    told = []
    stream = AnswerStream(told.append)
    for piece in ("Level ", "#", "2", " is affected"):
        stream(piece)
    assert stream.finish() == "".join(told) == "Level #2 is affected"
    assert not stream.ended


def blob(x, y, shape=(100, 100)):
    mask = np.zeros(shape, bool)
    mask[y - 4 : y + 4, x - 4 : x + 4] = True
    return mask


@pytest.mark.parametrize(
    ("text", "mask", "passed"),
    [
        ("The tumor is in the top left of the image.", blob(20, 15), True),
        ("The tumor is in the bottom right of the image.", blob(20, 15), False),
        ("It is near the center, at the bottom right.", blob(58, 58), True),
        ("It is near the center, at the bottom right.", blob(90, 90), False),
        ("It lies far from the center.", blob(90, 10), True),
        ("It is at the top left, upper right.", blob(20, 15), False),
    ],
)
def test_text_and_mask_are_compared(text, mask, passed):
    check = position_check(text, mask, 3)
    assert (check.name, check.passed) == ("position", passed)
    if not passed:
        assert "of the image" in check.words


def test_texts_without_a_place_in_the_image_are_not_compared():
    assert position_check("A polyp.", blob(20, 20), 0) is None
    assert position_check("It is in the left lung.", blob(20, 20), 0) is None
    assert position_check("top left", np.zeros((9, 9), bool), 0) is None
