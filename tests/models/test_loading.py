"""Real tiny networks loaded in every precision, with room, without room, and on devices that are not here."""

import gc
import shutil

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoModelForMaskGeneration,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Sam2Model,
)

from napari_medreason import models
from napari_medreason.core.question import Question
from napari_medreason.errors import ModelUnavailableError, NotEnoughMemoryError, WeightsError
from napari_medreason.models import fit, placing
from napari_medreason.models.fit import FreeMemory, Host, loading_for
from napari_medreason.models.fit_sizes import part_size
from napari_medreason.models.loading import Placement, load_model, with_step_down

CPU = torch.device("cpu")
GPU = torch.device("cuda:0")
TEXT = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURES = {**CLIP, "image_size": 28, "patch_size": 14}
INTERN = {**CLIP, "image_size": [28, 28], "patch_size": [14, 14]}


def tiny_llava():
    text = {**TEXT, "model_type": "mistral"}
    vision = {**PICTURES, "model_type": "clip_vision_model"}
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_id=99, tie_word_embeddings=False)
    return LlavaForConditionalGeneration(config)


def tiny_gemma():
    vision = {**PICTURES, "model_type": "siglip_vision_model"}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=TEXT, vision_config=vision, mm_tokens_per_image=4, image_token_index=99)
    )


def tiny_internvl():
    text = {**TEXT, "model_type": "qwen2"}
    return InternVLForConditionalGeneration(
        InternVLConfig(text_config=text, vision_config=INTERN, image_token_id=99)
    )


@pytest.fixture(scope="session", params=[tiny_llava, tiny_gemma, tiny_internvl, None])
def family_folder(request, tmp_path_factory, qwen_folder):
    """Tiny vision-language models of four families on disk."""
    if request.param is None:
        return qwen_folder
    folder = tmp_path_factory.mktemp("families") / request.param.__name__
    torch.manual_seed(0)
    request.param().save_pretrained(folder)
    return folder


def linears(model, kind):
    return {name: module for name, module in model.named_modules() if type(module).__name__ == kind}


@pytest.mark.parametrize(("precision", "kind"), [("int8", "Linear8bitLt"), ("4bit", "Linear4bit")])
def test_all_text_layers_and_nothing_else_are_made_smaller(family_folder, precision, kind):
    """The planner counts from file headers exactly what the loader makes smaller."""
    place = Placement.of(CPU, precision)
    model = load_model(AutoModelForImageTextToText, family_folder, placement=place)
    smaller = linears(model, kind)
    plain = load_model(AutoModelForImageTextToText, family_folder, placement=Placement.of(CPU, "bf16"))
    expected = {
        name for name in linears(plain, "Linear") if ".layers." in name and ".language_model." in name
    }
    assert set(smaller) == expected
    assert len(smaller) == 14
    assert all(module.weight.dtype == torch.bfloat16 for module in linears(model, "Linear").values())
    count = sum(dict(plain.named_modules())[name].weight.numel() for name in smaller)
    size = part_size(family_folder)
    assert size.quantisable == count
    assert size.quantisable + size.kept == sum(weights.numel() for weights in plain.parameters())


def never():
    return False


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "int8", "4bit"])
def test_a_trained_pair_answers_in_every_precision(
    trained_qwen_folder, trained_sam2_folder, make_plane, tmp_path, precision
):
    prompt = tmp_path / "short.txt"
    prompt.write_text("<image>\nQuestion: {question}\n")
    pair = models.create(
        "medreasoner",
        reasoner=trained_qwen_folder,
        segmenter=trained_sam2_folder,
        device="cpu",
        precision=precision,
        prompt=prompt,
        square_size=112,
        max_new_tokens=150,
    )
    plane = make_plane((10, 40, 40, 80), shape=(112, 112))
    question = Question("Where is the bright box?", plane)
    answer = pair.ask(question, on_text=lambda text: None, cancelled=never)
    truth = plane.image > 50
    assert answer.status == "found"
    assert (answer.mask & truth).sum() / (answer.mask | truth).sum() > 0.7
    pair.close()


def test_attention_is_that_of_pytorch(qwen_folder, sam2_folder):
    reasoner = load_model(AutoModelForImageTextToText, qwen_folder, placement=Placement.of(CPU, "fp32"))
    segmenter = load_model(AutoModelForMaskGeneration, sam2_folder, placement=Placement.of(CPU, "fp32"))
    assert reasoner.config._attn_implementation == "sdpa"
    assert segmenter.config._attn_implementation == "sdpa"


