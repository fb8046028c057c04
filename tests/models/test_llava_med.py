"""LLaVA-Med from LLaVA's own layout, at toy size, against a splice by hand."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.errors import CancelledError, NotEnoughMemoryError, WeightsError

from . import tiny_llava

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A LLaVA-Med folder and a CLIP folder, with the modules that were saved into them."""
    root = tmp_path_factory.mktemp("llava")
    parts = tiny_llava.write_llava(root / "llava-med")
    tower = tiny_llava.write_clip(root / "clip")
    return root / "llava-med", root / "clip", parts, tower


def load(folders, **options):
    from napari_medreason.models.llava_med import LlavaMed

    options = {"device": "cpu", "precision": "fp32", **options}
    return LlavaMed.load(folders[0], vision_tower=folders[1], **options)


@pytest.fixture(scope="module")
def llava(folders):
    return load(folders)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)


def by_hand(parts, tower, ids, pixels, image_tokens=16):
    """CLIP's last layer but one without its class token, through the projector, between the words."""
    import torch

    _, projector, mistral = parts
    with torch.no_grad():
        seen = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        assert seen.shape[1] == image_tokens
        at = ids.index(-200)
        words = mistral.model.embed_tokens
        spliced = torch.cat(
            [words(torch.tensor([ids[:at]])), projector(seen), words(torch.tensor([ids[at + 1 :]]))], dim=1
        )
        return mistral(inputs_embeds=spliced, output_hidden_states=True)


PROMPT = "[INST] <image>\nWhere is the liver? [/INST]"


@pytest.mark.parametrize("tower", ["stock", "checkpoint"])
def test_hidden_states_are_those_of_a_splice_by_hand(folders, picture, tower):
    llava = load(folders, tower=tower)
    ids, pixels = llava.token_ids(PROMPT), llava.pixels(picture)
    expected = by_hand(folders[2], folders[3] if tower == "stock" else folders[2][0], ids, pixels)
    expected = expected.hidden_states[-1][0]
    for _ in range(2):  # the second time the image's part is kept
        found = llava.hidden_states(ids, pixels)
        assert found.shape == (len(ids) + 15, 32)
        assert abs(found - expected).max() < 1e-5
    with_gradient = llava.states(*llava.embed(ids, pixels))[0]
    assert with_gradient.requires_grad
    assert abs(with_gradient.detach() - expected).max() < 1e-5


def test_generated_words_are_the_most_likely_ones_of_the_splice(folders, llava, picture):
    import torch

    ids, pixels = llava.token_ids(PROMPT), llava.pixels(picture)
    _, _, mistral = folders[2]
    known = list(ids)
    for _ in range(6):
        logits = by_hand(folders[2], folders[3], known, pixels).logits[0, -1]
        known.append(int(torch.argmax(logits)))
    heard = []
    for _ in range(2):
        heard.clear()
        new = llava.generate(ids, pixels, max_new_tokens=6, on_text=heard.append)
        assert new == known[len(ids) :][: len(new)]
        assert len(new) == 6 or new[-1] == 2
    assert "".join(heard).strip() == llava.text_of(new).strip()
    assert mistral is not None


def test_a_second_question_does_not_look_at_the_image_again(llava, picture):
    llava.forget_images()
    looked = []
    hook = llava.model.model.vision_tower.register_forward_hook(lambda *_: looked.append(1))
    pixels = llava.pixels(picture)
    first = llava.generate(llava.token_ids(PROMPT), pixels, max_new_tokens=4)
    llava.generate(llava.token_ids("[INST] <image>\nThe spine? [/INST]"), pixels, max_new_tokens=4)
    assert llava.generate(llava.token_ids(PROMPT), pixels, max_new_tokens=4) == first
    assert len(looked) == 1
    llava.generate(llava.token_ids(PROMPT), llava.pixels(255 - picture), max_new_tokens=4)
    assert len(looked) == 2
    hook.remove()


def test_a_full_gpu_lets_what_is_kept_of_images_go(llava, picture, monkeypatch):
    import torch

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ids, pixels = llava.token_ids(PROMPT), llava.pixels(picture)
    llava.generate(ids, pixels, max_new_tokens=1)
    assert list(llava._prefixes)
    monkeypatch.setattr(llava.model, "generate", full)
    with pytest.raises(NotEnoughMemoryError):
        llava.generate(ids, pixels, max_new_tokens=1)
    assert not list(llava._prefixes)


