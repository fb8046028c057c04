"""The store of adapters: accepted, listed, asked, exported, imported, merged, removed; damage is refused."""

import json
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import default_window
from napari_medreason.errors import ModelUnavailableError, UnknownModelError, WeightsError
from napari_medreason.io import read
from napari_medreason.models import adapters
from napari_medreason.models.adapter_card import (
    AdapterCard,
    card_from_text,
    read_adapter_card,
    write_adapter_card,
)
from napari_medreason.models.adapter_store import adapters_root
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.qwen25_vl import QWEN25_VL
from napari_medreason.models.settings import remember_folder
from napari_medreason_sample_data import ct_folder

from .adapter_cases import FIGURES, embedded_adapter, ignored_by_peft, peft_adapter

WRONG_NAME = '{"name": 3, "kind": "peft", "base": "lingshu-7b"}'


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return embedded_adapter(tmp_path_factory.mktemp("run") / "adapter")


@pytest.fixture(scope="module")
def slice_of_trunk():
    volume = read(ct_folder())
    return cut(volume, "axial", volume.voxels.shape[0] // 2, default_window(volume))


def ask(model, plane, text="Where is the liver?"):
    return model.ask(Question(text, plane), on_text=lambda _: None, cancelled=lambda: False)


def listing(root):
    return {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_an_accepted_adapter_is_listed_with_what_it_was_measured_to_do(tuned):
    adapter = adapters.accept(tuned)
    assert adapter.model_id == "embedded@our-lesions"
    info = models.available()["embedded@our-lesions"]
    assert info.title == "Embedded + Our lesions"
    figures = "Dice 0.31 before, 0.52 after (95 % interval of the gain +0.10 to +0.30) on 3 held-out patients"
    assert f"{figures}; learnt from" in info.summary
    assert "24 masks of 4 patients" in info.summary
    assert not info.default
    assert models.default() == "embedded"
    assert adapters.accept(tuned) == adapter, "the same files under the same name are there once"
    assert adapters.accept(tuned, "Läsionen 2").id == "lasionen-2"
    assert [one.id for one in adapters.installed()] == ["lasionen-2", "our-lesions"]


def test_the_tuned_model_answers_otherwise_and_says_by_what(tuned, slice_of_trunk):
    adapter = adapters.accept(tuned)
    base, model = models.create("embedded"), models.create(adapter.model_id)
    before, after = ask(base, slice_of_trunk), ask(model, slice_of_trunk)
    assert not np.array_equal(before.mask, after.mask)
    provenance = after.provenance
    assert provenance.model == "embedded@our-lesions" == provenance.segmenter
    assert provenance.weights_sha256 != before.provenance.weights_sha256
    note = next(words for words in provenance.notes if words.startswith("adapter: Our lesions"))
    assert adapter.sha256[:12] in note
    assert "3 held-out patients" in note
    pair = models.create("embedded-pair@our-lesions")
    of_pair = ask(pair, slice_of_trunk).provenance
    assert of_pair.model == "embedded-pair@our-lesions"
    assert of_pair.segmenter == "embedded@our-lesions", "known by that id, so a moved box is drawn by it"


def test_an_adapter_is_tried_by_its_folder_before_it_is_accepted(tuned, slice_of_trunk):
    model = models.create(f"embedded@{tuned}")
    answer = ask(model, slice_of_trunk)
    assert answer.provenance.model == "embedded@our-lesions"
    assert str(tuned.parent) not in repr(answer.provenance)
    assert adapters.installed() == ()


def test_a_pair_shares_nothing_seen_before_the_adapter_came(tuned, slice_of_trunk):
    """Embeddings that a pair keeps are of the network before; prompts would mix the two."""
    pair = models.create("embedded-pair")
    pair.embedding(slice_of_trunk)
    pair.load_adapter(tuned)
    assert pair.embedding(slice_of_trunk).expert.folder == tuned
    pair.unload_adapter()
    assert pair.embedding(slice_of_trunk).expert.folder != tuned


@pytest.mark.parametrize(
    "model_id", ["lingshu-7b@our-lesions", "lingshu-7b+medsam@our-lesions", "medisee@our-lesions"]
)
def test_an_adapter_on_another_base_is_refused_with_the_id_that_works(tuned, model_id):
    adapters.accept(tuned)
    with pytest.raises(WeightsError, match=r"made for embedded, not for .*; ask embedded@our-lesions"):
        models.info(model_id)


def test_pairs_with_the_same_reasoner_take_its_adapter(tmp_path, qwen_folder):
    folder = peft_adapter(tmp_path / "adapter", qwen_folder, weights_id="lingshu-7b")
    assert adapters.accept(folder, "mine").model_id == "lingshu-7b@mine"
    info = models.info("lingshu-7b+medsam@mine")
    assert info.weights == ("lingshu-7b", "medsam")
    assert models.available()["lingshu-7b@mine"].weights == ("lingshu-7b", "medsam2")
    with pytest.raises(WeightsError, match="made for lingshu-7b, not for medreasoner-7b"):
        models.info("medreasoner-7b@mine")


def joint_adapter(folder, base):
    """The files of an adapter of MediSee; what is in them is checked when it is put on."""
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "parts.safetensors"):
        (folder / name).write_bytes(b"{}")
    write_adapter_card(folder, AdapterCard("joint", "medisee", base))
    return folder


def test_adapters_of_own_folders_go_on_what_those_folders_are_named(tmp_path, qwen_folder, monkeypatch):
    """Their hash decides at last; here it is about who is asked at all."""
    reasoner = adapters.accept(peft_adapter(tmp_path / "one", qwen_folder))
    assert reasoner.model_id == "medreasoner@tuned-reasoner"
    for base in ("medreasoner", "lingshu-7b", "lingshu-7b+medsam"):
        assert models.info(f"{base}@tuned-reasoner").title.endswith("+ Tuned reasoner")
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "models.toml"))
    remember_folder("lingshu-7b", str(qwen_folder))
    assert reasoner.model_id == "lingshu-7b@tuned-reasoner"
    assert "lingshu-7b@tuned-reasoner" in models.available()
    joint = adapters.accept(joint_adapter(tmp_path / "two", "folder:my-medisee"))
    assert joint.model_id == "medisee@joint"
    assert models.available()["medisee@joint"].title == "MediSee + joint"
    for base in ("medisee@tuned-reasoner", "prs-med@joint", "lingshu-7b@joint", "medreasoner@joint"):
        with pytest.raises(WeightsError, match="made for a model folder of your own"):
            models.info(base)


