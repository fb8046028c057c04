"""Joint training of PRS-Med and MediSee: what is learnt from what, and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medreason.core.run_config import run_config
from napari_medreason.core.run_recipes_joint import MediSeeRecipe, PrsMedRecipe
from napari_medreason.errors import RunError, WeightsError
from napari_medreason.models.llava_tokenizer import IMAGE_ID
from napari_medreason.models.medisee.adapter import word_rows
from napari_medreason_training import device_memory
from napari_medreason_training.joint import recipe as joint_recipe
from napari_medreason_training.joint.base import base_folders, base_size
from napari_medreason_training.joint.export import compared
from napari_medreason_training.joint.packing import IGNORED, answered, packed, text_loss
from napari_medreason_training.joint.recipe import learning_rate, train_joint
from napari_medreason_training.joint.samples import JointSample, drawn, joint_samples, mask_dice
from napari_medreason_training.joint.word_rows import TrainedRows
from napari_medreason_training.run_data import run_records
from napari_medreason_training.runs import RunWriter

from .joint_cases import table, tuning, write_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return write_all(tmp_path_factory.mktemp("joint"), patch)


@pytest.fixture(scope="module")
def prs_med(folder):
    return tuning("prs-med", folder)


@pytest.fixture(scope="module")
def medisee(folder):
    return tuning("medisee", folder)


def with_answer(sample, answer):
    return JointSample(replace(sample.record, answer=answer), sample.picture)


def test_the_mask_is_made_without_the_true_answer(prs_med):
    module = prs_med.module.eval()
    sample = prs_med.samples[0]
    other = with_answer(sample, "The stone is at the bottom right of the image, which is not true.")
    assert np.array_equal(module.look(sample).mask, module.look(other).mask)
    logits = []
    for one in (sample, other):
        texts, _, states = module._read([one])
        logits.append(module._drawn([one], texts, states)[0])
    assert torch.allclose(*logits, atol=1e-4)


def test_the_mask_alone_teaches_the_words_how_to_read_the_question(folder):
    recipe = tuning("prs-med", folder, text_weight=0.0, mask_weight=1.0, lora_dropout=0.0)
    before = {name: value.detach().clone() for name, value in recipe.module.changing().items()}
    recipe.step(1)
    moved = [name for name, value in recipe.module.changing().items() if not value.equal(before[name])]
    assert any("lora_B" in name for name in moved)
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("decoder.") for name in moved)


def test_longer_neighbours_in_a_batch_change_no_mask(prs_med):
    module = prs_med.module.eval()
    short, long = prs_med.samples[0], prs_med.samples[1]
    words = "Where is the cyst? Which part of the image shows the cyst? Where is the tumor, the stone?"
    long = JointSample(replace(long.record, question=words), long.picture)
    alone = module._drawn([short], *_texts_and_states(module, [short]))[0]
    beside = module._drawn([short, long], *_texts_and_states(module, [short, long]))[0]
    assert torch.allclose(alone[0], beside[0], atol=1e-4)


def _texts_and_states(module, samples):
    texts, _, states = module._read(samples)
    return texts, states


def test_an_answer_follows_the_prompt_of_the_asked_model_and_ends(prs_med):
    language = prs_med.module.language
    prompt = "<image>\n### User: Where is the cyst?\n"
    text = answered(language, prompt, "The cyst is at the top.", longest=512)
    asked = language.token_ids(prompt)
    assert list(text.ids[: len(asked)]) == asked
    assert text.ids[-1] == language.tokenizer.eos_token_id
    assert text.labels[: len(asked)] == [IGNORED] * len(asked)
    assert text.labels[len(asked) :] == list(text.ids[len(asked) :])
    cut = answered(language, prompt, "The cyst is at the top.", longest=len(asked) + 3)
    assert len(cut.ids) == len(asked) + 3
    assert cut.ids[-1] == language.tokenizer.eos_token_id
    both = answered(language, prompt, "The cyst.", longest=512, learn_question=True)
    assert both.labels[both.ids.index(IMAGE_ID)] == IGNORED
    assert both.labels[2] == both.ids[2]


def test_the_text_loss_is_that_of_the_whole_model(prs_med):
    module = prs_med.module.eval()
    language, sample = module.language, prs_med.samples[0]
    text = answered(language, "<image>\nWhere is the cyst?\n", "The cyst is at the top.", longest=512)
    batch = packed(language, [text], [language.pixels(sample.picture.rgb)])
    with torch.no_grad():
        states = language.states(batch.embeds, batch.attention)
        loss = text_loss(language, states, batch.labels)
        whole = language.model(
            inputs_embeds=batch.embeds, attention_mask=batch.attention, labels=batch.labels
        ).loss
    assert float(loss) == pytest.approx(float(whole), rel=1e-5)


def test_the_base_is_there_unchanged_beside_what_is_trained(folder):
    for system in ("prs-med", "medisee"):
        recipe = tuning(system, folder, learning_rate=0.01)
        module, sample = recipe.module.eval(), recipe.samples[0]
        first = module.look(sample)
        with module.as_base():
            base = module.look(sample)
        assert base.text_loss == first.text_loss  # the LoRA begins as nothing
        recipe.step(1)
        module.eval()
        with module.as_base():
            again = module.look(sample)
        tuned = module.look(sample)
        assert np.array_equal(base.mask, again.mask)
        assert base.text_loss == again.text_loss
        assert tuned.text_loss != base.text_loss


def test_words_that_are_not_candidates_stay_as_they_were(folder):
    recipe = tuning("medisee", folder, words="candidates", learning_rate=0.01, weight_decay=0.5)
    before = [row.detach().clone() for row in word_rows(recipe.module.network)]
    recipe.step(1)
    recipe.step(2)
    trained = [dict(recipe.module.trained_parts())[f"words.{name}"] for name in ("embed", "output")]
    for rows, kept, own in zip(word_rows(recipe.module.network), before, trained, strict=True):
        assert rows.equal(kept)
        assert own.shape == (2, rows.shape[1])
        assert not own.equal(kept[-2:])
    words = {name: tensor.shape for name, tensor in recipe.state().items() if "rows" in name}
    assert set(words.values()) == {trained[0].shape}  # a checkpoint holds no other words


def test_small_steps_move_words_that_a_network_has_in_16_bits():
    torch.manual_seed(0)
    network = TinyWords()
    rows = TrainedRows(network, 3)
    optimiser = torch.optim.AdamW(rows.parameters(), 3e-5, weight_decay=0.0)
    start = [row.detach().clone() for row in (rows.embed, rows.output)]
    ids = torch.tensor([[1, 8, 9]])
    for _ in range(20):
        optimiser.zero_grad()
        network(ids)[..., -1].float().sum().backward()
        optimiser.step()
    assert network(ids).dtype == torch.bfloat16
    for row, first, where in ((rows.embed, start[0], [1, 2]), (rows.output, start[1], [2])):
        moved = (row.detach() - first).abs()[where]
        assert moved.mean() == pytest.approx(20 * 3e-5, rel=0.2)
    assert rows.embed[0].equal(start[0][0])


class TinyWords(torch.nn.Module):
    """Embeddings and output layer in 16 bits, as a network has them on a graphics card."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(10, 32).bfloat16().requires_grad_(False)
        self.output = torch.nn.Linear(32, 10, bias=False).bfloat16().requires_grad_(False)

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.output

    def forward(self, ids):
        return self.output(self.words(ids))