def test_a_network_without_text_layers_keeps_its_precision(sam2_folder):
    for precision in ("int8", "4bit"):
        place = placing.placement_for(sam2_folder, device="cpu", precision=precision)
        assert place == Placement(CPU, torch.float32)
        model = load_model(Sam2Model, sam2_folder, placement=Placement.of(CPU, precision))
        assert not linears(model, "Linear4bit") | linears(model, "Linear8bitLt")


class FullGpu:
    """Stands in for a GPU: a loader that runs out of memory in all precisions but some."""

    def __init__(self, *fitting):
        self.fitting, self.tried = fitting, []

    def load(self, placement):
        self.tried.append(placement.precision)
        network = torch.nn.Linear(4, 4)
        if placement.precision not in self.fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return network


def test_a_full_gpu_gets_one_smaller_precision():
    gpu, heard = FullGpu("int8"), []
    with loading_for(Host(told=heard.append)):
        model = with_step_down(gpu.load, Placement.of(GPU, "bf16"), what="Lingshu-7B")
    assert isinstance(model, torch.nn.Linear)
    assert gpu.tried == ["bf16", "int8"]
    assert heard == ["Lingshu-7B: bf16 did not fit, so it is loaded in 8-bit"]


def test_a_gpu_too_full_for_that_gives_one_clear_message_and_all_memory_back():
    gpu = FullGpu("4bit")
    gc.collect()
    before = sum(type(thing) is torch.nn.Linear for thing in gc.get_objects())
    words = r"Lingshu-7B needs more memory than is free on device 'cuda:0'; close other programs or"
    with pytest.raises(NotEnoughMemoryError, match=words) as fault:
        with_step_down(gpu.load, Placement.of(GPU, "bf16"), what="Lingshu-7B")
    assert gpu.tried == ["bf16", "int8"]
    gc.collect()
    held = sum(type(thing) is torch.nn.Linear for thing in gc.get_objects())
    assert held == before, str(fault.value)


def test_a_network_that_computes_in_one_precision_keeps_it(sam2_folder, monkeypatch):
    """The segmenters give their inputs in 32 bits, so 16-bit weights would break them."""
    tried = []

    def full(folder, **options):
        tried.append(options["dtype"])
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Sam2Model, "from_pretrained", full)
    with pytest.raises(NotEnoughMemoryError, match="tiny-sam2 needs more memory"):
        load_model(Sam2Model, sam2_folder, device=CPU, dtype=torch.float32)
    assert tried == [torch.float32]


def test_other_models_go_before_precision_does():
    gpu, others = FullGpu(), ["medisee", "prs-med"]

    def make_room():
        closed = others.pop() if others else ""
        gpu.fitting = ("bf16",) if closed == "medisee" else ()
        return bool(closed)

    with loading_for(Host(make_room=make_room)):
        with_step_down(gpu.load, Placement.of(GPU, "bf16"), what="Lingshu-7B")
    assert gpu.tried == ["bf16", "bf16", "bf16"]


def test_other_faults_are_not_taken_for_a_full_gpu():
    def broken(placement):
        raise RuntimeError("size mismatch for lm_head.weight")

    with pytest.raises(RuntimeError, match="size mismatch"):
        with_step_down(broken, Placement.of(GPU, "bf16"), what="Lingshu-7B")


def test_running_out_of_memory_within_the_real_loader_steps_down(qwen_folder, monkeypatch):
    """The library's own loader raises, half way through, as a full GPU makes it."""
    real, heard = AutoModelForImageTextToText.from_pretrained, []

    def full_for_16_bits(folder, **options):
        model = real(folder, **options)
        if "quantization_config" not in options:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.02 GiB")
        return model

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", full_for_16_bits)
    monkeypatch.setattr(fit, "step_down", lambda precision, device: {"bf16": "4bit"}.get(precision))
    with loading_for(Host(told=heard.append)):
        model = load_model(AutoModelForImageTextToText, qwen_folder, placement=Placement.of(CPU, "bf16"))
    assert len(linears(model, "Linear4bit")) == 14
    assert heard == ["tiny-qwen: bf16 did not fit, so it is loaded in 4-bit"]