def test_a_whole_model_is_no_adapter_and_the_way_to_use_it_is_told(tmp_path, qwen_folder):
    folder = shutil.copytree(qwen_folder, tmp_path / "whole")
    write_adapter_card(folder, AdapterCard("x", "peft", "lingshu-7b", extra={"whole_model": True}))
    with pytest.raises(WeightsError, match=r"whole model.*`medreason models use ID FOLDER`"):
        adapters.accept(folder)


def test_a_description_that_asks_for_another_network_is_refused_before_it_is_made(tuned, tmp_path):
    folder = shutil.copytree(tuned, tmp_path / "other")
    file = folder / "body_ct.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    table["network"] = dict.fromkeys(table["network"], 10**6)
    file.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(WeightsError, match="does not continue the base model"):
        models.create(f"embedded@{folder}")


def test_what_is_not_known_is_told_with_what_is(tuned):
    adapters.accept(tuned)
    for name in ("lesions", "..", "../our-lesions", ""):
        with pytest.raises(UnknownModelError, match="known: our-lesions"):
            adapters.get(name)
    with pytest.raises(UnknownModelError, match="model 'embeded' is not known"):
        models.info("embeded")


def test_a_damaged_adapter_is_refused_and_the_others_stay(tuned, store, slice_of_trunk):
    adapters.accept(tuned, "good")
    bad = adapters.accept(tuned, "bad")
    weights = bad.folder / "body_ct.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"body_ct\.safetensors of adapter bad is damaged"):
        models.create("embedded@bad")
    with pytest.raises(WeightsError, match="damaged"):
        adapters.export_zip("bad", store.parent / "bad.zip")
    assert not (store.parent / "bad.zip").exists()
    (bad.folder / "adapter.json").write_text("{", encoding="utf-8")
    assert "embedded@bad" not in models.available()
    with pytest.raises(WeightsError, match="not valid JSON"):
        models.info("embedded@bad")
    assert ask(models.create("embedded@good"), slice_of_trunk).status == "found"
    adapters.remove("good")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "adapter.json").unlink(), r"holds no adapter\.json"),
        (lambda folder: (folder / "body_ct.safetensors").unlink(), "is not whole"),
        (lambda folder: (folder / "adapter.json").write_text(WRONG_NAME), "found 3; accepted is a text"),
        (lambda folder: (folder / "adapter.json").write_text('{"name": "x"}'), "'kind' is missing"),
        (lambda folder: (folder / "adapter.json").write_text("[]"), "a JSON object is needed"),
        (lambda folder: (folder / "adapter.json").write_bytes(b"\xff\xfe"), "no UTF-8"),
    ],
)
def test_what_is_no_adapter_changes_nothing_in_the_store(tuned, tmp_path, store, change, words):
    adapters.accept(tuned)
    before = listing(store)
    folder = shutil.copytree(tuned, tmp_path / "other")
    change(folder)
    with pytest.raises(WeightsError, match=words) as told:
        adapters.accept(folder)
    assert str(tmp_path) not in str(told.value)
    assert listing(store) == before