def test_cancel_stops_between_tokens_and_the_next_question_is_unharmed(llava, picture):
    ids, pixels = llava.token_ids(PROMPT), llava.pixels(picture)
    before = llava.generate(ids, pixels, max_new_tokens=5)
    asked = []

    def after_three_tokens():
        asked.append(1)
        return len(asked) >= 3

    with pytest.raises(CancelledError):
        llava.generate(ids, pixels, max_new_tokens=50, cancelled=after_three_tokens)
    assert len(asked) <= 5
    assert llava.generate(ids, pixels, max_new_tokens=5) == before


def test_binary_shards_give_the_same_network(folders, tmp_path, picture):
    tiny_llava.write_llava(tmp_path / "binary", binary=True)
    other = load((tmp_path / "binary", folders[1]))
    llava = load(folders)
    ids = llava.token_ids(PROMPT)
    assert (
        other.hidden_states(ids, other.pixels(picture)) == llava.hidden_states(ids, llava.pixels(picture))
    ).all()


def test_a_tower_is_read_with_and_without_its_prefix(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    from napari_medreason.models.llava_layout import read_tower

    prefix = "vision_model."
    saved = load_file(folders[1] / "model.safetensors")
    short = {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
    save_file(short, tmp_path / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in short.items()}, tmp_path / "old.safetensors")
    first, second = (
        read_tower((tmp_path / file,), "clip") for file in ("model.safetensors", "old.safetensors")
    )
    assert set(first) == set(second)
    assert len(first) == len(short)


def test_extra_tokens_get_the_next_ids_and_are_found_in_a_text(folders, picture):
    llava = load(folders, extra_tokens=("[SEG]", "[BBOX]"))
    words = len(tiny_llava.tiny_pieces())
    ids = llava.token_ids("[INST] <image>\nWhere? [/INST] [SEG] and [BBOX]. </s>")
    blank = llava.tokenizer.convert_tokens_to_ids("▁")
    at = ids.index(words)
    assert ids[at - 1] == blank
    assert ids[at : at + 5] == [words, blank, llava.tokenizer.convert_tokens_to_ids("▁and"), blank, words + 1]
    assert ids[-1] == 2
    rows = llava.model.get_input_embeddings().weight
    assert rows.shape[0] == words + 2
    assert abs(rows[words] - rows[:words].mean(dim=0)).max() < 1e-6
    assert llava.hidden_states(ids, llava.pixels(picture)).shape == (len(ids) + 15, 32)


def test_the_second_text_begins_as_a_text_of_its_own_without_a_start_token(llava):
    ids = llava.token_ids("[INST] <image>\nliver")
    pieces = llava.tokenizer.convert_ids_to_tokens([id_ for id_ in ids if id_ >= 0])
    assert ids.count(1) == 1
    assert pieces == ["<s>", "▁[INST]", "▁", "▁", "<0x0A>", "l", "i", "v", "e", "r"]
    assert llava.expanded_index(ids, ids.index(-200)) == 3
    assert llava.expanded_index(ids, ids.index(-200) + 1) == 3 + 16


def test_two_images_in_one_text_are_refused(llava):
    with pytest.raises(ValueError, match="2 images"):
        llava.token_ids("<image><image>")


def test_words_of_a_user_cannot_steer_the_prompt(llava):
    ids = llava.token_ids(llava.plain("a <image> b </s> c <s>"))
    assert -200 not in ids
    assert 2 not in ids
    assert ids.count(1) == 1


def test_describe_answers_any_question_in_words(llava, picture):
    heard = []
    answer = llava.describe(picture, "What is <image> this?", max_new_tokens=5, on_text=heard.append)
    assert answer == "".join(heard).strip()


def test_pictures_are_prepared_as_clip_does(picture):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from napari_medreason.models.llava_picture import clip_pixels

    processor = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    noise = np.random.default_rng(1).integers(0, 255, (5, 190, 3), np.uint8)
    for image in (picture, picture.transpose(1, 0, 2), noise, np.zeros((57, 91, 3), np.uint8) + 9):
        expected = processor(image, return_tensors="pt")["pixel_values"]
        assert abs(clip_pixels(image, 56, "centre_crop") - expected).max() < 1e-5


def test_a_picture_of_one_row_needs_little_memory():
    import tracemalloc

    from napari_medreason.models.llava_picture import clip_pixels

    tracemalloc.start()
    pixels = clip_pixels(np.full((1, 4000, 3), 99, np.uint8), 336, "centre_crop")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert pixels.shape == (1, 3, 336, 336)
    assert pixels.flatten(2).std(dim=2).max() == 0


def test_padding_shows_the_whole_picture_on_clips_mean_colour():
    from napari_medreason.models.llava_picture import clip_pixels

    tall = np.full((64, 31, 3), 255, np.uint8)
    pixels = clip_pixels(tall, 64, "pad")[0]
    assert abs(pixels[:, :, :16]).max() < 0.02  # half of 33 columns, rounded down
    assert (pixels[:, :, 16:47] > 1.9).all()
    assert abs(pixels[:, :, 47:]).max() < 0.02
    assert (clip_pixels(tall, 64, "pad") == clip_pixels(tall, 64, "pad")).all()


@pytest.mark.parametrize("precision", ["bf16", "int8", "4bit"])
def test_smaller_numbers_change_little(folders, llava, picture, precision):
    small = load(folders, precision=precision)
    ids = llava.token_ids(PROMPT)
    expected = llava.hidden_states(ids, llava.pixels(picture))
    found = small.hidden_states(ids, small.pixels(picture)).float()
    assert 0 < (found - expected).norm() / expected.norm() < (0.3 if precision == "4bit" else 0.05)
    assert "4bit" not in str(type(small.model.lm_head)).lower()
    assert small.generate(ids, small.pixels(picture), max_new_tokens=3)


# What can be wrong with a folder


@pytest.fixture
def copy(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "llava-med")
    return tmp_path / "llava-med", folders[1]


def change_config(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def shards(folder):
    return sorted(folder.glob("model-*.safetensors"))


def test_a_missing_shard_is_named(copy):
    shards(copy[0])[1].unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002.safetensors is missing from llava-med"):
        load(copy)


def test_a_truncated_shard_is_named(copy):
    file = shards(copy[0])[0]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model-00001-of-00002.safetensors holds .* cut off"):
        load(copy)


def test_missing_and_unexpected_weights_are_named(copy):
    from safetensors.torch import load_file, save_file

    name = "model.layers.0.mlp.up_proj.weight"
    file = next(file for file in shards(copy[0]) if name in load_file(file))
    tensors = load_file(file)
    tensors["model.surplus.weight"] = tensors.pop(name)
    save_file(tensors, file)
    new = name.replace("model.layers", "model.language_model.layers")
    with pytest.raises(WeightsError, match=rf"lacks 1 weight \({new}\).*unexpected 1 weight \(model.surplus"):
        load(copy)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model_type": "qwen2_5_vl"}, "'qwen2_5_vl'; LLaVA-Med v1.5"),
        ({"mm_projector_type": "linear"}, "projector 'linear'"),
        ({"num_hidden_layers": 1}, "unexpected 9 weights"),
        ({"hidden_size": 64}, "other shapes"),
    ],
)
def test_a_model_of_another_kind_is_refused(copy, settings, complaint):
    change_config(copy[0], **settings)
    with pytest.raises(WeightsError, match=complaint):
        load(copy)


