"""Adapters of PRS-Med and MediSee: from a run to the model that answers with them, and off again."""

import json
import shutil
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.run_folder import read_events
from napari_medreason.core.volume import default_window
from napari_medreason.errors import RunError, WeightsError
from napari_medreason.io import read
from napari_medreason.io.records import read_records
from napari_medreason.models.adapter_card import read_adapter_card
from napari_medreason.models.medisee import MediSee, load_medisee
from napari_medreason.models.prs_med import PrsMed, load_prs_med
from napari_medreason_training import run_command
from napari_medreason_training.joint import prove
from napari_medreason_training.joint.recipe import JointTuning
from napari_medreason_training.joint.samples import mask_dice

from .joint_cases import BASES, toml, write_all

SYSTEMS = ("prs-med", "medisee")
OTHER_THAN_USUAL = {"prs-med": {"size": 96}, "medisee": {"decoder_box": False, "faithful": False}}
"""Settings of the training by which an adapter must be asked too; the models below don't have them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data and bases, in which both systems were trained for two steps."""
    with pytest.MonkeyPatch.context() as patch:
        place = write_all(tmp_path_factory.mktemp("joint"), patch)
        patch.setattr(JointTuning, "evaluate", ever_better(JointTuning.evaluate))
        for system in SYSTEMS:
            text = toml(system, steps=2, learning_rate=0.02, **OTHER_THAN_USUAL[system])
            (place / f"{system}.toml").write_text(text, encoding="utf-8")
            assert run_command.execute(place / f"{system}.toml", place / f"run-{system}") == "done"
    return place


def ever_better(evaluate):
    """Two steps teach little; with this the state after them is exported whatever they taught."""
    numbers = count()

    def judged(recipe):
        found = evaluate(recipe)
        return replace(found, values={**found.values, "dice": float(next(numbers))})

    return judged


@pytest.fixture(scope="module")
def models(folder):
    """Both systems as a user loads them, by name."""
    base = {system: folder / BASES[system] for system in SYSTEMS}
    parts = {s: {"base": base[s] / "base", "vision_tower": base[s] / "clip"} for s in SYSTEMS}
    options = {"device": "cpu", "max_new_tokens": 8}
    return {
        "prs-med": load_prs_med(
            weights=base["prs-med"], **parts["prs-med"], size=64, faithful=True, **options
        ),
        "medisee": load_medisee(weights=base["medisee"], **parts["medisee"], **options),
    }