def test_a_full_disk_or_a_killed_copy_leaves_no_adapter_behind(tuned, store, monkeypatch):
    from napari_medreason.models import adapter_store

    adapters.accept(tuned)
    before = listing(store)

    def fails(source, target, names):
        (target / "body_ct.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(adapter_store, "copy_files", fails)
        with pytest.raises(WeightsError, match="No space left on device; check space"):
            adapters.accept(tuned, "second")
    assert listing(store) == before
    (store / ".1234.half").mkdir()  # what a kill leaves
    assert [one.id for one in adapters.installed()] == ["our-lesions"]
    adapters.accept(tuned, "second")
    assert not (store / ".1234.half").exists()


def test_removing_takes_one_away_and_leaves_the_others(tuned, store):
    adapters.accept(tuned, "one")
    adapters.accept(tuned, "two")
    assert adapters.remove("one").card.name == "one"
    assert [one.id for one in adapters.installed()] == ["two"]
    assert sorted(file.name for file in store.iterdir()) == [".lock", "two"]
    with pytest.raises(UnknownModelError, match="'one' is not known; known: two"):
        adapters.remove("one")


def test_a_zip_brings_the_same_adapter_back(tuned, tmp_path, slice_of_trunk):
    adapter = adapters.accept(tuned)
    expected = ask(models.create(adapter.model_id), slice_of_trunk)
    file = adapters.export_zip(adapter.id, tmp_path / "lesions.zip")
    with zipfile.ZipFile(file) as archive:
        assert sorted(archive.namelist()) == ["adapter.json", "body_ct.json", "body_ct.safetensors"]
    adapters.remove(adapter.id)
    again = adapters.import_from(file)
    assert (again.id, again.card) == (adapter.id, adapter.card)
    answer = ask(models.create(again.model_id), slice_of_trunk)
    assert np.array_equal(answer.mask, expected.mask)
    assert answer.provenance.weights_sha256 == expected.provenance.weights_sha256


def test_a_zip_that_does_not_reach_the_disk_leaves_the_one_before(tuned, tmp_path, monkeypatch):
    """Only when it is flushed does a full network drive tell; renaming would lose the one before."""
    adapter, file = adapters.accept(tuned), tmp_path / "lesions.zip"
    adapters.export_zip(adapter.id, file)
    before = file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(WeightsError, match=r"lesions\.zip can't be written \(No space left on device\)"):
            adapters.export_zip(adapter.id, file)
    assert file.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"lesions.zip", "store"}


def archive_of(file, content):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def link_entry():
    entry = zipfile.ZipInfo("body_ct.json")
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"../adapter.json": "{}"}, "outside its folder"),
        ({"/etc/adapter.json": "{}"}, "outside its folder"),
        ({"a\\..\\b.json": "{}"}, "outside its folder"),
        ({"C:/adapter.json": "{}"}, "outside its folder"),
        ({link_entry(): "/etc/passwd"}, "holds a link"),
        ({"adapter.json": "0" * 30_000_000}, "impossible size|too large"),
        ({f"{n}.txt": "" for n in range(101)}, "holds 101 files"),
        ({"notes.txt": "nothing"}, "holds neither adapter.json nor"),
    ],
)
def test_an_unsafe_archive_is_refused_and_writes_nothing(tmp_path, store, content, words):
    file = archive_of(tmp_path / "bad.zip", content)
    before = {entry.name for entry in tmp_path.iterdir()}
    with pytest.raises(WeightsError, match=words):
        adapters.import_from(file)
    assert {entry.name for entry in tmp_path.iterdir()} - before <= {"store"}
    assert not store.exists() or adapters.installed() == ()


def test_only_known_files_of_an_archive_are_taken_also_from_a_folder_within(tuned, tmp_path):
    content = {f"lesions/{file.name}": file.read_bytes() for file in tuned.iterdir()}
    file = archive_of(tmp_path / "lesions.zip", content | {"lesions/run.sh": "rm", "body_ct.json": "{}"})
    adapter = adapters.import_from(file)
    assert sorted(file.name for file in adapter.folder.iterdir()) == sorted(
        one.name for one in tuned.iterdir()
    )


