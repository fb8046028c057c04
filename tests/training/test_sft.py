"""Supervised warm-up of a reasoner: what is learnt, resumed and exported, with real TRL and a tiny model."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("trl")

import torch
import transformers

from napari_medreason.errors import MedReasonError, RunError
from napari_medreason.models.adapter_card import read_adapter_card
from napari_medreason.models.reasoners.generation import Writing
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.prompt_text import read_prompt
from napari_medreason.models.reasoners.qwen25_vl import QWEN25_VL
from napari_medreason_training import run_command
from napari_medreason_training.reasoning import base_model, sft, tuning
from napari_medreason_training.reasoning.answering import answers

from . import reasoner_runs

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return reasoner_runs.make_place(tmp_path_factory.mktemp("reasoner"))


def tuning_of(place, folder, *, change=lambda record, number: record, **settings):
    file = reasoner_runs.config_file(place, folder.name, "sft", **settings)
    writer = reasoner_runs.writer_of(file, folder)
    base = base_model.base_model("tiny", place)
    records = reasoner_runs.records_of(file)
    train = tuple(change(record, number) for number, record in enumerate(records.train))
    data = tuning.reasoner_data(writer.config, base, replace(records, train=train), place)
    return sft.SftTuning(writer, data)


def sometimes_longer(record, number):
    return replace(record, reasoning="It is bright. It is bright.") if number % 2 else record


def test_the_loss_is_of_the_answer_and_its_end_alone(place, tmp_path):
    recipe = tuning_of(place, tmp_path / "run")
    batch = recipe._collated([0, 1])
    tokenizer = recipe.data.processor.tokenizer
    for row, one in zip(batch["labels"], recipe.data.train[:2], strict=True):
        told = tokenizer.decode(row[row != sft.IGNORED])
        assert told.strip() == one.answer + tokenizer.eos_token


def test_parts_of_a_batch_make_the_same_step_as_the_whole(place, tmp_path):
    """Answers differ in length, so that a mean of the parts' means is not the mean over all tokens."""
    whole = tuning_of(place, tmp_path / "whole", change=sometimes_longer)
    parts = tuning_of(place, tmp_path / "parts", change=sometimes_longer, at_once=1)
    labels = whole._collated(sft.rows_of_step(1, per_step=4, examples=6, seed=whole.config.seed))["labels"]
    assert len({int((row != sft.IGNORED).sum()) for row in labels}) > 1
    found = [recipe.step(1) for recipe in (whole, parts)]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-4)
    assert found[0]["gradient"] == pytest.approx(found[1]["gradient"], rel=1e-3)


def test_checkpointing_is_on_from_the_first_step_and_changes_no_loss(place, tmp_path):
    plain = tuning_of(place, tmp_path / "plain")
    spare = tuning_of(place, tmp_path / "spare", checkpointing=True)
    assert not plain.network.is_gradient_checkpointing
    for number in (1, 2):
        found = [recipe.step(number)["loss"] for recipe in (plain, spare)]
        assert found[0] == pytest.approx(found[1], rel=1e-4)
        assert spare.network.is_gradient_checkpointing
        assert plain.evaluate().values == pytest.approx(spare.evaluate().values)