def test_a_tower_of_another_kind_is_refused(copy, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(WeightsError, match="'dinov2'; a CLIP vision tower"):
        load((copy[0], tmp_path / "other"))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", tiny_llava.sentencepiece_model([("a", 0.0, 1)], kind=1)]
)
def test_an_unusable_tokenizer_is_told(copy, content):
    (copy[0] / "tokenizer.model").write_bytes(content)
    with pytest.raises(WeightsError, match="tokenizer of llava-med"):
        load(copy)


def test_a_fast_tokenizer_file_is_read_as_it_stands(folders, copy, llava):
    (copy[0] / "tokenizer.model").unlink()
    llava.tokenizer.backend_tokenizer.save(str(copy[0] / "tokenizer.json"))
    other = load(copy, extra_tokens=("[SEG]",))
    assert other.token_ids(PROMPT) == llava.token_ids(PROMPT)
    (copy[0] / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="tokenizer of llava-med can't be read"):
        load(copy)
    (copy[0] / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"neither tokenizer\.model nor tokenizer\.json"):
        load(copy)


def test_a_tokenizer_of_other_weights_is_told(copy):
    tiny_llava.write_tokenizer(copy[0], [*tiny_llava.tiny_pieces(), ("▁zebra", -999.0, 1)])
    words = len(tiny_llava.tiny_pieces())
    with pytest.raises(WeightsError, match=f"embeddings for {words} words.*has {words + 1}"):
        load(copy)


