"""Reading released checkpoints: only tensors come out, whatever the file brings along."""

import argparse
import collections
import os
import pathlib

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import (
    load_strictly,
    read_tensors,
    renamed,
    safetensors_of,
    sections_of,
)


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(1)
    return {"a.weight": torch.randn(3, 2, generator=generator), "a.bias": torch.randn(3, generator=generator)}


def saved(content, file, **options):
    torch.save(content, file, **options)
    return file


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Code:
    """A pickle that would touch a file when it is built."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (pathlib.Path.touch, (self.file,))


class Shell:
    def __reduce__(self):
        return (os.system, ("true",))


@pytest.mark.parametrize("zipped", [True, False])
def test_flat_and_nested_checkpoints_give_their_tensors(weights, tmp_path, zipped):
    options = {"_use_new_zipfile_serialization": zipped}
    flat = saved({**weights, "epoch": 3}, tmp_path / "flat.pth", **options)
    nested = saved({"model": weights, "epoch": 3}, tmp_path / "nested.pt", **options)
    assert same(read_tensors(flat), weights)
    assert same(read_tensors(nested, section="model"), weights)
    assert (sections_of(flat), sections_of(nested)) == ((), ("model",))


def test_a_safetensors_file_is_known_by_its_content(weights, tmp_path):
    file = tmp_path / "pytorch_model.bin"
    save_file(weights, file)
    assert same(read_tensors(file, section="model"), weights)
    assert sections_of(file) == ()
    assert safetensors_of(file) == file


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_leave_behind_is_dropped(weights, tmp_path, zipped):
    network = nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    rest = {
        "args": argparse.Namespace(lr=1e-4, names=["a"], nested=argparse.Namespace(size=2)),
        "best": np.float64(0.5),
        "steps": np.int64(4),
        "losses": np.arange(3.0),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "optimizer": optimizer,
        "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 1).state_dict(),
    }
    file = saved({"model": weights, **rest}, tmp_path / "training.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_tensors(file, section="model"), weights)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("section", [None, "model"])
def test_a_pickle_with_code_is_refused_and_not_run(weights, tmp_path, zipped, section):
    trace = tmp_path / "ran"
    options = {"_use_new_zipfile_serialization": zipped}
    file = saved({"model": {**weights, "x": Code(trace)}}, tmp_path / "evil.pt", **options)
    with pytest.raises(WeightsError, match=r"evil\.pt is refused: it wants to run code") as fault:
        read_tensors(file, section=section)
    assert "\n" not in str(fault.value)
    assert str(tmp_path) not in str(fault.value)
    assert not trace.exists()
    with pytest.raises(WeightsError, match=r"run code \(\w+\.system\)"):
        read_tensors(saved({"x": Shell()}, tmp_path / "shell.pt", **options))


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "legacy"])
@pytest.mark.parametrize("kept", [0.98, 0.5, 0.02, 0.0])
def test_a_truncated_file_is_one_line(weights, tmp_path, suffix, kept):
    file = tmp_path / f"model.{suffix}"
    big = {**weights, "big": torch.zeros(2000)}
    if suffix == "safetensors":
        save_file(big, file)
    else:
        torch.save(big, file, _use_new_zipfile_serialization=suffix == "pt")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError, match=rf"model\.{suffix} holds .*(cut off|0 bytes).*again") as fault:
        read_tensors(file)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><title>Sign in", "web page"),
        (b"\x89PNG\r\n\x1a\n", "unknown kind"),
        (b"\x80\x04K\x01.", "cut off, damaged or no PyTorch"),
        (b"\x80garbage", "cut off, damaged or no PyTorch"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content, found):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights\.pth holds .*{found}.*accepted are"):
        read_tensors(file)


def test_other_content_is_named(weights, tmp_path):
    with pytest.raises(WeightsError, match="one Tensor in place of named tensors"):
        read_tensors(saved(torch.ones(2), tmp_path / "one.pt"))
    nested = saved({"model": weights, "epoch": 1}, tmp_path / "nested.pt")
    with pytest.raises(WeightsError, match="no weights at its top level; it holds model, epoch"):
        read_tensors(nested)
    with pytest.raises(WeightsError, match="no weights under 'state_dict'; it holds model, epoch"):
        read_tensors(nested, section="state_dict")
    with pytest.raises(WeightsError, match="no weights under 'epoch'"):
        read_tensors(nested, section="epoch")
    with pytest.raises(WeightsError, match=r"nowhere\.pt can't be read"):
        read_tensors(tmp_path / "nowhere.pt")


def test_a_checkpoint_is_converted_once(weights, tmp_path):
    tied = {**weights, "tied": weights["a.weight"], "turned": weights["a.weight"].T}
    file = saved({"model": tied, "epoch": 1}, tmp_path / "old.pt")
    converted = safetensors_of(file, section="model")
    assert converted == tmp_path / "old.pt.safetensors"
    assert same(read_tensors(converted), tied)
    first = converted.stat().st_mtime_ns
    assert safetensors_of(file, section="model").stat().st_mtime_ns == first
    with safe_open(converted, framework="pt") as content:
        assert len(content.metadata()["source_sha256"]) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.pt", "old.pt.safetensors"]


def test_a_conversion_that_does_not_fit_any_more_is_made_anew(weights, tmp_path):
    file = saved(weights, tmp_path / "old.pt")
    elsewhere = tmp_path / "cache"
    elsewhere.mkdir()
    converted = safetensors_of(file, folder=elsewhere)
    assert converted.parent == elsewhere
    saved({name: value + 1 for name, value in weights.items()}, file)
    assert torch.equal(read_tensors(safetensors_of(file, folder=elsewhere))["a.bias"], weights["a.bias"] + 1)
    converted.write_bytes(converted.read_bytes()[:20])
    assert torch.equal(read_tensors(safetensors_of(file, folder=elsewhere))["a.bias"], weights["a.bias"] + 1)


def test_a_conversion_that_fails_leaves_nothing(weights, tmp_path, monkeypatch):
    file = saved(weights, tmp_path / "old.pt")

    def full(tensors, path, metadata):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_medreason.models.checkpoints.save_file", full)
    with pytest.raises(WeightsError, match=r"old\.pt\.safetensors can't be written .*No space left"):
        safetensors_of(file)
    assert [path.name for path in tmp_path.iterdir()] == ["old.pt"]


def test_names_are_mapped_in_order_and_may_not_collide(weights):
    rules = [(r"^a\.", "b."), (r"^b\.(w|b)", r"c.\1")]
    assert list(renamed(weights, rules)) == ["c.weight", "c.bias"]
    assert list(renamed(weights, rules, dropped=["bias$"])) == ["c.weight"]
    with pytest.raises(WeightsError, match="two tensors have the name 'one'"):
        renamed(weights, [("^.*$", "one")])


def test_weights_that_do_not_fit_are_named_and_not_loaded(weights):
    module = nn.ModuleDict({"a": nn.Linear(2, 3)})
    before = module["a"].weight.detach().clone()
    wrong = {"a.weight": torch.ones(2, 3), **{f"x{number}": torch.ones(1) for number in range(5)}}
    with pytest.raises(WeightsError) as fault:
        load_strictly(module, wrong, what="toy.pt")
    assert str(fault.value).startswith(
        "toy.pt does not fit this architecture: it lacks 1 weight (a.bias); it has unexpected 5 weights "
        "(x0, x1, x2, …); it has other shapes in 1 weight (a.weight: 2×3 in place of 3×2). Give"
    )
    assert torch.equal(module["a"].weight, before)
    load_strictly(module, weights, what="toy.pt")
    assert torch.equal(module["a"].weight, weights["a.weight"])


def test_a_module_without_memory_takes_the_tensors(weights):
    with torch.device("meta"):
        module = nn.ModuleDict({"a": nn.Linear(2, 3)})
    load_strictly(module, weights, what="toy.pt")
    assert torch.equal(module["a"](torch.ones(1, 2)), weights["a.weight"].sum(1)[None] + weights["a.bias"])
