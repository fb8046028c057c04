"""Estimates of memory: beside what a tiny run really holds, what makes them larger, and the refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medreason.core.run_config import run_config
from napari_medreason.core.run_memory import (
    LLAVA_MED_7B,
    QWEN_7B,
    BaseSize,
    check_memory,
    kept_values,
    low_rank_weights,
    memory_estimate,
    training_bytes,
)
from napari_medreason.errors import RunError

TINY = BaseSize(text=0, words=0, vision=0, layers=3, hidden=128, inner=352, pair=32, vocabulary=300)


def config(recipe="embedded", **settings):
    table = {"recipe": recipe, "records": ["r.jsonl"], "images": "."}
    return run_config({**table, recipe.replace("-", "_"): settings}, "given")


def gigabytes(recipe, **settings):
    return training_bytes(config(recipe, **settings)) / 1e9


def test_the_embedded_model_fits_a_laptop_and_a_batch_that_does_not_is_refused():
    assert "are needed" in check_memory(config(), int(4e9))
    assert training_bytes(config(batch=40)) > training_bytes(config())
    with pytest.raises(RunError, match="smaller batch"):
        check_memory(config(), int(1e9))


@pytest.mark.parametrize(
    ("recipe", "preset", "low", "high"),
    [
        ("sft", "paper", 120, 170),
        ("sft", "one-gpu-4bit", 8, 24),
        ("grpo", "one-gpu-4bit", 8, 24),
        ("grpo", "one-gpu", 20, 48),
        ("prs-med", "one-gpu", 8, 24),
        ("medisee", "one-gpu", 8, 24),
        ("prs-med", "paper", 48, 96),
    ],
)
def test_presets_need_what_their_cards_have(recipe, preset, low, high):
    """What the presets promise: 24 GB for those in 4 bits, 48 GB for "one-gpu" of a reasoner."""
    assert low < gigabytes(recipe, preset=preset) < high


def test_word_rows_and_remembered_pictures_of_joint_training_count():
    """All rows of MediSee's words are trained in 32 bits: weights, gradient and two moments."""
    rows = training_bytes(config("medisee", words="all")) - training_bytes(
        config("medisee", words="candidates")
    )
    assert rows == 16 * LLAVA_MED_7B.words
    fixed = {"preset": "one-gpu", "train_encoder": False, "batch": 1}
    large, small = (memory_estimate(config("prs-med", size=size, **fixed)).values for size in (1024, 512))
    assert large - small > 0.75 * 256 * 4_194_304


@pytest.mark.parametrize(("recipe", "base"), [("grpo", QWEN_7B), ("medisee", LLAVA_MED_7B)])
def test_too_little_memory_is_refused_with_a_remedy(recipe, base):
    words = check_memory(config(recipe), int(1e13), base)
    assert "weights" in words
    with pytest.raises(RunError, match="one-gpu") as fault:
        check_memory(config(recipe), int(8e9), base)
    assert "\n" not in str(fault.value)


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(["4bit", "bf16", "fp32"]))
def test_more_answers_never_need_less(prompts, more, numbers):
    """Nor do wider numbers."""
    settings = {"preset": "one-gpu", "prompts": prompts, "numbers": numbers}
    one = memory_estimate(config("grpo", **settings))
    larger = memory_estimate(config("grpo", **{**settings, "prompts": prompts + more}))
    assert larger.total >= one.total
    assert larger.answers > one.answers
    wide = memory_estimate(config("grpo", **{**settings, "numbers": "fp32"}))
    assert wide.total >= one.total


@pytest.fixture
def language_model():
    transformers = pytest.importorskip("transformers")
    settings = transformers.Qwen2Config(
        hidden_size=TINY.hidden,
        intermediate_size=TINY.inner,
        num_attention_heads=8,
        num_key_value_heads=2,
        num_hidden_layers=TINY.layers,
        vocab_size=TINY.vocabulary,
        attn_implementation="sdpa",
    )
    return transformers.Qwen2ForCausalLM(settings)


def kept_by_autograd(model, tokens):
    """Bytes that a forward pass keeps for the backward pass, weights left out."""
    import torch

    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), value)  # held, so that no other takes its place
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(inputs_embeds=torch.randn(1, tokens, TINY.hidden))
    return sum(size for size, _ in kept.values())


def test_values_kept_are_about_those_that_autograd_keeps(language_model):
    measured = kept_by_autograd(language_model.train(), 200)
    assert 0.75 < kept_values(TINY, 200, 4, checkpointing=False) / measured < 1.35


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_with_checkpointing_every_layer_keeps_what_goes_into_it(language_model):
    """One whole layer comes back in the backward pass, where these hooks do not count it."""
    language_model.gradient_checkpointing_enable({"use_reentrant": False})
    language_model.config.use_cache = False
    measured = kept_by_autograd(language_model.train(), 200)
    inputs = 4 * 200 * TINY.layers * TINY.hidden
    assert inputs <= measured < kept_values(TINY, 200, 4, checkpointing=True)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_low_rank_adapter_has_as_many_weights_as_peft_makes(language_model):
    peft = pytest.importorskip("peft")
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    adapted = peft.get_peft_model(language_model, peft.LoraConfig(r=8, target_modules=list(targets)))
    trained = sum(value.numel() for value in adapted.parameters() if value.requires_grad)
    assert low_rank_weights(TINY, 8, targets) == trained
