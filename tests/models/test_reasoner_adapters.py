"""PEFT adapters on a reasoner: put on, taken off, and those that don't belong to it."""

import json
import shutil

import numpy as np
import pytest

from napari_medreason.core.question import Question
from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.qwen25_vl import QWEN25_VL

from .adapter_cases import ignored_by_peft, peft_adapter


@pytest.fixture(scope="module")
def adapter(qwen_folder, tmp_path_factory):
    """A LoRA adapter as PEFT saves it, with weights large enough to change every answer."""
    return peft_adapter(tmp_path_factory.mktemp("adapters") / "tuned", qwen_folder, with_card=False)


@pytest.fixture(scope="module")
def reasoner(qwen_folder):
    options = {"square_size": 56, "constrained": True, "direct": True, "max_new_tokens": 100}
    return LocalReasoner(qwen_folder, family=QWEN25_VL, device="cpu", precision="fp32", **options)


@pytest.fixture
def answer(reasoner, make_plane):
    question = Question("Where?", make_plane((10, 10, 30, 30)))
    return lambda: reasoner.reason(question, on_text=lambda text: None, cancelled=lambda: False)


def test_an_adapter_changes_the_answers_until_it_is_taken_off(reasoner, adapter, answer, qwen_folder):
    before, sha256 = answer(), reasoner.weights_sha256
    reasoner.load_adapter(adapter)
    tuned = answer()
    assert (tuned.box, tuned.points) != (before.box, before.points)
    assert reasoner.weights_sha256 != sha256
    reasoner.load_adapter(adapter)  # the next one takes the place of the one before
    assert (answer().box, answer().points) == (tuned.box, tuned.points)
    reasoner.unload_adapter()
    reasoner.unload_adapter()
    assert (answer().box, answer().points) == (before.box, before.points)
    assert reasoner.weights_sha256 == sha256
    with reasoner._model.changing() as network:
        assert not any("lora" in name for name, _ in network.named_modules())


def test_an_adapter_computes_what_peft_computes(reasoner, adapter, qwen_folder):
    import torch
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen_folder)
    with ignored_by_peft():
        expected = PeftModel.from_pretrained(base, adapter).eval()
    reasoner.load_adapter(adapter)
    ids = torch.tensor([[40, 41, 42, 43]])
    with torch.inference_mode(), reasoner._model.changing() as network:
        np.testing.assert_allclose(network(ids).logits, expected(ids).logits, atol=1e-5)
    reasoner.unload_adapter()


@pytest.mark.parametrize("precision", ["int8", "4bit"])
def test_smaller_weights_take_an_adapter_and_come_back_to_the_bit(qwen_folder, adapter, precision):
    import torch

    quantised = LocalReasoner(
        qwen_folder, family=QWEN25_VL, device="cpu", precision=precision, square_size=56
    )
    ids = torch.tensor([[40, 41, 42, 43]])

    def logits():
        with torch.inference_mode(), quantised._model.changing() as network:
            return network(ids).logits.float().clone()

    before = logits()
    quantised.load_adapter(adapter)
    assert not torch.equal(logits(), before)
    quantised.unload_adapter()
    assert torch.equal(logits(), before)


def test_names_of_older_libraries_are_understood(reasoner, adapter, answer, tmp_path):
    from safetensors.torch import load_file, save_file

    old = shutil.copytree(adapter, tmp_path / "old")
    tensors = load_file(old / "adapter_model.safetensors")
    renamed = {
        key.replace(".model.language_model.layers", ".model.layers"): value for key, value in tensors.items()
    }
    assert set(renamed) != set(tensors)
    save_file(renamed, old / "adapter_model.safetensors")
    reasoner.load_adapter(adapter)
    expected = answer()
    reasoner.load_adapter(old)
    assert (answer().box, answer().points) == (expected.box, expected.points)
    reasoner.unload_adapter()


def changed_settings(**changes):
    def change(folder):
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def without_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[sorted(tensors)[0]]
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.mark.parametrize("changes", [{"peft_type": "IA3"}, {"r": 2}])
def test_the_adapter_before_stays_when_the_next_one_is_refused(reasoner, adapter, answer, tmp_path, changes):
    plain = answer()
    reasoner.load_adapter(adapter)
    tuned, sha256 = answer(), reasoner.weights_sha256
    folder = shutil.copytree(adapter, tmp_path / "spoilt")
    changed_settings(**changes)(folder)
    with pytest.raises((ModelUnavailableError, WeightsError)):
        reasoner.load_adapter(folder)
    assert (answer().box, answer().points) == (tuned.box, tuned.points)
    assert reasoner.weights_sha256 == sha256
    reasoner.unload_adapter()
    assert (answer().box, answer().points) == (plain.box, plain.points) != (tuned.box, tuned.points)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_an_adapter_that_changes_biases_for_good_is_refused_before_it_does(
    reasoner, qwen_folder, tmp_path, bias
):
    """PEFT writes them over those of the base, and taking it off brings none of them back."""
    import torch

    folder = peft_adapter(tmp_path / "tuned", qwen_folder, with_card=False, bias=bias)
    ids = torch.tensor([[40, 41, 42, 43]])

    def logits():
        with torch.inference_mode(), reasoner._model.changing() as network:
            return network(ids).logits.clone()

    before = logits()
    with pytest.raises(
        ModelUnavailableError, match=rf"biases \(bias = '{bias}'\).*`medreason adapters merge`"
    ):
        reasoner.load_adapter(folder)
    assert torch.equal(logits(), before)


def truncated(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "kind", "complaint"),
    [
        (lambda folder: shutil.rmtree(folder), WeightsError, r"no readable adapter_config\.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), WeightsError, "no readable"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(folder / "a.bin"),
            WeightsError,
            "safe_serial",
        ),
        (changed_settings(peft_type="IA3"), ModelUnavailableError, "'IA3'; LORA is accepted"),
        (changed_settings(target_modules=["query_key_value"]), WeightsError, "doesn't fit this model"),
        (changed_settings(target_modules=["q_proj"]), WeightsError, "has no place for"),
        (changed_settings(target_modules=["q_proj", "norm"]), WeightsError, "doesn't fit this model"),
        (changed_settings(target_modules="("), WeightsError, "doesn't fit this model"),
        (changed_settings(alpha_pattern=3), WeightsError, "doesn't fit this model"),
        (changed_settings(bias="some"), WeightsError, "bias that is none of none, all, lora_only"),
        (changed_settings(r=2), WeightsError, "another shape"),
        (changed_settings(r=10**9), WeightsError, "rank that is no number from 1 to 2048"),
        (changed_settings(rank_pattern={"q_proj": "4"}), WeightsError, "rank that is no number"),
        (without_a_tensor, WeightsError, "wants base_model"),
        (truncated, WeightsError, "adapter_model"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_the_model_goes_on(
    reasoner, adapter, answer, tmp_path, spoil, kind, complaint
):
    before = answer()
    folder = shutil.copytree(adapter, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(kind, match=complaint) as told:
        reasoner.load_adapter(folder)
    assert "\n" not in str(told.value)
    assert str(tmp_path) not in str(told.value)
    assert (answer().box, answer().points) == (before.box, before.points)
    with reasoner._model.changing() as network:
        assert not any("lora" in name for name, _ in network.named_modules())