def ask(model, folder):
    volume = read(folder / "test-00.nii.gz")
    plane = cut(volume, "axial", 0, default_window(volume))
    answer = model.ask(Question("Where is the cyst?", plane), on_text=lambda _: None, cancelled=lambda: False)
    mask = np.zeros(plane.grid.shape, bool) if answer.mask is None else answer.mask
    return answer.reasoning, mask.tobytes(), answer.provenance.weights_sha256


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_makes_an_adapter_with_a_card_that_holds_no_path(folder, system):
    run = folder / f"run-{system}"
    card = read_adapter_card(run / "adapter")
    assert (card.kind, card.name, card.base) == (system, "tiny", f"folder:{BASES[system]}")
    assert card.patients == {"train": 2, "validation": 1, "test": 1}
    mask = card.before_after["mask"]
    assert mask["patients"] == 1
    assert mask["regions"] == card.records["test"] == 6
    assert str(folder) not in (run / "adapter" / "adapter.json").read_text(encoding="utf-8")
    pairs = json.loads((run / "comparison.json").read_text(encoding="utf-8"))["pairs"]
    assert {pair["way"] for pair in pairs} == ({"mask"} if system == "prs-med" else {"mask", "box"})
    kinds = [event.kind for event in read_events((run / "events.jsonl").read_text(encoding="utf-8"))]
    assert kinds.count("evaluation") == 2
    sample = json.loads(next((run / "samples" / "step-000002").glob("*.json")).read_text(encoding="utf-8"))
    assert sample["true answer"].startswith("The tumor is ")


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_adapter_changes_answers_and_leaves_no_trace_when_taken_off(folder, models, system):
    model, adapter = models[system], folder / f"run-{system}" / "adapter"
    before = ask(model, folder)
    model.load_adapter(adapter)
    tuned = ask(model, folder)
    assert tuned[2] != before[2]
    assert tuned[:2] != before[:2]
    model.load_adapter(adapter)
    assert ask(model, folder) == tuned
    model.unload_adapter()
    assert ask(model, folder) == before
    model.unload_adapter()


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_adapter_is_asked_as_it_was_trained_and_judged(folder, models, system):
    """The model that a user asks draws the masks that the run judged, whatever its own options are."""
    run = folder / f"run-{system}"
    pairs = json.loads((run / "comparison.json").read_text(encoding="utf-8"))["pairs"]
    judged = {pair["record"]: pair["after"] for pair in pairs if pair["way"] == "mask"}
    records = [record for record in read_records(folder / "records.jsonl") if record.id in judged]
    model = asked_as_judged(models[system])
    model.load_adapter(run / "adapter")
    for record in records[:3]:
        answer = model.ask(Question(record.question, plane_of(folder, record)), **SILENT)
        mask = np.zeros(record.mask.shape, bool) if answer.mask is None else answer.mask
        assert mask_dice(mask, record.mask) == pytest.approx(judged[record.id], abs=0.002)
    if system == "medisee":
        assert not model._network.faithful
    model.unload_adapter()
    if system == "medisee":
        assert model._network.faithful


SILENT = {"on_text": lambda _: None, "cancelled": lambda: False}


def asked_as_judged(model):
    """A model on the same network, with a canned answer or masks that aren't stretched, as in a run."""
    if isinstance(model, PrsMed):
        return PrsMed(model._base, max_new_tokens=1, size=64)
    return MediSee(model._network, weights_sha256=model.weights_sha256, explain=False)


def plane_of(folder, record):
    volume = read(folder / record.image.path)
    return cut(volume, record.image.axis, record.image.index, default_window(volume))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_weights_sha256": "0" * 64}, "was trained for other weights"),
        ({"kind": "peft"}, "choose the model that it was trained for"),
        ({"config": {"prs-med": {"size": 10**9}, "medisee": {"faithful": "no"}}}, "can't be asked"),
    ],
)
def test_an_adapter_for_something_else_changes_nothing(folder, models, system, tmp_path, change, words):
    model, adapter = models[system], tmp_path / "adapter"
    shutil.copytree(folder / f"run-{system}" / "adapter", adapter)
    card = json.loads((adapter / "adapter.json").read_text(encoding="utf-8"))
    (adapter / "adapter.json").write_text(json.dumps(card | change), encoding="utf-8")
    model.load_adapter(folder / f"run-{system}" / "adapter")
    tuned = ask(model, folder)
    with pytest.raises(WeightsError, match=words):
        model.load_adapter(adapter)
    assert ask(model, folder) == tuned
    model.unload_adapter()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("file", ["parts.safetensors", "adapter_model.safetensors"])
def test_an_adapter_that_lacks_a_part_is_refused(folder, models, system, file, tmp_path):
    model, adapter = models[system], tmp_path / "adapter"
    shutil.copytree(folder / f"run-{system}" / "adapter", adapter)
    (adapter / file).unlink()
    before = ask(model, folder)
    with pytest.raises(WeightsError, match=f"holds no {file}"):
        model.load_adapter(adapter)
    (adapter / file).write_bytes(b"cut off")
    with pytest.raises(WeightsError, match=file):
        model.load_adapter(adapter)
    assert ask(model, folder) == before


def test_a_proof_never_tells_an_earlier_run_as_its_own(tmp_path):
    run = tmp_path / "prove-medisee-1-files" / "run"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="holds an earlier proof"):
        prove.prove_medisee(1, None, tmp_path)
    assert [one.name for one in run.parent.iterdir()] == ["run"]
