"""The size of a base, read from its configuration alone, beside the weights that its folder holds."""

from types import SimpleNamespace

import pytest
from safetensors import safe_open

from napari_medreason.core.run_config import run_config
from napari_medreason.errors import RunError
from napari_medreason_training import device_memory
from napari_medreason_training.device_memory import reasoner_size, tell_memory
from napari_medreason_training.reasoning.tiny_models import save_tiny_reasoner


def test_a_base_is_as_large_as_its_files_say(tmp_path, capsys):
    save_tiny_reasoner(tmp_path, ["where is the spot"], width=64, layers=2)
    size = reasoner_size(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as handle:
        shapes = {name: handle.get_slice(name).get_shape() for name in handle.keys()}  # noqa: SIM118
    counted = 0
    for shape in shapes.values():
        product = 1
        for length in shape:
            product *= length
        counted += product
    assert size.text + size.words + size.vision == counted
    assert (size.layers, size.hidden) == (2, 64)
    (words,) = [shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")]
    assert size.vocabulary == words[0]
    table = {
        "recipe": "sft",
        "records": ["r"],
        "images": ".",
        "device": "cpu",
        "sft": {"preset": "cpu-small"},
    }
    tell_memory(run_config(table, "given"), size)
    assert "are needed" in capsys.readouterr().err


def test_several_processes_are_not_refused_for_what_one_would_need(monkeypatch, capsys):
    table = {"recipe": "sft", "records": ["r"], "images": ".", "device": "cpu", "sft": {"preset": "paper"}}
    monkeypatch.setattr(device_memory, "free_memory", lambda *_, **__: SimpleNamespace(free=80_000_000_000))
    with pytest.raises(RunError, match="141"):
        tell_memory(run_config(table, "given"))
    monkeypatch.setenv("WORLD_SIZE", "4")
    tell_memory(run_config(table, "given"))
    assert "4 share it" in capsys.readouterr().err
