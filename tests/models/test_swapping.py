"""Real tiny systems on the engine's shelf, in a memory that holds only one of them."""

import gc

import pytest

from napari_medreason import models
from napari_medreason.core.question import Question
from napari_medreason.engine.shelf import Registry, Shelf
from napari_medreason.errors import WeightsError
from napari_medreason.models import placing
from napari_medreason.models.fit import FreeMemory

NETWORKS = ("Qwen2_5_VLForConditionalGeneration", "Sam2Model")


def living():
    gc.collect()
    return sorted(type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in NETWORKS)


@pytest.fixture
def shelf(qwen_folder, sam2_folder, monkeypatch):
    """0.9 GB of memory, of which every living network takes 0.4."""

    def free_memory(device, *, exclusive):
        free = 9 * 10**8 - 4 * 10**8 * len(living())
        return FreeMemory("cpu", free, free, exclusive)

    monkeypatch.setattr(placing, "free_memory", free_memory)

    def create(name, *, reasoner=qwen_folder):
        return models.create(
            "medreasoner",
            reasoner=reasoner,
            segmenter=sam2_folder,
            device="cpu",
            square_size=112,
            max_new_tokens=100,
            think_tokens=2,
            constrained=True,
        )

    return Shelf(Registry(lambda: {"first": 0, "second": 0}, create, list, create))


def test_systems_are_swapped_and_both_answer(shelf, make_plane):
    heard, question = [], Question("Where?", make_plane((10, 10, 30, 30)))
    for name in ("first", "second", "first"):
        model, _ = shelf.model(name, told=heard.append)
        assert living() == sorted(NETWORKS), "one system at a time"
        answer = model.ask(question, on_text=lambda text: None, cancelled=lambda: False)
        assert answer.provenance.model == "medreasoner"
        assert any("needs about 0.5 GB of 0.9 GB free" in note for note in shelf.notes(name))
    assert [words.split()[0] for words in heard if "to make room" in words] == ["first", "second"]


def test_a_damaged_system_drives_no_other_out(shelf, qwen_folder, tmp_path):
    held, _ = shelf.model("first")
    (tmp_path / "config.json").write_text((qwen_folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((qwen_folder / "model.safetensors").read_bytes()[:100])
    with pytest.raises(WeightsError, match="no readable safetensors header"):
        shelf.model("second", {"reasoner": tmp_path})
    assert shelf.model("first") == (held, 0.0)
    assert living() == sorted(NETWORKS)
