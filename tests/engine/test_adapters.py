"""Adapters in the engine: a base is loaded once, its answers come back to the bit, refusals change none."""

import numpy as np
import pytest

from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.engine.client import EngineClient
from napari_medreason.engine.protocol_propagate import Seed
from napari_medreason.engine.shelf import Shelf, installed_registry
from napari_medreason.errors import UnknownModelError, WeightsError
from napari_medreason.io import read
from napari_medreason.models import adapters
from napari_medreason_sample_data import ct_folder

from ..models.adapter_cases import embedded_adapter, peft_adapter
from ..models.conftest import qwen_folder, sam2_folder
from .conftest import Listener

__all__ = ["qwen_folder", "sam2_folder"]


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def slice_of_trunk():
    volume = read(ct_folder())
    return cut(volume, "axial", volume.voxels.shape[0] // 2, default_window(volume))


def ask(shelf, model_id, plane, text="Where is the liver?", options=None):
    model, seconds = shelf.model(model_id, options)
    return model.ask(Question(text, plane), on_text=lambda _: None, cancelled=lambda: False), seconds


def same(one, other):
    return (
        np.array_equal(one.mask, other.mask)
        and one.provenance.weights_sha256 == other.provenance.weights_sha256
    )


def test_the_embedded_base_is_loaded_once_and_its_answers_come_back_to_the_bit(tmp_path, slice_of_trunk):
    adapters.accept(embedded_adapter(tmp_path / "one", name="one"))
    adapters.accept(embedded_adapter(tmp_path / "two", name="two", shift=-0.5))
    shelf = Shelf(installed_registry())
    before, _ = ask(shelf, "embedded", slice_of_trunk)
    base = shelf.model("embedded")[0]
    logits = base.perceiver.perceive(slice_of_trunk).logits.copy()
    found = {name: ask(shelf, f"embedded@{name}", slice_of_trunk)[0] for name in ("one", "two")}
    assert not same(found["one"], found["two"])
    assert not same(found["one"], before)
    assert shelf.model("embedded@two")[0].model is base
    assert shelf.model("embedded@two")[1] == 0.0, "nothing is loaded, and the adapter is on"
    again, _ = ask(shelf, "embedded", slice_of_trunk)
    assert same(again, before)
    assert again.answer == before.answer
    assert again.provenance.model == "embedded"
    assert np.array_equal(shelf.model("embedded")[0].perceiver.perceive(slice_of_trunk).logits, logits)
    assert same(ask(shelf, "embedded@one", slice_of_trunk)[0], found["one"])


def test_prompts_are_drawn_by_the_network_that_was_asked_for(tmp_path, slice_of_trunk):
    adapters.accept(embedded_adapter(tmp_path / "one", name="one"))
    shelf = Shelf(installed_registry())

    def drawn(segmenter_id):
        loaded = shelf.segmenter(segmenter_id)
        embedding = shelf.embedding(segmenter_id, "plane")
        if embedding is None:
            embedding = loaded.embed(slice_of_trunk)
            shelf.keep_embedding(segmenter_id, "plane", embedding)
        masks = loaded.segmenter.segment(embedding, box=(20.0, 20.0, 60.0, 60.0))
        return masks.logits, loaded.segmenter.weights_sha256, embedding

    plain, tuned, plain_again = (drawn(name) for name in ("embedded", "embedded@one", "embedded"))
    assert tuned[1] != plain[1]
    assert tuned[2] is not plain[2]
    assert np.array_equal(plain_again[0], plain[0])
    assert plain_again[1:] == plain[1:]


def test_a_refused_adapter_leaves_the_one_before_on(tmp_path, slice_of_trunk):
    adapters.accept(embedded_adapter(tmp_path / "one", name="one"))
    bad = adapters.accept(embedded_adapter(tmp_path / "two", name="two", shift=-0.5))
    shelf = Shelf(installed_registry())
    before, _ = ask(shelf, "embedded@one", slice_of_trunk)
    file = bad.folder / "body_ct.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="damaged"):
        shelf.model("embedded@two")
    adapters.remove("two")
    with pytest.raises(UnknownModelError, match="adapter 'two' is not known; known: one"):
        shelf.model("embedded@two")
    after, seconds = ask(shelf, "embedded@one", slice_of_trunk)
    assert same(after, before)
    assert seconds == 0.0


def test_another_adapter_under_the_same_name_is_noticed(tmp_path, slice_of_trunk):
    adapters.accept(embedded_adapter(tmp_path / "one", name="one"))
    shelf = Shelf(installed_registry())
    before, _ = ask(shelf, "embedded@one", slice_of_trunk)
    adapters.remove("one")
    adapters.accept(embedded_adapter(tmp_path / "other", name="one", shift=-0.5))
    assert not same(ask(shelf, "embedded@one", slice_of_trunk)[0], before)


def test_the_base_answers_when_the_adapter_is_gone(tmp_path, slice_of_trunk):
    adapters.accept(embedded_adapter(tmp_path / "one", name="one"))
    shelf = Shelf(installed_registry())
    before, _ = ask(shelf, "embedded", slice_of_trunk)
    ask(shelf, "embedded@one", slice_of_trunk)
    adapters.remove("one")
    assert same(ask(shelf, "embedded", slice_of_trunk)[0], before)
    shelf.unload("embedded@one")
    assert not shelf.holds_model("embedded")


def test_a_reasoner_is_loaded_once_and_its_answers_come_back_to_the_bit(tmp_path, qwen_folder, sam2_folder):
    """The tiny Qwen2.5-VL with a tiny SAM 2, whose embedding of the plane serves base and adapter."""
    adapters.accept(peft_adapter(tmp_path / "one", qwen_folder, name="one"))
    options = {
        "reasoner": str(qwen_folder),
        "segmenter": str(sam2_folder),
        "device": "cpu",
        "square_size": 56,
    }
    options |= {"constrained": True, "direct": True, "max_new_tokens": 100}
    voxels = np.zeros((1, 40, 60), np.float32)
    voxels[:, 10:30, 10:30] = 100
    plane = cut(Volume(voxels, np.eye(4), modality="MR"), "axial", 0, Window(0, 100))
    shelf = Shelf(installed_registry())
    before, _ = ask(shelf, "medreasoner", plane, options=options)
    base = shelf.model("medreasoner")[0]
    tuned, _ = ask(shelf, "medreasoner@one", plane)
    assert shelf.model("medreasoner@one")[0].model is base
    proposed = (before.workings.box_plane, before.workings.points_plane)
    assert (tuned.workings.box_plane, tuned.workings.points_plane) != proposed
    assert tuned.provenance.weights_sha256 != before.provenance.weights_sha256
    assert tuned.provenance.model == "medreasoner@one"
    assert tuned.provenance.segmenter == before.provenance.segmenter
    assert tuned.provenance.evidence.startswith("adapter one: box IoU 0.31 before, 0.52 after")
    (note,) = (words for words in tuned.provenance.notes if words.startswith("adapter"))
    assert "before" not in note, "once is enough"
    after, _ = ask(shelf, "medreasoner", plane)
    assert (after.workings.box_plane, after.workings.points_plane) == proposed
    assert (after.box, after.points) == (before.box, before.points)
    assert after.provenance.weights_sha256 == before.provenance.weights_sha256
    assert shelf.model("medreasoner")[0] is base


def carry(client, segmenter, plane, mask):
    listener = Listener()
    client.propagate(
        [plane, plane],
        Seed(0, mask),
        segmenter=segmenter,
        on_progress=listener.on_progress,
        on_result=listener.on_end,
        on_error=listener.on_end,
    )
    return listener.wait()


def test_a_viewer_asks_base_and_adapter_of_one_engine(tmp_path, slice_of_trunk):
    folder = embedded_adapter(tmp_path / "run" / "adapter", name="one")
    client = EngineClient()
    answers = []
    try:
        for model_id in ("embedded", f"embedded@{folder}", "embedded"):
            listener = Listener()
            client.ask(
                Question("Where is the liver?", slice_of_trunk),
                model=model_id,
                on_text=listener.on_text,
                on_progress=listener.on_progress,
                on_result=listener.on_end,
                on_error=listener.on_end,
            )
            answers.append(listener.wait())
        carried = carry(client, f"embedded@{folder}", slice_of_trunk, answers[1].mask)
    finally:
        client.close()
    before, tuned, after = answers
    assert carried.segmenter == "embedded@one"
    assert carried.weights_sha256 == tuned.provenance.weights_sha256
    assert tuned.provenance.model == "embedded@one"
    assert not same(tuned, before)
    assert same(after, before)