NAMES = st.lists(
    st.sampled_from(["adapter.json", "body_ct.json", "..", ".", "a", "C:", "", "~", "x\\..\\y"]), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES.map("/".join), st.binary(max_size=20), max_size=5))
def test_whatever_an_archive_names_nothing_is_written_outside_or_taken_in(content):
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        file = archive_of(place / "any.zip", {name: data for name, data in content.items() if name})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEDREASON_ADAPTERS", str(place / "store"))
            with pytest.raises(WeightsError):
                adapters.import_from(file)
            assert adapters.installed() == ()
        assert {one.name for one in place.iterdir()} <= {"any.zip", "store"}


@pytest.mark.parametrize("length", [0, 10, 3000])
def test_an_archive_that_is_cut_off_is_told(tuned, tmp_path, length):
    file = adapters.export_zip(adapters.accept(tuned).id, tmp_path / "lesions.zip")
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(WeightsError, match="damaged, encrypted or no zip"):
        adapters.import_from(file)


def test_a_peft_folder_of_others_needs_its_base(tmp_path, qwen_folder):
    folder = peft_adapter(tmp_path / "Their LoRA", qwen_folder, with_card=False)
    with pytest.raises(WeightsError, match=r"name it with --base, one of .*lingshu-7b"):
        adapters.import_from(folder)
    adapter = adapters.import_from(folder, base="lingshu-7b")
    assert (adapter.model_id, adapter.card.name) == ("lingshu-7b@their-lora", "Their LoRA")
    assert adapter.card.figures == "not measured on held-out patients"
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    repository = models.catalogue.weights("lingshu-7b").repository
    settings["base_model_name_or_path"] = repository
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert adapters.import_from(folder, name="named").card.base == "lingshu-7b"


@pytest.mark.parametrize(("here", "path"), [(".", "."), ("below", "..")])
def test_a_peft_folder_is_called_by_its_name_from_within_it(tmp_path, qwen_folder, monkeypatch, here, path):
    folder = peft_adapter(tmp_path / "Their LoRA", qwen_folder, with_card=False)
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / here)
    assert adapters.import_from(Path(path), base="lingshu-7b").card.name == "Their LoRA"


def test_a_reasoner_refuses_an_adapter_that_other_weights_were_trained_with(tmp_path, qwen_folder):
    """The architecture is the same, so every tensor would find its place."""
    folder = peft_adapter(tmp_path / "adapter", qwen_folder)
    reasoner = LocalReasoner(qwen_folder, family=QWEN25_VL, device="cpu", precision="fp32", square_size=56)
    reasoner.load_adapter(folder)
    tuned = reasoner.weights_sha256
    card = read_adapter_card(folder)
    write_adapter_card(folder, replace(card, base_weights_sha256="0" * 64))
    with pytest.raises(WeightsError, match="other weights of folder:tiny-qwen than those of tiny-qwen"):
        reasoner.load_adapter(folder)
    assert reasoner.weights_sha256 == tuned


def test_a_merged_expert_is_the_tuned_model_without_its_adapter(tuned, tmp_path, slice_of_trunk):
    adapter = adapters.accept(tuned)
    folder = adapters.merge(adapter.id, tmp_path / "whole")
    expected = ask(models.create(adapter.model_id), slice_of_trunk)
    answer = ask(models.create("embedded", folder=str(folder)), slice_of_trunk)
    assert np.array_equal(answer.mask, expected.mask)
    assert answer.provenance.weights_sha256 == expected.provenance.weights_sha256
    assert json.loads((folder / "merged.json").read_text(encoding="utf-8"))["name"] == "Our lesions"
    with pytest.raises(WeightsError, match="whole is there already"):
        adapters.merge(adapter.id, folder)
    assert Perceiver(folder).weights_sha256 == expected.provenance.weights_sha256


def test_a_merged_reasoner_computes_what_base_and_adapter_compute(tmp_path, qwen_folder):
    import torch
    from transformers import AutoModelForImageTextToText

    from napari_medreason.models.reasoners.adapters import put_on

    adapter = adapters.accept(peft_adapter(tmp_path / "adapter", qwen_folder))
    folder = adapters.merge(adapter.id, tmp_path / "whole", base_folder=qwen_folder)
    network = AutoModelForImageTextToText.from_pretrained(qwen_folder).eval()
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    ids = torch.tensor([[40, 41, 42, 43]])
    with torch.inference_mode():
        plain = network(ids).logits
        put_on(network, adapter.folder)
        np.testing.assert_allclose(whole(ids).logits, network(ids).logits, atol=1e-4)
    assert not np.allclose(plain, whole(ids).logits.detach(), atol=0.1)
    names = {file.name for file in qwen_folder.iterdir()}
    assert names <= {file.name for file in folder.iterdir()}, "tokenizer and processor come along"