def test_trained_rows_take_the_place_of_the_networks_own_until_they_are_off():
    torch.manual_seed(0)
    network = TinyWords().float()
    ids = torch.tensor([[0, 6, 7, 9]])
    base = network(ids)
    rows = TrainedRows(network, 3)
    with torch.no_grad():
        rows.embed += 1
        rows.output *= 2
    words, output = network.words.weight.detach().clone(), network.output.weight.detach().clone()
    words[-3:] += 1
    output[-3:] *= 2
    assert torch.allclose(network(ids), words[ids] @ output.T, atol=1e-5)
    with rows.off():
        assert network(ids).equal(base)


def test_the_second_stage_teaches_where_to_look(folder):
    recipe = tuning("medisee", folder, similarity_weight=1.0)
    losses = recipe.step(1)
    assert losses["similarity"] > 0
    parts = ("text", "bce", "dice", "box", "giou", "similarity")
    weights = {"text": 1.0, "bce": 2.0, "dice": 0.5, "box": 1.0, "giou": 1.0, "similarity": 1.0}
    assert losses["loss"] == pytest.approx(sum(weights[name] * losses[name] for name in parts), rel=1e-5)


def test_the_released_loss_names_the_kind_of_picture_in_the_first_passes(folder):
    recipe = tuning("prs-med", folder, mask_loss="structure as released", class_weight=0.5, class_epochs=1.0)
    first = recipe.step(1)
    assert {"loss", "text", "mask", "kind", "gradient"} == set(first)
    total = first["text"] + first["mask"] + 0.5 * first["kind"]
    assert first["loss"] == pytest.approx(total, rel=1e-5)
    assert "kind" not in recipe.step(recipe.steps_per_epoch + 1)


