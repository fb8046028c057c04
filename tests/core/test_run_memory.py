"""Estimates of memory: what makes them larger and smaller, and the refusal."""

import pytest

from napari_medreason.core.run_config import run_config
from napari_medreason.core.run_memory import check_memory, training_bytes
from napari_medreason.errors import RunError

SEVEN_BILLION = 7_000_000_000


def config(recipe, **settings):
    table = {"recipe": recipe, "records": ["r.jsonl"], "images": "."}
    return run_config(table | {recipe: settings}, "given")


def test_four_bits_need_less_and_both_fit_a_24_gb_card():
    small, large = config("grpo", quantise=True), config("grpo")
    assert training_bytes(small, SEVEN_BILLION) < 12e9
    assert 14e9 < training_bytes(large, SEVEN_BILLION) < 24e9


def test_training_all_weights_of_a_large_model_is_refused_with_a_remedy():
    with pytest.raises(RunError, match=r"about 116\.0 GB .* quantise = true"):
        check_memory(config("grpo", lora_rank=0), int(24e9), SEVEN_BILLION)


def test_the_embedded_model_fits_a_laptop():
    assert "are needed" in check_memory(config("embedded"), int(4e9))
    with pytest.raises(RunError, match="smaller batch"):
        check_memory(config("embedded"), int(1e9))