@given(st.binary(max_size=60), st.integers(0, 300), st.binary(max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_damaged_vocabulary_is_a_value_error_at_most(noise, at, patch):
    from napari_medreason.models.llava_tokenizer import read_pieces

    good = tiny_llava.sentencepiece_model([("<unk>", 0.0, 2), ("▁a", -1.5, 1), ("é", -2.0, 1)])
    assert read_pieces(good) == [("<unk>", 0.0, 2), ("▁a", -1.5, 1), ("é", -2.0, 1)]
    for content in (noise, good[:at], good[:at] + patch + good[at + len(patch) :]):
        try:
            pieces = read_pieces(content)
        except ValueError:
            continue
        assert pieces
        assert all(isinstance(piece.text, str) and piece.text for piece in pieces)


# Known answers


def cases():
    root = os.environ.get("MEDREASON_TEST_DATA")
    file = Path(root or "none").parent / "reference" / "cases" / "prompts_and_tokens.json"
    if not file.is_file():
        pytest.skip(
            "the known answers lie beside the folder named by MEDREASON_TEST_DATA, and it isn't there"
        )
    return json.loads(file.read_text())


MISTRAL_PIECES = {
    733: "▁[", 16289: "INST", 28793: "]", 28705: "▁", 28748: "/", 5919: "▁Please", 10424: "▁segment",
    304: "▁and", 22920: "▁locate", 272: "▁the", 1749: "▁left", 14966: "▁lung", 297: "▁in", 456: "▁this",
    3469: "▁image", 28723: ".", 842: "▁.", 6926: "▁Where", 349: "▁is", 24824: "▁liver", 28804: "?",
    6974: "which", 4693: "▁structure", 17123: "▁filters", 4242: "▁blood", 9421: "▁respond", 395: "▁with",
    352: "ation", 5934: "▁mask", 4723: "▁location", 3585: "▁bound", 288: "ing", 3890: "▁box", 28725: ",",
    7282: "▁explain", 2611: "▁reason", 12875: "▁Sure", 378: "▁it", 6371: "▁kid", 2705: "ney",
    10427: "▁lies", 3065: "▁near", 24496: "▁spine", 27332: "###", 1247: "▁User", 28747: ":", 14284: "▁tum",
    271: "or", 5651: "▁located", 12794: "▁scan", 21631: "▁Assistant", 1014: "The", 302: "▁of", 1830: "▁top",
    1136: "▁As", 264: "▁a", 6676: "▁doctor", 368: "▁you", 460: "▁are", 6252: "▁seeing", 2418: "▁Can",
    9051: "▁identify", 2840: "▁position", 1160: "▁pol", 1416: "yp", 4982: "▁center", 438: "▁at",
    5859: "▁bottom", 1103: "▁right",
}  # fmt: skip
"""Those pieces of Mistral's vocabulary that the known answers need, by their ids."""


def mistral_like_pieces():
    """A vocabulary of 32000 pieces in which these have Mistral's ids, and the rest is filling."""
    ranked = {text: score for text, score, _ in tiny_llava.words_pieces(set(MISTRAL_PIECES.values()))}
    pieces = [*tiny_llava.CONTROLS, *tiny_llava.byte_pieces()]
    others = iter([text for text in ranked if text not in MISTRAL_PIECES.values()])
    for id_ in range(len(pieces), 32000):
        text = MISTRAL_PIECES.get(id_) or next(others, None) or f"filling{id_}"
        pieces.append((text, ranked.get(text, -1e6), 1 if text in ranked else 5))
    return pieces


@pytest.fixture(scope="module")
def mistral_tokenizer(tmp_path_factory):
    from napari_medreason.models.llava_tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("mistral")
    tiny_llava.write_tokenizer(folder, mistral_like_pieces())
    return load_tokenizer(folder, ("[SEG]", "[BBOX]"))


def test_token_ids_of_both_systems_are_the_released_ones(mistral_tokenizer):
    from napari_medreason.models.llava_tokenizer import spliced_ids

    known = cases()
    assert len(mistral_tokenizer) == known["special"]["len"]
    for case in known["medisee"]:
        assert spliced_ids(mistral_tokenizer, case["conversation"]) == case["input_ids"]
    for case in known["prsmed"]:
        assert spliced_ids(mistral_tokenizer, case["train_text"]) == case["train_ids"]
        assert spliced_ids(mistral_tokenizer, case["inference_text"]) == case["inference_ids"]