def test_examples_teach(place, tmp_path):
    recipe = tuning_of(place, tmp_path / "run", steps=30)
    losses = [recipe.step(number)["loss"] for number in range(1, 31)]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.parametrize("trained", ["all", "low-rank"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_curve(place, tmp_path, monkeypatch, trained):
    options = {"steps": 12, "every": 6, "trained": trained}
    reasoner_runs.run(place, "unbroken", "sft", tmp_path / "unbroken", **options)
    file = reasoner_runs.config_file(place, "unbroken", "sft", **options)
    with monkeypatch.context() as patch:
        reasoner_runs.cut_at(patch, sft.SftTuning, 8)
        with pytest.raises(reasoner_runs.PowerCutError):
            run_command.execute(file, tmp_path / "cut")
    run_command.execute(file, tmp_path / "cut")
    starts = [event.words for event in reasoner_runs.events_of(tmp_path / "cut") if event.kind == "start"]
    assert starts == ["started", "resumed"]
    assert reasoner_runs.curve(tmp_path / "cut") == reasoner_runs.curve(tmp_path / "unbroken")


def test_an_adapter_answers_in_the_viewer_as_it_did_in_training(place, tmp_path):
    """Its folder names no place on this computer; the comparison is in the card."""
    recipe = tuning_of(place, tmp_path / "run", trained="low-rank", learning_rate=0.05)
    for number in range(1, 5):
        recipe.step(number)
    folder = tmp_path / "adapter"
    recipe.export(folder)
    asked = recipe.data.test()
    expected = answers(recipe.network, recipe.data.processor, asked, recipe.writing, at_once=3)
    before = answers(_base(recipe), recipe.data.processor, asked, recipe.writing)
    assert expected != before
    reasoner = LocalReasoner(place / "tiny", family=QWEN25_VL, device="cpu", precision="fp32", square_size=84)
    reasoner.load_adapter(folder)
    assert [_written(reasoner, one, place) for one in asked] == expected
    card = read_adapter_card(folder)
    assert (card.kind, card.base, card.recipe) == ("peft", "folder:tiny", "sft")
    assert card.base_weights_sha256 == reasoner._base_sha256
    assert set(card.before_after) >= {"box", "points", "format"}
    assert not any(str(place) in file.read_text(errors="ignore") for file in folder.iterdir())


def _base(recipe):
    return base_model.load_network(recipe.data.base, recipe.settings, torch.device("cpu"))


def _written(reasoner, one, place):
    prompt = read_prompt(place / "prompt.txt", "", coordinates="", example="")
    written = reasoner._model.write(
        np.asarray(one.picture()),
        prompt.asked(one.record.question),
        writing=Writing(12, 1.0),
        on_text=lambda text: None,
        cancelled=lambda: False,
    )
    return written.text


def test_all_weights_make_a_model_folder_that_a_run_can_start_from(place, tmp_path):
    run = reasoner_runs.run(place, "whole", "sft", tmp_path / "first", steps=2)
    found = base_model.base_model("first/adapter", tmp_path)
    second = reasoner_runs.run(
        place, "again", "sft", tmp_path / "second", steps=2, top=f'base = "{run}/adapter"'
    )
    assert found.name == "folder:adapter"
    card = read_adapter_card(second / "adapter")
    assert card.base_weights_sha256 == found.sha256
    assert card.extra == {"whole_model": True}
    table = json.loads((second / "comparison.json").read_text())
    assert {pair["way"] for pair in table["pairs"]} == {"box", "points", "format"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 'base = ""'}, "no base model is named"),
        ({"top": 'base = "nowhere"'}, "no folder and not in the catalogue"),
        ({"top": 'base = "tiny@mine"'}, "merge its adapter"),
        ({"top": 'base = "lingshu-7b"'}, "not on this computer"),
        ({"numbers": "4bit"}, "low-rank"),
        ({"square": 85}, "multiple of 28"),
        ({"at_once": 3}, "no multiple of at_once"),
        ({"trained": "low-rank", "low_rank_targets": ["q_porj"]}, "none of the layers q_porj"),
        ({"prompt": "missing.txt"}, "missing.txt"),
    ],
)
def test_what_can_not_work_is_told_before_a_step(place, tmp_path, options, words, monkeypatch):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(MedReasonError, match=words) as fault:
        reasoner_runs.run(place, "wrong", "sft", tmp_path / "run", **options)
    assert "\n" not in str(fault.value)
    assert not [event for event in reasoner_runs.events_of(tmp_path / "run") if event.kind == "step"]


def test_a_loss_that_is_no_number_ends_the_run(place, tmp_path, monkeypatch):
    monkeypatch.setattr(sft.SftTuning, "loss_of", lambda *_, **__: float("nan"))
    with pytest.raises(RunError, match=r"loss is nan at step 1.*smaller learning rate"):
        reasoner_runs.run(place, "nan", "sft", tmp_path / "run")


def test_the_rate_rises_over_a_tenth_and_falls_to_nothing():
    settings = tuning_settings(learning_rate=1.0, warm_up=0.1)
    rates = [sft.learning_rate(number, 100, settings) for number in range(1, 101)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["Qwen2_5_VL", "InternVL", "Gemma3"])
def test_without_the_image_encoder_only_the_language_model_is_trained(kind):
    """Names of the real classes, without weights."""
    with torch.device("meta"):
        config = getattr(transformers, f"{kind}Config")()
        network = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    names = [name for name, _ in network.named_parameters()]
    trained = [name for name in names if not base_model.is_vision(name)]
    assert trained
    assert len(trained) < len(names)
    assert all("language_model." in name or name.startswith("lm_head.") for name in trained)


def tuning_settings(**values):
    from napari_medreason.core.run_recipes_reasoning import SftRecipe

    return SftRecipe(**values)
