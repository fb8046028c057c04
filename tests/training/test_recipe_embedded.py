"""Fine-tuning of the embedded model: data that is refused, a run that is killed, an adapter that loads."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.run_check import check_data
from napari_medreason.core.run_folder import read_events
from napari_medreason.core.volume import default_window
from napari_medreason.errors import RunError, WeightsError
from napari_medreason.io import read
from napari_medreason.io.records import write_records
from napari_medreason.models.embedded.adapter import tuned_experts
from napari_medreason.models.embedded.experts import load_experts, load_network
from napari_medreason.models.embedded.masks import margin
from napari_medreason.models.embedded.model import EmbeddedModel
from napari_medreason.models.embedded.perception import areas
from napari_medreason_training import recipe_embedded, replay, run_command, tuned_export
from napari_medreason_training.before_after import Pair, summary
from napari_medreason_training.grown_network import (
    decay_groups,
    grown,
    keep_loss,
    new_structures,
    only_old_rows,
)
from napari_medreason_training.new_rows import start_new_rows
from napari_medreason_training.run_data import labelled_planes
from napari_medreason_training.runs import read_state
from napari_medreason_training.tuned_slices import SliceSource, prepared

from . import tuning_records
from .tuning_records import CONFIG, SMALL, data_set, in_split


@pytest.fixture(scope="module")
def expert():
    return load_experts()[0]


@pytest.fixture(scope="module")
def network(expert):
    return load_network(expert)


@pytest.fixture
def fast(monkeypatch):
    """Small phantoms for replay; the rest is as in any run."""
    for key, value in SMALL.items():
        monkeypatch.setattr(replay, key, value)


def events(run):
    return list(read_events((run / "events.jsonl").read_text(encoding="utf-8")))


def ask(model, folder, patient="c"):
    volume = read(folder / f"{patient}.nii.gz")
    plane = replace(cut(volume, "axial", 2, default_window(volume)), modality="MR")
    question = Question("Where is the white matter lesion?", plane)
    return model.ask(question, on_text=lambda _: None, cancelled=lambda: False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: [*r, *in_split(r[:1], "a", "test")], "patient a is in train and in test"),
        (lambda r: in_split(in_split(r, "a", "test"), "b", "test"), "no record to learn from"),
        (lambda r: [x for x in r if x.patient == "c"] + r[:1], "one region to learn from"),
        (lambda r: [replace(x, mask_runs=(64 * 72,)) for x in r], "no record .* has a mask with a pixel"),
    ],
)
def test_records_that_can_not_be_learnt_from_are_refused_in_words(tmp_path, change, words):
    write_records(tmp_path / "records.jsonl", change(data_set(tmp_path)))
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    with pytest.raises(RunError, match=words):
        run_command.execute(tmp_path / "config.toml", tmp_path / "run")
    assert events(tmp_path / "run")[-1].kind == "end"


def test_small_sets_and_lone_patients_are_warned_about(tmp_path):
    records = data_set(tmp_path, (("a", "train"),))
    check = check_data(records)
    assert not check.faults
    assert check.splits["train"].slices == 4
    assert any("one patient" in words for words in check.warnings)
    assert any("no test patient" in words for words in check.warnings)


def test_a_missing_image_and_a_changed_one_are_told(tmp_path):
    records = data_set(tmp_path)
    (tmp_path / "a.nii.gz").unlink()
    with pytest.raises(RunError, match="can't be read"):
        list(labelled_planes(records, tmp_path))
    smaller = [replace(r, image=replace(r.image, shape=(70, 64))) for r in records if r.patient == "b"]
    with pytest.raises(RunError, match="build the records again"):
        list(labelled_planes(smaller, tmp_path))


def test_corrected_slices_keep_image_and_label_together(tmp_path, expert):
    """However they are moved: the lesion is the brightest thing, and its label lies on it."""
    planes = list(labelled_planes(data_set(tmp_path), tmp_path))
    structures = (*expert.structures, "white_matter_lesion")
    slices = [prepared(labelled, expert, structures) for labelled in planes]
    source = SliceSource(slices, expert, 96)
    batch = source.batch(6, 1.0, torch.Generator().manual_seed(3))
    inside = batch.labels == len(structures)
    assert inside.any(2).any(1).all()
    image = batch.channels[:, 0]
    assert image[inside].mean() > image[~inside].mean() + 0.3
    assert batch.known[:, -1].all()
    assert not batch.known[:, 1:-1].any()
    again = source.batch(6, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(batch.channels, again.channels)


def test_of_a_pair_with_one_side_labelled_the_other_is_not_taught_as_absent(tmp_path, expert):
    lesion = tuning_records.study(tmp_path, "a", 0)
    both = [
        tuning_records.record("a", "train", lesion, 0, structure="hippocampus", side=side)
        for side in ("left", "right")
    ]
    one, two = (next(iter(labelled_planes(own, tmp_path))) for own in (both[:1], both))
    index = 1 + expert.structures.index("hippocampus")
    assert not prepared(one, expert, expert.structures).known[index]
    assert prepared(two, expert, expert.structures).known[index]


def test_a_grown_network_says_the_same_of_what_it_knew(network, expert):
    bigger = grown(network, ["white_matter_lesion"]).eval()
    image, place = torch.randn(1, 1, 64, 64), torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        old, presence = network.structures(network.features(image, place))
        new, further = bigger.structures(bigger.features(image, place))
    count = len(expert.structures)
    assert torch.allclose(old, new[:, :count], atol=1e-4)
    assert torch.allclose(presence, further[:, :count], atol=1e-4)
    assert float(keep_loss(new, old, torch.zeros(1, 64, 64).long(), torch.zeros(1, 2 + count).bool())) < 0.05


def test_rows_of_new_structures_are_not_trained_where_old_ones_are(network, expert):
    bigger = grown(network, ["white_matter_lesion"])
    count = len(expert.structures)
    only_old_rows(bigger, count)
    before = bigger.query.detach().clone()
    optimiser = torch.optim.AdamW(decay_groups(bigger, 0.5), 0.1)
    (bigger.query.sum() ** 2).backward()
    optimiser.step()
    assert torch.equal(bigger.query[count:], before[count:])
    assert not torch.equal(bigger.query[:count], before[:count])


def test_a_finding_that_lies_over_anatomy_takes_no_pixel_from_it(expert):
    """By hand: on four pixels the structure wins two; the finding is likelier on one of them."""
    logits = np.full((2, 1, 4), -1.0, np.float32)
    logits[0, 0, :2], logits[1, 0, 1:3] = 2.0, 3.0
    overlaid = replace(expert, structures=("thalamus", "white_matter_lesion"))
    assert areas(logits).tolist() == [1, 2]
    assert areas(logits, [False, True]).tolist() == [2, 2]
    overlaid = replace(overlaid, overlaid=frozenset({"white_matter_lesion"}))
    for own, pixels in (
        (overlaid, [True, True, False, False]),
        (replace(overlaid, overlaid=frozenset()), [True, False, False, False]),
    ):
        seen = SimpleNamespace(expert=own, logits=logits)
        assert (margin(seen, ["thalamus"]) > 0).tolist() == [pixels]
        assert (margin(seen, ["white_matter_lesion"]) > 0).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("structure", ["white_matter_lesion", "thalamus"])
def test_what_was_corrected_says_what_is_trained(tmp_path, fast, structure):
    """A new finding: the drawing from prompts alone. A structure that was known: all of the network."""
    records = [replace(r, structure=structure, label=structure) for r in data_set(tmp_path)]
    write_records(tmp_path / "records.jsonl", records)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    run_command.execute(tmp_path / "config.toml", tmp_path / "run")
    state = read_state(tmp_path / "run/checkpoints/last/state.safetensors").tensors
    base = load_network(load_experts()[0]).state_dict()
    moved = {
        name.partition(".")[0]
        for name, value in base.items()
        if not torch.equal(state[f"network.{name}"][: len(value)], value)
    }
    assert moved == {"prompt"} if structure == "white_matter_lesion" else moved > {"prompt", "trunk", "query"}


def test_a_gradient_that_is_no_number_ends_the_run_before_it_is_kept(tmp_path, fast, monkeypatch):
    """In the step after which a checkpoint is due, with a loss that is a number."""
    data_set(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    calls = []

    def broken(networks, *rest):
        losses = recipe_embedded_losses(networks, *rest)
        calls.append(1)
        if len(calls) == 5:
            weights = next(networks.tuned.prompt.parameters())
            losses["prompt"] = losses["prompt"] + (0 * weights).sqrt().sum()
        return losses

    recipe_embedded_losses = recipe_embedded.prompt_losses
    monkeypatch.setattr(recipe_embedded, "prompt_losses", broken)
    with pytest.raises(RunError, match="gradient is nan at step 5"):
        run_command.execute(tmp_path / "config.toml", tmp_path / "run")
    assert not (tmp_path / "run/checkpoints/last").exists()


def test_a_new_structure_that_no_pixel_is_left_of_is_told(tmp_path, network, expert):
    (plane, *_) = labelled_planes(data_set(tmp_path), tmp_path)
    structures = (*expert.structures, "white_matter_lesion")
    one = prepared(plane, expert, structures)
    empty = replace(one, labels=one.labels * (one.labels != len(structures)))
    with pytest.raises(RunError, match="label larger ones, or leave it out"):
        start_new_rows(grown(network, structures[-1:]), [empty], expert)


def test_an_export_that_is_cut_off_leaves_no_adapter_that_looks_whole(tmp_path, fast, monkeypatch):
    data_set(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    run = tmp_path / "run"

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuned_export, "pairs", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_command.execute(tmp_path / "config.toml", run)
    assert not (run / "adapter/adapter.json").exists()
    run_command.execute(tmp_path / "config.toml", run)
    assert json.loads((run / "adapter/adapter.json").read_text(encoding="utf-8"))["before_after"]
    assert not list(run.glob("*.part"))


def test_what_nobody_could_ask_for_is_refused(expert):
    with pytest.raises(RunError, match="not in the anatomy vocabulary"):
        new_structures(["my thing"], expert.structures)
    with pytest.raises(RunError, match="group of structures"):
        new_structures(["basal_ganglia"], expert.structures)


def test_a_run_killed_at_a_random_moment_ends_like_an_unbroken_one_and_its_adapter_loads(tmp_path, fast):
    data_set(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    child = subprocess.Popen(
        [sys.executable, tuning_records.__file__, config, broken], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not (broken / "checkpoints/last/state.safetensors").exists() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.5))
    child.kill()
    child.wait()
    for run in (broken, whole):
        assert run_command.execute(config, run) == "done"
    curves = [
        [(e.kind, e.step, dict(e.values)) for e in events(run) if e.kind in ("step", "evaluation")]
        for run in (broken, whole)
    ]
    assert curves[0] == curves[1]
    weights = [(run / "adapter/brain_mr.safetensors").read_bytes() for run in (broken, whole)]
    assert weights[0] == weights[1]
    _check_adapter(tmp_path, whole)


def _check_adapter(folder, run):
    card = json.loads((run / "adapter/adapter.json").read_text(encoding="utf-8"))
    assert card["records"] == {"train": 8, "validation": 0, "test": 4}
    assert card["new_structures"] == ["white_matter_lesion"]
    assert card["before_after"]["named"]["patients"] == 1
    assert str(folder) not in json.dumps(card)
    assert (run / "samples/step-000003").exists()
    model = EmbeddedModel()
    before = ask(model, folder)
    assert before.status == "unknown"
    model.load_adapter(run / "adapter")
    assert ask(model, folder).provenance.weights_sha256 != before.provenance.weights_sha256
    assert "white_matter_lesion" in model.perceiver.experts[0].structures
    model.unload_adapter()
    assert ask(model, folder).provenance.weights_sha256 == before.provenance.weights_sha256
    _check_refusals(folder, run, model)


def _check_refusals(folder, run, model):
    """Damaged, and for other weights: nothing changes."""
    held = model.perceiver.weights_sha256
    weights = run / "adapter/brain_mr.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01\x02")
    with pytest.raises(WeightsError):
        model.load_adapter(run / "adapter")
    card = json.loads((run / "adapter/adapter.json").read_text(encoding="utf-8"))
    (run / "adapter/adapter.json").write_text(json.dumps(card | {"expert_sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="trained for other weights"):
        tuned_experts(run / "adapter", model.perceiver.experts)
    (run / "adapter/adapter.json").write_text(json.dumps(card | {"base": "lingshu-7b"}))
    with pytest.raises(WeightsError, match="an adapter for lingshu-7b"):
        tuned_experts(run / "adapter", model.perceiver.experts)
    assert model.perceiver.weights_sha256 == held


def test_figures_before_and_after_are_of_patients_first():
    """Two slices of one patient weigh as much as one of another; worked out by hand."""
    found = [
        Pair("1", "a", "liver", "named", 0.2, 0.4),
        Pair("2", "a", "liver", "named", 0.4, 0.8),
        Pair("3", "b", "liver", "named", 0.5, 0.5),
    ]
    figures = summary(found)["named"]
    assert (figures["before"], figures["after"], figures["gain"]) == (0.4, 0.55, 0.15)
    assert figures["interval"] == [0.0, 0.3]
    assert (figures["better"], figures["regions"], figures["patients"]) == (2, 3, 2)
    assert summary(found[:2])["named"]["resampled"] == "slices of one patient"