def test_a_reasoner_with_other_biases_is_merged_since_it_can_not_be_taken_off(tmp_path, qwen_folder):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    adapter = adapters.accept(peft_adapter(tmp_path / "adapter", qwen_folder, bias="all"))
    folder = adapters.merge(adapter.id, tmp_path / "whole", base_folder=qwen_folder)
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    network = AutoModelForImageTextToText.from_pretrained(qwen_folder)
    with ignored_by_peft():
        expected = PeftModel.from_pretrained(network, adapter.folder).eval()
    ids = torch.tensor([[40, 41, 42, 43]])
    with torch.inference_mode():
        np.testing.assert_allclose(whole(ids).logits, expected(ids).logits, atol=1e-4)


def test_a_merge_that_can_not_be_made_leaves_nothing(tmp_path, qwen_folder):
    adapter = adapters.accept(peft_adapter(tmp_path / "adapter", qwen_folder))
    with pytest.raises(WeightsError, match="folder of your own; name it with --base-folder"):
        adapters.merge(adapter.id, tmp_path / "whole")
    other = shutil.copytree(qwen_folder, tmp_path / "other")
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(
        WeightsError, match="trained on other weights of folder:tiny-qwen than those of other"
    ):
        adapters.merge(adapter.id, tmp_path / "whole", base_folder=other)
    joint = joint_adapter(tmp_path / "joint", "medisee")
    with pytest.raises(ModelUnavailableError, match="is not merged; ask medisee@joint"):
        adapters.merge(adapters.accept(joint).id, tmp_path / "whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["adapter", "joint", "other", "store"]


def test_the_card_keeps_what_trainers_add_and_no_path(tmp_path):
    card = AdapterCard(
        "x",
        "peft",
        "lingshu-7b",
        config={"records": ["/home/someone/records.jsonl", "C:\\data\\scan.nii"], "sft": {"steps": 3}},
        extra={"new_structures": ["liver"]},
    )
    write_adapter_card(tmp_path, card)
    read_again = read_adapter_card(tmp_path)
    assert read_again.extra == {"new_structures": ["liver"]}
    assert read_again.config == {"records": ["records.jsonl", "scan.nii"], "sft": {"steps": 3}}
    text = (tmp_path / "adapter.json").read_text(encoding="utf-8")
    (tmp_path / "adapter.json").write_text(text.replace('"format": 1', '"format": 2'), encoding="utf-8")
    with pytest.raises(WeightsError, match="format 2; 1 is read here"):
        read_adapter_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "Dice 0.31 before, 0.52 after (95 % interval of the gain +0.10 to +0.30) on 3 held-out patients",
        ),
        (
            {"patients": 2},
            "Dice 0.31 before, 0.52 after on 2 held-out patients, too few to tell",
        ),
        (
            {"patients": 1},
            "Dice 0.31 before, 0.52 after on 1 held-out patient, which says little of others",
        ),
        ({"patients": 0}, "not measured on held-out patients"),
        ({"patients": None}, "not measured on held-out patients"),
        ({"patients": 0, "after": 10**400}, "not measured on held-out patients"),
    ],
)
def test_figures_say_of_how_many_patients_they_are_and_what_the_interval_is(changes, words):
    card = AdapterCard("x", "peft", "lingshu-7b", before_after={"mask": FIGURES | changes})
    assert card.figures == words
    assert card.held_out_patients == (changes.get("patients", 3) or 0)


def test_what_a_foreign_card_calls_its_base_can_not_steer_a_terminal():
    text = json.dumps({"name": "x", "kind": "peft", "base": "lingshu-7b\x1b[31m\n"})
    assert card_from_text(text, "x").base == "lingshu-7b[31m"
    long = "folder:" + "n" * 200  # a folder's name is compared, and so is not shortened
    assert card_from_text(json.dumps({"name": "x", "kind": "peft", "base": long}), "x").base == long


def test_the_store_is_beside_the_weights_unless_it_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDREASON_ADAPTERS")
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    assert adapters_root() == tmp_path / "adapters"