def test_accumulated_batches_make_the_step_of_a_large_one(folder):
    """Of MediSee, whose losses are means over records; dropout is off."""
    weights = []
    for options in ({"batch": 4, "accumulation": 1}, {"batch": 2, "accumulation": 2}):
        torch.manual_seed(0)
        recipe = tuning("medisee", folder, lora_dropout=0.0, text_weight=0.0, **options)
        recipe.optimiser = recipe._stepper = torch.optim.SGD(recipe.trained, 0.1)
        recipe.step(1)
        weights.append(torch.cat([value.detach().flatten() for value in recipe.trained]))
    assert torch.allclose(*weights, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (PrsMedRecipe(learning_rate=1.0, lowest_rate=0.0, epochs=2.0), {1: 1.0, 10: 1.0, 11: 0.5, 20: 0.5}),
        (PrsMedRecipe(learning_rate=1.0, lowest_rate=0.0, schedule="cosine"), {1: 1.0, 11: 0.5}),
        (MediSeeRecipe(learning_rate=1.0, warm_up_steps=10), {1: 0.1, 10: 1.0, 11: 1.0, 16: 0.5}),
    ],
)
def test_the_rate_follows_the_schedule(settings, rates):
    for number, wanted in rates.items():
        assert learning_rate(settings, number, 20, 10) == pytest.approx(wanted, abs=1e-6)


def test_every_pass_shows_each_record_once_and_a_resumed_run_the_same_ones(prs_med):
    samples = list(range(7))
    whole = drawn(samples, 3, 0, 21)
    assert [sorted(whole[start : start + 7]) for start in (0, 7, 14)] == [samples] * 3
    assert drawn(samples, 3, 9, 5) == whole[9:14]
    assert drawn(samples, 4, 0, 21) != whole


def test_a_gradient_that_is_no_number_is_told_with_the_losses(folder):
    """So that the loop ends before spoilt weights are kept; the loss itself is finite."""
    recipe = tuning("medisee", folder)
    assert recipe.step(1)["gradient"] > 0
    recipe.trained[0].register_hook(lambda gradient: gradient * float("nan"))
    losses = recipe.step(2)
    assert np.isfinite(losses["loss"])
    assert np.isnan(losses["gradient"])


def test_several_processes_share_what_one_has_no_room_for(folder, tmp_path, monkeypatch):
    free = replace(device_memory.free_memory(torch.device("cpu"), exclusive=True), free=1)
    monkeypatch.setattr(device_memory, "free_memory", lambda *_, **__: free)
    writer = RunWriter(tmp_path / "run", run_config(table("prs-med"), "test"), "")
    base = base_folders("prs-base", folder, "prs-med")

    def build():
        raise KeyError("built")

    with pytest.raises(RunError, match="memory"):
        train_joint(writer, folder, build, base)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(KeyError, match="built"):
        train_joint(writer, folder, build, base)


