"""What a configuration refuses before anything is trained: numbers that no run can have."""

import pytest

from napari_medreason.core.run_config import PRESETS, run_config
from napari_medreason.errors import RunError

TABLE = {"records": ["records.jsonl"], "images": "."}


@pytest.mark.parametrize(
    ("recipe", "table", "key", "value", "words"),
    [
        ("embedded", "embedded", "batch", 0, "embedded, batch: found 0; accepted is 1 or more"),
        ("embedded", "embedded", "replay", 7.0, "embedded, replay: found 7; accepted is 1 or less"),
        ("embedded", "embedded", "strength", -0.1, "strength: found -0.1; accepted is 0 or more"),
        ("sft", "sft", "at_once", 0, "sft, at_once: found 0; accepted is 1 or more"),
        ("grpo", "grpo", "group", 1, "grpo, group: found 1; accepted is 2 or more"),
        ("prs-med", "prs_med", "lora_dropout", 5.0, "lora_dropout: found 5; accepted is 1 or less"),
        ("embedded", "evaluation", "every_steps", 0, "every_steps: found 0; accepted is 1 or more"),
        ("embedded", "budget", "minutes", -1.0, "budget, minutes: found -1; accepted is 0 or more"),
    ],
)
def test_a_number_outside_of_its_limits_is_refused_by_name(recipe, table, key, value, words):
    with pytest.raises(RunError, match=words):
        run_config({**TABLE, "recipe": recipe, table: {key: value}}, "tune.toml")


def test_every_preset_is_within_the_limits():
    recipes = {"sft": "sft", "grpo": "grpo", "prs_med": "prs-med", "medisee": "medisee"}
    for table, recipe in recipes.items():
        for preset in PRESETS[table]:
            config = run_config({**TABLE, "recipe": recipe, table: {"preset": preset}}, "tune.toml")
            assert config.settings.preset == preset


def test_a_negative_seed_is_refused():
    with pytest.raises(RunError, match="seed: found -1; accepted is 0 or more"):
        run_config({**TABLE, "recipe": "embedded", "seed": -1}, "tune.toml")