def test_a_folder_that_does_not_fit_is_refused_before_its_weights_are_read(qwen_folder, monkeypatch):
    monkeypatch.setattr(placing, "free_memory", lambda device, exclusive: FreeMemory("cpu", 10**8, 10**8))
    words = r"tiny-qwen in bf16: needs about 0\.5 GB of 0\.1 GB free; close other programs"
    with pytest.raises(NotEnoughMemoryError, match=words):
        placing.placement_for(qwen_folder)


def test_models_are_closed_only_where_that_gives_a_better_plan(qwen_folder, monkeypatch):
    """Two models of 6 GB are held; closing one makes room for 32 bits, so the other one stays."""
    big = fit.PartSize("big", 2 * 10**9, 0)
    monkeypatch.setattr(placing, "part_size", lambda folder, name: big)
    held = [6 * 10**9, 6 * 10**9]
    monkeypatch.setattr(
        placing, "free_memory", lambda device, exclusive: FreeMemory("cpu", *[16 * 10**9 - sum(held)] * 2)
    )

    def make_room():
        return bool(held and held.pop())

    with loading_for(Host(make_room=make_room, held=lambda: sum(held))):
        plan = placing.plan_folders({"big": qwen_folder}, device="cpu")
        assert (plan.precision("big"), len(held)) == ("fp32", 1)
        placing.plan_folders({"big": qwen_folder}, device="cpu")
        assert len(held) == 1
        monkeypatch.setattr(placing, "part_size", lambda folder, name: fit.PartSize("big", 10**11, 0))
        with pytest.raises(NotEnoughMemoryError):
            placing.plan_folders({"big": qwen_folder}, device="cpu")
        assert len(held) == 1, "closing it would not have helped"


def test_the_plan_is_told_to_who_keeps_models(qwen_folder):
    plans = []
    with loading_for(Host(planned=plans.append)):
        place = placing.placement_for(qwen_folder, device="cpu")
        placing.placement_for(qwen_folder, device="cpu", precision="fp32")
    assert place == Placement(CPU, torch.float32)
    assert [plan.words.split(":")[0] for plan in plans] == ["tiny-qwen in 32-bit"]


def test_a_precision_that_can_not_be_had_is_one_clear_line(qwen_folder, monkeypatch):
    with pytest.raises(ModelUnavailableError, match="'int4' is not known; accepted: fp32, bf16, int8, 4bit"):
        placing.placement_for(qwen_folder, device="cpu", precision="int4")
    monkeypatch.setattr(fit, "bitsandbytes_there", lambda: False)
    with pytest.raises(ModelUnavailableError, match=r"bitsandbytes, which is not installed; pip install"):
        placing.placement_for(qwen_folder, device="cpu", precision="4bit")


def test_apple_gpus_are_found_and_chosen_after_cuda(monkeypatch):
    """Without such a machine: PyTorch is told that there is one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailableError, match="no Apple GPU"):
        placing.pick_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert placing.pick_device(None).type == "mps"
    assert placing.pick_device("cpu").type == "cpu"
    with pytest.raises(ModelUnavailableError, match="can't be had on Apple GPUs"):
        placing.check_precision("4bit", torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert placing.pick_device(None).type == "cuda"


def test_a_plan_for_an_apple_gpu_uses_what_metal_recommends(qwen_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 * 10**9)
    plan = placing.plan_folders({"Lingshu": qwen_folder})
    assert (plan.device, plan.precision("Lingshu"), plan.free) == ("mps", "bf16", 5 * 10**9)


def test_a_truncated_shard_leaves_nothing_behind(qwen_folder, tmp_path):
    folder = shutil.copytree(qwen_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    for precision in ("fp32", "4bit"):
        with pytest.raises(WeightsError, match="cut can't be loaded"):
            load_model(AutoModelForImageTextToText, folder, placement=Placement.of(CPU, precision))


def test_embeddings_of_the_picture_do_not_change_with_the_text_layers(qwen_folder):
    """The vision tower, which is most sensitive, is the same in 4 bits as in bf16."""
    full, small = (
        load_model(AutoModelForImageTextToText, qwen_folder, placement=Placement.of(CPU, precision))
        for precision in ("bf16", "4bit")
    )
    for name, weights in full.model.visual.state_dict().items():
        other = small.model.visual.state_dict()[name]
        np.testing.assert_array_equal(other.float().numpy(), weights.float().numpy(), err_msg=name)
