"""GRPO of a reasoner: the paper's settings, rewards and advantages, resumption, and what is told of it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trl")

import torch

from napari_medreason.core.run_config import run_config
from napari_medreason.core.run_recipes_reasoning import GRPO_PRESETS, GrpoRecipe
from napari_medreason.errors import RunError
from napari_medreason.models.adapter_card import read_adapter_card
from napari_medreason_training import run_command
from napari_medreason_training.reasoning import base_model, grpo, rewarding, tuning
from napari_medreason_training.reasoning.rewarding import Reward
from napari_medreason_training.rewards import score

from . import reasoner_runs

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

TRUTH = json.dumps({"bbox_2d": [10, 10, 50, 60], "point_2d": [[20, 20], [40, 50]]})
PERFECT = (
    '<think>It is here.</think><answer>{"bbox": [10, 10, 50, 60], "points_1": [20, 20], '
    '"points_2": [40, 50]}</answer>'
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return reasoner_runs.make_place(tmp_path_factory.mktemp("reasoner"))


@pytest.fixture
def letters_paid(monkeypatch):
    """An untrained model earns nothing, so that its letters are paid too."""

    def paid(text, truth, variant="soft", *, sound=False):
        terms = score(text, truth, variant, sound=sound)
        return {**terms, "score": terms["score"] + len(text) / 10}

    monkeypatch.setattr(rewarding, "score", paid)


def recipe_of(preset):
    table = {"recipe": "grpo", "records": ["r"], "images": ".", "grpo": {"preset": preset}}
    return run_config(table, "test").grpo


def tuning_of(place, folder, **options):
    file = reasoner_runs.config_file(place, folder.name, "grpo", **options)
    writer = reasoner_runs.writer_of(file, folder)
    base = base_model.base_model("tiny", place)
    data = tuning.reasoner_data(writer.config, base, reasoner_runs.records_of(file), place)
    return grpo.GrpoTuning(writer, data)


def test_the_papers_settings_reach_trl():
    found = grpo.options_of_paper(recipe_of("paper"))
    wanted = {
        "num_generations": 16,
        "beta": 0.01,
        "epsilon": 0.2,
        "epsilon_high": 0.2,
        "delta": 3.0,
        "temperature": 1.0,
        "top_p": 1.0,
        "loss_type": "dapo",
        "num_iterations": 1,
        "max_completion_length": 2048,
        "per_device_train_batch_size": 1,
        "steps_per_generation": 128 * 16,
        "gradient_accumulation_steps": 64 * 16,
    }
    assert {name: found[name] for name in wanted} == wanted
    paper = recipe_of("paper")
    assert (paper.learning_rate, paper.weight_decay, paper.gradient_clip) == (1e-6, 0.01, 1.0)
    assert (paper.advantage_floor, paper.reward, paper.epochs) == (1e-6, "soft", 5.0)


@pytest.mark.parametrize("preset", sorted(GRPO_PRESETS))
def test_every_preset_can_be_shared_out_on_one_process(preset):
    made = recipe_of(preset)
    grpo._check_rounds(made)
    assert made.numbers != "4bit" or made.trained == "low-rank"


@given(st.lists(st.floats(0, 8), min_size=8, max_size=8), st.sampled_from([0.0, 1e-6, 1e-4, 0.5]))
@settings(max_examples=50, deadline=None)
def test_advantages_are_those_of_the_paper_with_any_floor(rewards, floor):
    values = torch.tensor(rewards, dtype=torch.float64)
    differences = (values.view(2, 4) - values.view(2, 4).mean(1, keepdim=True)).view(-1)
    found = grpo.scaled(differences, 4, floor)
    for start in (0, 4):
        group = values[start : start + 4]
        if group.std() > 1e-5:
            wanted = (group - group.mean()) / (group.std() + floor)
            assert torch.allclose(found[start : start + 4], wanted, rtol=1e-6)


@pytest.mark.parametrize("floor", [0.0, 1e-6, 0.5])
def test_a_group_of_equal_rewards_teaches_nothing(floor):
    rewards = torch.full((16,), 2.7) + 1e-7 * torch.arange(16)
    assert not grpo.scaled(rewards - rewards.mean(), 16, floor).any()


@pytest.mark.parametrize("variant", ["soft", "hard", "base", "base_as_released"])
def test_each_term_refusals_and_broken_form_are_told(variant):
    told = {}
    texts = [PERFECT, PERFECT.replace("50]}", "50}"), "I can not tell.", PERFECT.replace("10, 10", "60, 10")]
    reward = Reward(GrpoRecipe(reward=variant, sound=True))
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    found = reward(completions, [TRUTH] * 4, told.__setitem__, prompts=None)
    assert found == [score(text, TRUTH, variant, sound=True)["score"] for text in texts]
    assert told["format rate"] == 0.25
    assert told["refusal rate"] == 0.5
    terms = set(score(PERFECT, TRUTH, variant)) - {"score"}
    assert {name for name in told if name.startswith("reward ")} == {f"reward {name}" for name in terms}


def test_a_reward_that_is_no_number_counts_nothing():
    text = PERFECT.replace("[20, 20]", "[NaN, 20]")
    assert score(text, TRUTH, "soft")["score"] != score(text, TRUTH, "soft")["score"]
    reward = Reward(GrpoRecipe())
    assert reward([[{"content": text}]], [TRUTH], lambda name, value: None) == [0.0]


@pytest.mark.usefixtures("letters_paid")
def test_answers_in_parts_make_the_same_step_as_all_at_once(place, tmp_path):
    found = []
    for name, at_once in (("whole", 8), ("parts", 2)):
        recipe = tuning_of(place, tmp_path / name, at_once=at_once)
        torch.manual_seed(5)
        found.append(recipe.step(1))
    assert found[0]["reward spread"] > 0
    assert found[0]["reward"] == found[1]["reward"]
    assert found[0]["gradient"] == pytest.approx(found[1]["gradient"], rel=1e-3)


@pytest.mark.usefixtures("letters_paid")
@pytest.mark.parametrize("trained", ["all", "low-rank"])
def test_checkpointing_is_on_also_after_answers_were_drawn(place, tmp_path, trained):
    recipe = tuning_of(place, tmp_path / "run", checkpointing=True, trained=trained)
    for number in (1, 2):
        assert recipe.step(number)["gradient"] > 0
        assert recipe.network.is_gradient_checkpointing
        recipe.evaluate()


@pytest.mark.usefixtures("letters_paid")
def test_several_updates_of_one_round_use_the_probabilities_from_before(place, tmp_path):
    recipe = tuning_of(place, tmp_path / "run", at_once=4, updates=2, learning_rate=0.02, clip=0.001)
    torch.manual_seed(5)
    assert recipe.step(1)["clipped"] > 0


@pytest.mark.parametrize("trained", ["all", "low-rank"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_curve(
    place, tmp_path, monkeypatch, letters_paid, trained
):
    options = {"steps": 10, "every": 5, "trained": trained}
    whole = reasoner_runs.run(place, f"unbroken-{trained}", "grpo", tmp_path / "unbroken", **options)
    file = reasoner_runs.config_file(place, f"unbroken-{trained}", "grpo", **options)
    with monkeypatch.context() as patch:
        reasoner_runs.cut_at(patch, grpo.GrpoTuning, 8)
        with pytest.raises(reasoner_runs.PowerCutError):
            run_command.execute(file, tmp_path / "cut")
    run_command.execute(file, tmp_path / "cut")
    assert reasoner_runs.curve(tmp_path / "cut") == reasoner_runs.curve(whole)
    values = next(event.values for event in reasoner_runs.events_of(whole) if event.kind == "step")
    wanted = {"loss", "reward", "kl", "length", "refusal rate", "format rate", "reward bbox_iou"}
    assert wanted <= set(values)
    judged = [event.values for event in reasoner_runs.events_of(whole) if event.kind == "evaluation"]
    assert {"box iou", "format rate", "refusal rate"} <= set(judged[0])
    card = read_adapter_card(whole / "adapter")
    assert (card.kind, card.recipe) == ("peft", "grpo")
    assert card.before_after["box"]["patients"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vllm": True}, "needs vLLM"),
        ({"group": 1}, "2 or more"),
        ({"at_once": 3}, "change one of them"),
        ({"updates": 3}, "change one of them"),
        ({"reward": "harsh"}, "harsh"),
    ],
)
def test_what_can_not_work_is_told_before_a_step(place, tmp_path, options, words):
    with pytest.raises(RunError, match=words):
        reasoner_runs.run(place, "wrong", "grpo", tmp_path / "run", **options)