def without_pixels(samples, *which):
    """Samples of which some have no pixel left where the model looks."""
    found = list(samples)
    for index in which:
        picture = found[index].picture
        frame = replace(picture.frame, scale=(1e4, 1e4))  # it looks at the very centre
        found[index] = JointSample(found[index].record, replace(picture, frame=frame))
    return found


def test_masks_too_small_to_learn_are_told_and_still_judged(folder, prs_med, monkeypatch, capsys):
    data = run_records(prs_med.config, folder)
    number = len(data.train)
    vanished = without_pixels(joint_samples(data.train, data), 0, 3)
    assert [sample.mask_picture.any() for sample in vanished[:4]] == [False, True, True, False]
    learnt = joint_recipe._learnt(vanished)
    assert [sample.record for sample in learnt] == [
        one for place, one in enumerate(data.train) if place not in (0, 3)
    ]
    assert f"2 of {number} training records have no pixel" in capsys.readouterr().err
    with pytest.raises(RunError, match="no mask of the training records has a pixel"):
        joint_recipe._learnt(vanished[:1])
    test = without_pixels(joint_samples(data.test, data), 0)
    assert len(compared(prs_med.module.eval(), test)) == len(data.test)


def test_dice_of_masks():
    one = np.zeros((2, 2), bool)
    one[0] = True
    other = np.zeros((2, 2), bool)
    other[:, 0] = True
    assert mask_dice(one, other) == 0.5
    assert mask_dice(one, ~one) == 0
    assert mask_dice(one & False, one & False) == 1


def test_a_base_that_is_not_there_is_named(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path))
    with pytest.raises(RunError, match=r"base = 'nowhere' is neither 'prs-med' nor a folder"):
        base_folders("nowhere", folder, "prs-med")
    with pytest.raises(WeightsError, match="not on this computer"):
        base_folders("", folder, "medisee")
    with pytest.raises(WeightsError, match="is no PRS-Med folder"):
        tuning_of_another_system(folder)


def tuning_of_another_system(folder):
    config = table("prs-med")
    config["base"] = "medisee-base"
    from napari_medreason_training.joint.prs_med import prs_med_module

    class Writer:
        pass

    Writer.config = run_config(config, "test")
    prs_med_module(base_folders("medisee-base", folder, "prs-med"), Writer.config.prs_med, Writer)


def test_layers_that_there_are_not_are_named(folder):
    with pytest.raises(RunError, match="names no layer of the text model"):
        tuning("prs-med", folder, lora_targets=["nowhere"])


def test_the_size_of_a_base_is_read_from_its_files(folder, prs_med):
    size = base_size(base_folders("prs-base", folder, "prs-med"))
    text = prs_med.module.language.model.model.language_model.layers
    own = [value for name, value in text.named_parameters() if "lora" not in name and "norm" not in name]
    assert size.text == sum(value.numel() for value in own)


def test_a_conversation_has_the_form_in_which_medisee_is_asked(medisee):
    module, sample = medisee.module, medisee.samples[0]
    answer = module._texts.true_answer(sample.record, 0)
    text, places = module._texts.text(sample.record.question, answer)
    prompt = module.language.token_ids(module._texts.asked(sample.record.question))
    assert list(text.ids[: len(prompt)]) == prompt
    assert module.language.tokenizer.convert_ids_to_tokens([text.ids[one] for one in places]) == [
        "[SEG]",
        "[BBOX]",
    ]
    assert text.ids[-1] == module.language.tokenizer.eos_token_id
    assert text.labels[: len(prompt)] == [IGNORED] * len(prompt)
    others = {module._texts.true_answer(sample.record, epoch) for epoch in range(5)}
    assert len(others) == 5
    assert all(other.endswith(sample.record.answer.lower()) for other in others)
    with pytest.raises(RunError, match="leaves no room for its answer"):
        module._texts.text("where " * 500, answer)
